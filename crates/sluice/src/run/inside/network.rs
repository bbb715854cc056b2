//! The network inside: only `lo`, with everything that would leave turned to
//! sockets that were opened here and handed to the gateway outside.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::netlink::Netlink;

/// The command's own address (RFC 5737: never routed, so it hides nothing).
const OWN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// And for v6, a unique local one.
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd73, 0x6c75, 0x6963, 0x65, 0, 0, 0, 2);

/// How long a packet may take from this namespace to itself.
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);

/// The sockets through which the gateway sees this namespace.
#[derive(Debug)]
pub(super) struct Sockets {
    /// Every TCP connection that would leave.
    pub(super) tcp: TcpListener,
    /// DNS by UDP.
    pub(super) dns_udp: UdpSocket,
    /// DNS by TCP.
    pub(super) dns_tcp: TcpListener,
}

/// Makes the network of this fresh namespace and proves that it is closed.
pub(super) fn build(nft: &Path) -> anyhow::Result<Sockets> {
    let mut netlink = Netlink::open().context("netlink socket")?;
    netlink.loopback_up().context("bring lo up")?;
    for address in families()? {
        netlink.add_address(address).with_context(|| format!("add {address} to lo"))?;
        netlink.add_default_route(address).with_context(|| format!("route everything to lo from {address}"))?;
    }
    let sockets = Sockets::open().context("open the gateway's sockets")?;
    apply(nft, &ruleset(sockets.tcp.local_addr()?.port(), sockets.dns_udp.local_addr()?.port()))?;
    for own in families()? {
        prove(&sockets, own).with_context(|| format!("the redirect does not hold for {}", name_of(own)))?;
    }
    Ok(sockets)
}

/// Our addresses in the families that this kernel speaks. Where v6 is off
/// there is no v6 way out either.
fn families() -> anyhow::Result<Vec<IpAddr>> {
    let has_v6 = std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6").is_ok_and(|off| off.trim() == "0");
    Ok(if has_v6 { vec![OWN_V4.into(), OWN_V6.into()] } else { vec![OWN_V4.into()] })
}

impl Sockets {
    fn open() -> io::Result<Self> {
        let tcp = dual_stack(Type::STREAM, 0)?;
        tcp.listen(1024)?;
        let dns_udp = dual_stack(Type::DGRAM, 0)?;
        let dns_udp = UdpSocket::from(dns_udp);
        // Nothing else runs in this namespace, so the same port is free for TCP.
        let dns_tcp = dual_stack(Type::STREAM, dns_udp.local_addr()?.port())?;
        dns_tcp.listen(128)?;
        Ok(Self { tcp: tcp.into(), dns_udp, dns_tcp: dns_tcp.into() })
    }
}

/// A socket for both families, or for v4 where there is no v6.
fn dual_stack(kind: Type, port: u16) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    match Socket::new(Domain::IPV6, kind, Some(protocol)) {
        Ok(socket) => {
            socket.set_only_v6(false)?;
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
            Ok(socket)
        }
        Err(_) => {
            let socket = Socket::new(Domain::IPV4, kind, Some(protocol))?;
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
            Ok(socket)
        }
    }
}

/// One table for both families.
///
/// DNS goes to our own address and not by `redirect`, which would make it
/// 127.0.0.1: the resolver answers from the address that routes to the client,
/// and only answers from the address asked count. A stub on loopback is asked
/// from loopback, so there `redirect` is the right one.
///
/// The drop is in postrouting: in the output hook it would see the packet
/// before its destination is turned.
fn ruleset(tcp: u16, dns: u16) -> String {
    format!(
        "table inet sluice {{
  chain turn {{
    type nat hook output priority -100; policy accept;
    ip daddr 127.0.0.0/8 meta l4proto {{ tcp, udp }} th dport 53 redirect to :{dns}
    ip6 daddr ::1 meta l4proto {{ tcp, udp }} th dport 53 redirect to :{dns}
    meta nfproto ipv4 meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {OWN_V4}:{dns}
    meta nfproto ipv6 meta l4proto {{ tcp, udp }} th dport 53 dnat ip6 to [{OWN_V6}]:{dns}
    ip daddr {{ 127.0.0.0/8, {OWN_V4} }} return
    ip6 daddr {{ ::1, {OWN_V6} }} return
    meta l4proto tcp redirect to :{tcp}
  }}
  chain closed {{
    type filter hook postrouting priority 0; policy drop;
    ip daddr {{ 127.0.0.0/8, {OWN_V4} }} accept
    ip6 daddr {{ ::1, {OWN_V6} }} accept
  }}
}}
"
    )
}

/// Loads a ruleset, whole or not at all.
fn apply(nft: &Path, rules: &str) -> anyhow::Result<()> {
    let mut child = Command::new(nft)
        .args(["-f", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", nft.display()))?;
    child.stdin.take().context("nft's input")?.write_all(rules.as_bytes()).context("write rules to nft")?;
    let output = child.wait_with_output().context("wait for nft")?;
    if !output.status.success() {
        bail!(
            "{} refused the rules ({}): {}; it needs the kernel's nf_tables with NAT and redirect (modules nft_nat, nft_redir, nft_chain_nat)",
            nft.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Dials what cannot be reached and must land on our own sockets.
fn prove(sockets: &Sockets, own: IpAddr) -> anyhow::Result<()> {
    let elsewhere: IpAddr = match own {
        IpAddr::V4(_) => Ipv4Addr::new(203, 0, 113, 1).into(), // RFC 5737
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), // RFC 3849
    };
    for (listener, port) in [(&sockets.tcp, 443), (&sockets.dns_tcp, 53)] {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(elsewhere, port), PROOF_TIMEOUT)
            .with_context(|| format!("dial {elsewhere} port {port}"))?;
        // The handshake is over, so this does not wait.
        let (_, peer) = listener.accept()?;
        if peer.port() != stream.local_addr()?.port() {
            bail!("a connection to {elsewhere} port {port} came from {peer}");
        }
    }
    let client = UdpSocket::bind(SocketAddr::new(own, 0))?;
    client.set_read_timeout(Some(PROOF_TIMEOUT))?;
    client.connect(SocketAddr::new(elsewhere, 53))?;
    client.send(b"?").context("ask a resolver elsewhere")?;
    sockets.dns_udp.set_read_timeout(Some(PROOF_TIMEOUT))?;
    let mut buffer = [0; 8];
    let (length, peer) = sockets.dns_udp.recv_from(&mut buffer).context("receive the question")?;
    sockets.dns_udp.send_to(b"!", peer)?;
    let answered = client.recv(&mut buffer).context("receive the answer")?;
    sockets.dns_udp.set_read_timeout(None)?;
    if (length, answered) != (1, 1) {
        bail!("the resolver's socket saw {length} bytes and answered {answered}");
    }
    Ok(())
}

fn name_of(own: IpAddr) -> &'static str {
    if own.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Where `nft` is: on `PATH`, or in the folders that an ordinary user's
/// `PATH` lacks.
pub(crate) fn find_nft() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("nft"))
        .find(|file| file.is_file())
}
