//! The few rtnetlink requests that a fresh network namespace needs
//! (rtnetlink(7)): bring `lo` up, give it an address, route everything to it.

use std::io;
use std::net::IpAddr;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// `lo` is the first device of every network namespace.
const LOOPBACK: u32 = 1;

/// A netlink socket of this network namespace.
pub(super) struct Netlink {
    socket: rustix::fd::OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens the socket.
    pub(super) fn open() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None, // NETLINK_ROUTE is protocol 0
        )?;
        rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// `ip link set lo up`
    pub(super) fn loopback_up(&mut self) -> io::Result<()> {
        let mut body = vec![0; 4];
        body.extend(LOOPBACK.to_ne_bytes());
        body.extend(IFF_UP.to_ne_bytes()); // flags
        body.extend(IFF_UP.to_ne_bytes()); // which of them change
        self.request(RTM_NEWLINK, 0, &body)
    }

    /// `ip address add ADDRESS/32 dev lo` (`/128 nodad` for v6)
    pub(super) fn add_address(&mut self, address: IpAddr) -> io::Result<()> {
        let (family, bytes) = family_and_bytes(address);
        let mut body = vec![family, prefix_length(address), IFA_F_NODAD, 0];
        body.extend(LOOPBACK.to_ne_bytes());
        attribute(&mut body, IFA_LOCAL, &bytes);
        attribute(&mut body, IFA_ADDRESS, &bytes);
        self.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body)
    }

    /// `ip route add default dev lo src SOURCE`. Without the source address
    /// a redirected connection opens and then stalls.
    pub(super) fn add_default_route(&mut self, source: IpAddr) -> io::Result<()> {
        let (family, bytes) = family_and_bytes(source);
        let scope = if source.is_ipv4() { RT_SCOPE_LINK } else { RT_SCOPE_UNIVERSE };
        let mut body = vec![family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST];
        body.extend(0_u32.to_ne_bytes());
        attribute(&mut body, RTA_OIF, &LOOPBACK.to_ne_bytes());
        attribute(&mut body, RTA_PREFSRC, &bytes);
        self.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body)
    }

    /// Sends one request and waits for its acknowledgement.
    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let length = u32::try_from(HEADER + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(body);
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.socket, &message, SendFlags::empty(), &kernel)?;
        loop {
            let mut answer = [0; 1024];
            let (length, _) = rustix::net::recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
            if let Some(result) = acknowledgement(answer.get(..length).unwrap_or_default(), self.sequence) {
                return result;
            }
        }
    }
}

/// Reads `nlmsghdr` and `nlmsgerr`; `None` for an answer to something else.
fn acknowledgement(answer: &[u8], sequence: u32) -> Option<io::Result<()>> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let answered = u32::from_ne_bytes(answer.get(8..12)?.try_into().ok()?);
    if kind != NLMSG_ERROR || answered != sequence {
        return None;
    }
    match i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?) {
        0 => Some(Ok(())),
        error => Some(Err(io::Error::from_raw_os_error(error.saturating_neg()))),
    }
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // An attribute is 4 bytes of header and at most 16 of address.
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn family_and_bytes(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (AddressFamily::INET.as_raw() as u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AddressFamily::INET6.as_raw() as u8, v6.octets().to_vec()),
    }
}

fn prefix_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

// linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h, linux/if.h
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_matched_and_never_trusted_for_length() {
        let mut answer = vec![0; 20];
        answer[4] = 2;
        answer[8..12].copy_from_slice(&7_u32.to_ne_bytes());
        assert!(matches!(acknowledgement(&answer, 7), Some(Ok(()))));
        assert!(acknowledgement(&answer, 8).is_none());
        answer[16..20].copy_from_slice(&(-17_i32).to_ne_bytes());
        let error = acknowledgement(&answer, 7).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(acknowledgement(&answer[..18], 7).is_none());
    }

    #[test]
    fn attributes_are_padded() {
        let mut body = Vec::new();
        attribute(&mut body, 9, &[1, 2, 3, 4, 5]);
        assert_eq!(body.len(), 12);
        assert_eq!(&body[..2], &9_u16.to_ne_bytes());
    }
}
