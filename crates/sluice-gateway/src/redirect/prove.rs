//! Dials what cannot be reached and must land on sockets of our own: the rules
//! are believed when they were seen to hold.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{DNS_PORT, TCP_PORT};

/// An Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Version 4.
    V4,
    /// Version 6.
    V6,
}

/// The rules are there, and a connection went another way. Nothing was
/// loosened: the rules stay.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A port of the gateway is taken.
    #[error(
        "listen on port {port}: {error}; the init step needs the gateway's ports for its proof, so nothing else in the \
         pod may listen on them and it must run before all other containers"
    )]
    Port {
        /// The port.
        port: u16,
        /// What the kernel said.
        error: io::Error,
    },
    /// The exchange with ourselves broke off.
    #[error(
        "the redirect was written but does not hold for {family}: {step}: {error}; look for other packet rules in the \
         pod's network (`nft list ruleset`, `iptables-save`), such as another mesh's"
    )]
    Step {
        /// The protocol.
        family: Family,
        /// What was tried.
        step: &'static str,
        /// What happened.
        error: io::Error,
    },
    /// Something left that should not.
    #[error(
        "the redirect was written but does not hold for {family}: a datagram to {to} was not dropped; look for other \
         packet rules in the pod's network (`nft list ruleset`, `iptables-save`), such as another mesh's"
    )]
    Open {
        /// The protocol.
        family: Family,
        /// Where it went.
        to: SocketAddr,
    },
    /// There is no network.
    #[error(
        "the redirect was written but could not be proved: the pod has a route to the outside neither by IPv4 ({v4}) \
         nor by IPv6 ({v6}); see whether the network plugin has done its work"
    )]
    NoRoute {
        /// What the kernel said of v4.
        v4: io::Error,
        /// What the kernel said of v6.
        v6: io::Error,
    },
}

/// Proves each family that the pod has; returns them, at least one.
pub(super) fn prove() -> Result<Vec<Family>, ProofError> {
    let sockets = Sockets::open()?;
    let v4 = sockets.prove(Family::V4)?;
    let v6 = sockets.prove(Family::V6)?;
    match (v4, v6) {
        (Outcome::NoRoute(v4), Outcome::NoRoute(v6)) => Err(ProofError::NoRoute { v4, v6 }),
        (Outcome::Holds, Outcome::NoRoute(_)) => Ok(vec![Family::V4]),
        (Outcome::NoRoute(_), Outcome::Holds) => Ok(vec![Family::V6]),
        (Outcome::Holds, Outcome::Holds) => Ok(vec![Family::V4, Family::V6]),
    }
}

#[derive(Debug)]
enum Outcome {
    Holds,
    /// The pod does not have this family, so nothing leaves by it.
    NoRoute(io::Error),
}

/// What the gateway will listen on.
struct Sockets {
    tcp: TcpListener,
    dns_tcp: TcpListener,
    dns_udp: UdpSocket,
}

impl Sockets {
    fn open() -> Result<Self, ProofError> {
        let socket = |kind, port| dual_stack(kind, port).map_err(|error| ProofError::Port { port, error });
        Ok(Self {
            tcp: socket(Type::STREAM, TCP_PORT)?.into(),
            dns_tcp: socket(Type::STREAM, DNS_PORT)?.into(),
            dns_udp: socket(Type::DGRAM, DNS_PORT)?.into(),
        })
    }

    fn prove(&self, family: Family) -> Result<Outcome, ProofError> {
        let failed = |step| move |error| ProofError::Step { family, step, error };
        let web = SocketAddr::new(family.elsewhere(), 80);
        match arrives(&self.tcp, web) {
            Err(error) if no_route(&error) => return Ok(Outcome::NoRoute(error)),
            result => result.map_err(failed("a TCP connection must land on the gateway's port"))?,
        }
        let resolver = SocketAddr::new(family.elsewhere(), 53);
        arrives(&self.dns_tcp, resolver).map_err(failed("DNS over TCP must land on the resolver's port"))?;
        self.answers(resolver).map_err(failed("DNS over UDP must be answered by the resolver's port"))?;
        let discard = SocketAddr::new(family.elsewhere(), 9);
        match client(family).and_then(|socket| socket.send_to(b"?", discard)) {
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => Ok(Outcome::Holds),
            Err(error) => Err(failed("a datagram must be dropped")(error)),
            Ok(_) => Err(ProofError::Open { family, to: discard }),
        }
    }

    /// A datagram to `to` lands on ours, and our answer comes back as from
    /// `to`.
    fn answers(&self, to: SocketAddr) -> io::Result<()> {
        let client = client(if to.is_ipv4() { Family::V4 } else { Family::V6 })?;
        client.connect(to)?;
        client.set_read_timeout(Some(PATIENCE))?;
        self.dns_udp.set_read_timeout(Some(PATIENCE))?;
        let question = format!("sluice-init {} {to}", std::process::id());
        client.send(question.as_bytes())?;
        let mut buffer = [0; 128];
        // Who asks beside us is not answered.
        loop {
            let (length, from) = self.dns_udp.recv_from(&mut buffer)?;
            if buffer.get(..length) == Some(question.as_bytes()) {
                self.dns_udp.send_to(b"!", from)?;
                break;
            }
        }
        client.recv(&mut buffer)?;
        Ok(())
    }
}

/// A connection to `to` lands on the listener, which is told where it was
/// going.
fn arrives(listener: &TcpListener, to: SocketAddr) -> io::Result<()> {
    let client = TcpStream::connect_timeout(&to, PATIENCE)?;
    let own = client.local_addr()?;
    // The handshake is over, so our connection is among those that wait.
    listener.set_nonblocking(true)?;
    loop {
        let (stream, peer) = listener.accept().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::other(format!("{to} was reached, or something that answers for it"))
            }
            _ => error,
        })?;
        if canonical(peer) != own {
            continue;
        }
        let socket = SockRef::from(&stream);
        // Ends without the usual farewell, which would keep the gateway's port
        // for a minute.
        socket.set_linger(Some(Duration::ZERO))?;
        let original = if to.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
        return match original?.as_socket().map(canonical) {
            Some(original) if original == to => Ok(()),
            other => Err(io::Error::other(format!("the original destination {to} is told as {other:?}"))),
        };
    }
}

/// Such as a v4-only pod's for v6.
fn no_route(error: &io::Error) -> bool {
    let errors = [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT, Errno::NETDOWN];
    errors.iter().any(|known| error.raw_os_error() == Some(known.raw_os_error()))
}

fn client(family: Family) -> io::Result<UdpSocket> {
    UdpSocket::bind(match family {
        Family::V4 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        Family::V6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    })
}

/// A socket for both families, or for v4 where the kernel has no v6.
fn dual_stack(kind: Type, port: u16) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let (socket, address) = match Socket::new(Domain::IPV6, kind, Some(protocol)) {
        Ok(socket) => {
            socket.set_only_v6(false)?;
            (socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        }
        Err(_) => (Socket::new(Domain::IPV4, kind, Some(protocol))?, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
    };
    if kind == Type::STREAM {
        // Connections of a gateway that ran here may still wait for their end.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        socket.listen(128)?;
    }
    Ok(socket)
}

/// A v4-mapped v6 address as the v4 address that it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Family {
    /// For documentation (RFC 5737, RFC 3849): routed to nowhere.
    fn elsewhere(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// How long a packet may take from the pod to itself.
const PATIENCE: Duration = Duration::from_secs(10);
