//! Where connections come from, and where each was going.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

/// A listening socket of the gateway.
#[derive(Debug)]
pub enum Listener {
    /// Takes connections that the kernel redirected; each tells where it was
    /// going (`SO_ORIGINAL_DST`).
    Transparent(std::net::TcpListener),
    /// Takes connections for one destination.
    Explicit {
        /// The socket.
        listener: std::net::TcpListener,
        /// Host name of the destination.
        host: String,
        /// TCP port of the destination.
        port: u16,
    },
}

/// Where an accepted connection was going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// An address, out of the packet.
    Address(SocketAddr),
    /// A name, from the listener's configuration.
    Name {
        host: Arc<str>,
        port: u16,
        /// The listener's address as the client dialled it.
        local: SocketAddr,
    },
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// A listener that runs.
pub(crate) struct Acceptor {
    listener: TcpListener,
    /// Name and port for an explicit listener.
    fixed: Option<(Arc<str>, u16)>,
}

impl Acceptor {
    /// Takes the socket over.
    pub(crate) fn new(listener: Listener) -> io::Result<Self> {
        let (listener, fixed) = match listener {
            Listener::Transparent(listener) => (listener, None),
            Listener::Explicit { listener, host, port } => (listener, Some((Arc::from(normal(&host)), port))),
        };
        listener.set_nonblocking(true)?;
        Ok(Self { listener: TcpListener::from_std(listener)?, fixed })
    }

    /// The bound address.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Name and port of an explicit listener.
    pub(crate) fn fixed(&self) -> Option<(&str, u16)> {
        self.fixed.as_ref().map(|(host, port)| (host.as_ref(), *port))
    }

    /// The next connection. Errors are those of one connection or of the
    /// process (descriptors); the listener lives on.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(std::time::Duration::from_secs(60));
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok((stream, unmapped(peer)))
    }

    /// Where an accepted connection was going.
    pub(crate) fn destination(&self, stream: &TcpStream) -> io::Result<Destination> {
        let local = unmapped(stream.local_addr()?);
        match &self.fixed {
            Some((host, port)) => Ok(Destination::Name { host: host.clone(), port: *port, local }),
            None => Ok(Destination::Address(original(stream, local))),
        }
    }
}

/// Lower case, without a trailing dot.
pub(crate) fn normal(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// The destination before redirection; the local address for a connection
/// that was made to the listener itself.
fn original(stream: &TcpStream, local: SocketAddr) -> SocketAddr {
    let socket = SockRef::from(stream);
    let original = match local.ip() {
        // A v4 peer of a dual-stack socket is asked about as v4.
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    original.ok().and_then(|address| address.as_socket()).map_or(local, unmapped)
}

/// A v4-mapped v6 address as the v4 address that it is.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_explicit_listener_knows_its_destination() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = socket.local_addr().expect("address");
        let acceptor = Acceptor::new(Listener::Explicit { listener: socket, host: "API.example.".into(), port: 443 })
            .expect("listener");
        let client = tokio::spawn(TcpStream::connect(address));
        let (stream, _) = acceptor.accept().await.expect("accept");
        let destination = acceptor.destination(&stream).expect("destination");
        assert_eq!(destination, Destination::Name { host: "api.example".into(), port: 443, local: address });
        drop(client.await);
    }
}
