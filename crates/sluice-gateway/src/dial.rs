//! The way out: a name becomes an address, a TCP connection, a TLS session.
//!
//! The agent never chooses an address. A name is looked up by the gateway's
//! own resolver (or by an explicit [`Map`]), and what it resolves to must be a
//! place that policy can have meant: the gateway's own loopback, link-local
//! and metadata addresses are refused, whoever owns the name. Certificates are
//! checked against public roots and the roots that policy names.

mod map;
mod place;
mod reach;
mod resolve;
mod roots;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use map::{Map, MapError};
pub use place::Place;
pub use resolve::Resolver;
pub use roots::{Roots, RootsError};

/// Looks names up and connects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    maps: Vec<Map>,
    resolver: Resolver,
    place: Place,
}

impl Dialer {
    /// A dialler that asks `resolver` for what `maps` does not answer. `place`
    /// is who reads its errors.
    pub fn new(maps: Vec<Map>, resolver: Resolver, place: Place) -> Self {
        Self { inner: Arc::new(Inner { maps, resolver, place }) }
    }

    /// Where it runs.
    pub fn place(&self) -> Place {
        self.inner.place
    }

    /// Opens a TCP connection to `host` (a name without brackets, or an IP
    /// address that policy spells out).
    ///
    /// # Errors
    /// [`DialError::Resolve`], [`DialError::Forbidden`] or
    /// [`DialError::Connect`].
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let addresses = self.addresses(host, port).await?;
        let failed = |source| DialError::Connect { host: host.to_owned(), port, addresses: addresses.clone(), source };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, race(&addresses))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s")))
            .map_err(failed)?;
        prepare(&stream).map_err(failed)?;
        Ok(stream)
    }

    /// Opens a TLS session with `host`, whose certificate must carry that
    /// name. What ALPN came to is in the stream's connection.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect), [`DialError::Tls`] and
    /// [`DialError::Name`].
    pub async fn connect_tls(
        &self,
        host: &str,
        port: u16,
        config: &Arc<rustls::ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, DialError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| self.unresolved(host, "it is no host name".to_owned()))?;
        let stream = self.connect(host, port).await?;
        let handshake = TlsConnector::from(config.clone()).connect(name, stream);
        tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake within 10 s")))
            .map_err(|error| tls_error(host, port, error, self.place()))
    }

    /// Where `host` and `port` are, in the order in which they are tried.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        if let Some(to) = map::find(&self.inner.maps, host, port) {
            return Ok(vec![to]);
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = self.inner.resolver.lookup(host).await.map_err(|reason| self.unresolved(host, reason))?;
        let local = resolve::is_localhost(host);
        let (good, bad): (Vec<IpAddr>, Vec<IpAddr>) =
            found.into_iter().partition(|address| local || reach::forbidden(*address).is_none());
        if let (true, Some(address)) = (good.is_empty(), bad.first()) {
            let class = reach::forbidden(*address).unwrap_or("not allowed");
            return Err(DialError::Forbidden { host: host.to_owned(), address: *address, class, place: self.place() });
        }
        Ok(interleave(&good).map(|address| SocketAddr::new(address, port)).collect())
    }

    fn unresolved(&self, host: &str, reason: String) -> DialError {
        DialError::Resolve { host: host.to_owned(), reason, place: self.place() }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The name has no address.
    #[error("{host} cannot be resolved: {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        reason: String,
        /// Where that was.
        place: Place,
    },
    /// The name has only addresses that a name must not lead to.
    #[error("{host} resolves to {address}, which is {class}")]
    Forbidden {
        /// The name.
        host: String,
        /// The first of its addresses.
        address: IpAddr,
        /// What kind of address that is.
        class: &'static str,
        /// Where that was.
        place: Place,
    },
    /// Nobody answers.
    #[error("{host}:{port} cannot be reached at {}: {source}", list(.addresses))]
    Connect {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// What was tried.
        addresses: Vec<SocketAddr>,
        /// The last failure.
        source: io::Error,
    },
    /// TLS failed, or the certificate is not trusted.
    #[error("TLS with {host}:{port} failed: {source}")]
    Tls {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// What happened.
        source: io::Error,
        /// Whether the certificate's issuer is not known here.
        unknown_issuer: bool,
        /// Where that was.
        place: Place,
    },
    /// The certificate is for other names.
    #[error("the certificate of {host}:{port} is not for that name: {reason}")]
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// Which names it is for.
        reason: String,
    },
}

impl DialError {
    /// A stable word for records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Resolve { .. } => "UpstreamUnresolved",
            Self::Forbidden { .. } => "UpstreamForbidden",
            Self::Connect { .. } => "UpstreamUnreachable",
            Self::Tls { .. } => "UpstreamTls",
            Self::Name { .. } => "UpstreamName",
        }
    }

    /// What to do about it.
    pub fn fix(&self) -> String {
        match self {
            Self::Resolve { host, place, .. } => place.unresolved(host),
            Self::Forbidden { host, place, .. } => place.forbidden(host),
            Self::Connect { .. } => {
                "check that the server runs and that a firewall lets the gateway through".to_owned()
            }
            Self::Tls { unknown_issuer: true, place, .. } => place.own_ca().to_owned(),
            Self::Tls { .. } => {
                "check that the port speaks TLS 1.2 or 1.3 and that the certificate is valid".to_owned()
            }
            Self::Name { .. } => "use a name that the server's certificate carries".to_owned(),
        }
    }
}

/// How long all addresses of a name together may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one address has before the next is tried beside it (RFC 8305, 5).
const STAGGER: Duration = Duration::from_millis(250);
/// How long an idle connection waits before the kernel asks whether the peer
/// lives, so that a watch that hears nothing notices a dead path.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The first connection that is made; each address starts a little after the
/// one before it, or at once when that one failed.
async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut rest = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "it has no address");
    loop {
        match rest.next() {
            Some(address) => attempts.push(TcpStream::connect(*address)),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            () = tokio::time::sleep(STAGGER), if rest.len() > 0 => {}
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Alternates families, IPv4 first: private endpoints have no other.
fn interleave(addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| address.is_ipv4());
    let longest = v4.len().max(v6.len());
    (0..longest).flat_map(move |at| [v4.get(at).copied(), v6.get(at).copied()]).flatten()
}

fn tls_error(host: &str, port: u16, source: io::Error, place: Place) -> DialError {
    let host = host.to_owned();
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(
            error @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
        )) => DialError::Name { host, port, reason: error.to_string() },
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            DialError::Tls { host, port, source, unknown_issuer: true, place }
        }
        _ => DialError::Tls { host, port, source, unknown_issuer: false, place },
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    let shown: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    shown.join(", ")
}
