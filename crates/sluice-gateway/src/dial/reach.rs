//! Which addresses a name must not lead to.
//!
//! Whoever owns a name that policy allows could point it at the gateway's own
//! loopback, at the node's metadata service or back into the gateway. Private
//! networks are fine: private endpoints and in-cluster services live there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of forbidden address this is.
pub(super) fn forbidden(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, ..] = address.octets();
    match address {
        _ if a == 0 => Some("an unspecified address"),
        _ if address.is_loopback() => Some("the gateway's own loopback"),
        _ if address.is_link_local() => Some("link-local (the metadata service is there)"),
        WIRE_SERVER => Some("the platform's wire server"),
        _ if a == 198 && (b & 0xfe) == 18 => Some("one of the gateway's synthetic addresses"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if a >= 240 => Some("a reserved address"),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(inner) = embedded(address) {
        return forbidden_v4(inner);
    }
    match address {
        Ipv6Addr::UNSPECIFIED => Some("an unspecified address"),
        Ipv6Addr::LOCALHOST => Some("the gateway's own loopback"),
        _ if address.segments()[..4] == SYNTHETIC_V6 => Some("one of the gateway's synthetic addresses"),
        _ if (address.segments()[0] & 0xffc0) == 0xfe80 => Some("link-local"),
        _ if address.is_multicast() => Some("a multicast address"),
        METADATA_V6 => Some("a metadata service"),
        _ => None,
    }
}

/// The IPv4 address that packets to this one end up at: mapped (RFC 4291
/// 2.5.5.2), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b) {
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => Some(pair(g, h)),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => Some(pair(g, h)),
        (0x2002, _) => Some(pair(b, c)),
        _ => None,
    }
}

/// Azure's virtual address for platform services.
const WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
const SYNTHETIC_V6: [u16; 4] = crate::names::PREFIX_V6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leads_inside() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "168.63.129.16",
            "198.18.0.1",
            "198.19.255.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "fd5f:736c:7569:6365::1",
        ] {
            assert!(forbidden(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "20.1.2.3",
            "198.17.0.1",
            "198.20.0.1",
            "fd77::1",
            "2603:1030::1",
            "::ffff:10.0.0.1",
            "64:ff9b::1401:203",
        ] {
            assert_eq!(forbidden(address.parse().unwrap()), None, "{address}");
        }
    }
}
