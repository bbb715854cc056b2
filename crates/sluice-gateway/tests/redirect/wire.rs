//! What the peer's end of the cable sees.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::pod::{GATEWAY, PEER, Pod};

/// Reads every frame that reaches the peer.
pub(crate) struct Wire {
    socket: Socket,
}

/// One packet from the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// ARP and other link matters.
    Link,
    /// ICMPv6, by its type.
    Icmpv6(u8),
    /// Anything else that is IP, by its protocol number; UDP and TCP with the
    /// destination port.
    Ip { protocol: u8, port: Option<u16> },
}

impl Wire {
    /// Sees what is sent from now on. Both ends know each other's link address
    /// then, so that no packet waits for it while later ones pass.
    pub(crate) fn of(pod: &Pod) -> Self {
        for peer in PEER {
            let socket = pod.outside(|| UdpSocket::bind((peer, 0)).expect("socket"));
            socket.set_read_timeout(Some(PATIENCE)).expect("patience");
            let to = socket.local_addr().expect("address");
            pod.inside(GATEWAY, || bound(to).send_to(b"first", to).expect("the gateway may send"));
            socket.recv_from(&mut [0; 8]).expect("the first datagram arrives");
        }
        let every = i32::from(u16::to_be(ETH_P_ALL));
        let socket =
            pod.outside(|| Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(every))).expect("packet"));
        socket.set_read_timeout(Some(PATIENCE)).expect("patience");
        Self { socket }
    }

    /// What came from the pod up to now: up to the datagram that the gateway,
    /// which may, sends last.
    pub(crate) fn seen(&self, pod: &Pod) -> Vec<Seen> {
        let to = SocketAddr::new(PEER[0], LAST);
        pod.inside(GATEWAY, || bound(to).send_to(b"last", to).expect("the gateway may send"));
        let mut all = Vec::new();
        loop {
            let mut frame = [0_u8; 2048];
            let length = std::io::Read::read(&mut &self.socket, &mut frame).expect("the last datagram arrives");
            match parse(&frame[..length]) {
                Some(Seen::Ip { protocol: 17, port: Some(LAST) }) => return all,
                Some(seen) => all.push(seen),
                None => {}
            }
        }
    }
}

/// A socket of the family of `to`.
pub(crate) fn bound(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    UdpSocket::bind(any).expect("socket")
}

/// Only the pod's; those of the peer itself are seen as well.
fn parse(frame: &[u8]) -> Option<Seen> {
    let packet = &frame[14..];
    (frame[6..12] == POD_LINK).then(|| match u16::from_be_bytes([frame[12], frame[13]]) {
        0x0800 => transport(packet[9], &packet[usize::from(packet[0] & 15) * 4..]),
        // Listener reports carry a hop-by-hop header of eight bytes.
        0x86dd if packet[6] == 0 => transport(packet[40], &packet[48..]),
        0x86dd => transport(packet[6], &packet[40..]),
        _ => Seen::Link,
    })
}

fn transport(protocol: u8, packet: &[u8]) -> Seen {
    match protocol {
        58 => Seen::Icmpv6(packet[0]),
        6 | 17 => Seen::Ip { protocol, port: Some(u16::from_be_bytes([packet[2], packet[3]])) },
        _ => Seen::Ip { protocol, port: None },
    }
}

const POD_LINK: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ETH_P_ALL: u16 = 3;
/// A guard against a test that would wait for ever, no measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Where the last datagram goes.
const LAST: u16 = 40_404;
