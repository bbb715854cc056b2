//! What the agent cannot send.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::pod::{AGENT, FAR, GATEWAY, GID_ALONE, Identity, PEER, Pod, ROOT, UID_ALONE, listen, was_dropped};
use crate::wire::{PATIENCE, Seen, Wire, bound};

/// A way out that must be closed: sends one packet to the address.
type Attempt = (&'static str, Identity, fn(IpAddr) -> io::Result<usize>);

const ATTEMPTS: [Attempt; 12] = [
    ("QUIC", AGENT, |to| datagram(to, 443)),
    ("UDP", AGENT, |to| datagram(to, 4000)),
    ("UDP to the metadata port", AGENT, |to| datagram(to, 80)),
    ("UDP by root", ROOT, |to| datagram(to, 4000)),
    ("UDP with the gateway's UID alone", UID_ALONE, |to| datagram(to, 4000)),
    ("UDP with the gateway's GID alone", GID_ALONE, |to| datagram(to, 4000)),
    ("a bound UDP socket", ROOT, |to| bound_to_device(to)),
    ("ICMP echo", ROOT, |to| echo(to)),
    ("SCTP", ROOT, |to| raw(to, 132)),
    ("UDP-Lite", ROOT, |to| raw(to, 136)),
    ("a protocol without a name", ROOT, |to| raw(to, 253)),
    ("IP in IP", ROOT, |to| raw(to, 4)),
];

fn datagram(to: IpAddr, port: u16) -> io::Result<usize> {
    let to = SocketAddr::new(to, port);
    bound(to).send_to(b"data", to)
}

fn bound_to_device(to: IpAddr) -> io::Result<usize> {
    let to = SocketAddr::new(to, 53);
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
    socket.bind_device(Some(b"eth0"))?;
    socket.send_to(b"data", &to.into())
}

fn echo(to: IpAddr) -> io::Result<usize> {
    let (protocol, kind) = if to.is_ipv4() { (Protocol::ICMPV4, 8) } else { (Protocol::ICMPV6, 128) };
    send_raw(to, protocol, &[kind, 0, 0, 0, 0, 1, 0, 1])
}

fn raw(to: IpAddr, protocol: i32) -> io::Result<usize> {
    send_raw(to, Protocol::from(protocol), &[0; 32])
}

fn send_raw(to: IpAddr, protocol: Protocol, packet: &[u8]) -> io::Result<usize> {
    let to = SocketAddr::new(to, 0);
    let socket = Socket::new(Domain::for_address(to), Type::RAW, Some(protocol))?;
    socket.send_to(packet, &to.into())
}

/// What may leave a pod whose gateway is silent.
fn harmless(seen: &Seen) -> bool {
    matches!(seen, Seen::Link | Seen::Icmpv6(133 | 135 | 136 | 143))
}

#[test]
fn nothing_but_tcp_and_dns_leaves_the_agent() {
    // The same attempts pass where there are no rules: what follows is no
    // accident of the cable.
    let open = Pod::new();
    let wire = Wire::of(&open);
    for (name, identity, attempt) in ATTEMPTS {
        for to in PEER {
            open.inside(identity, || attempt(to)).unwrap_or_else(|error| panic!("{name} to {to}: {error}"));
            let seen = wire.seen(&open);
            assert!(seen.iter().any(|seen| !harmless(seen)), "{name} to {to}: {seen:?}");
        }
    }

    let pod = Pod::closed();
    let wire = Wire::of(&pod);
    for (name, identity, attempt) in ATTEMPTS {
        for to in PEER.into_iter().chain(FAR) {
            let result = pod.inside(identity, || attempt(to));
            let seen = wire.seen(&pod);
            assert!(seen.iter().all(harmless), "{name} to {to}: {seen:?}");
            // At once, so that QUIC gives up and TCP is tried. What is bound
            // to the device is turned to the resolver and then has no way.
            assert!(was_dropped(&result) || name == "a bound UDP socket", "{name} to {to}: {result:?}");
        }
    }
}

#[test]
fn nothing_leaves_to_everybody() {
    let pod = Pod::closed();
    let wire = Wire::of(&pod);
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let eth0 = pod.inside(ROOT, || rustix::net::netdevice::name_to_index(bound(any), "eth0")).expect("eth0");
    for to in ["255.255.255.255:4000", "10.77.0.255:4000", "224.0.0.251:5353", "[ff02::fb]:5353", "[fe80::1]:4000"] {
        let mut to: SocketAddr = to.parse().expect("address");
        if let SocketAddr::V6(v6) = &mut to {
            v6.set_scope_id(eth0);
        }
        let result = pod.inside(ROOT, || {
            let socket = bound(to);
            socket.set_broadcast(true)?;
            socket.send_to(b"data", to)
        });
        let seen = wire.seen(&pod);
        assert!(seen.iter().all(harmless), "{to}: {seen:?} {result:?}");
    }
}

/// The device decides the route before the rules do: a connection that is
/// bound to one cannot be turned, and must not leave either.
#[test]
fn a_connection_bound_to_a_device_does_not_leave() {
    let pod = Pod::closed();
    let _gateway = pod.inside(GATEWAY, || listen(15001));
    let wire = Wire::of(&pod);
    for device in ["eth0", "lo"] {
        for to in PEER.into_iter().chain(FAR).chain([Ipv4Addr::LOCALHOST.into()]) {
            let to = SocketAddr::new(to, 443);
            pod.inside(AGENT, || {
                let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("socket");
                socket.bind_device(Some(device.as_bytes())).expect("device");
                socket.set_nonblocking(true).expect("nonblocking");
                let _ = socket.connect(&to.into());
            });
            let seen = wire.seen(&pod);
            assert!(seen.iter().all(harmless), "{to} by {device}: {seen:?}");
        }
    }
}

/// A packet that only passes through the pod is nobody's.
#[test]
fn the_pod_is_no_router() {
    let pod = Pod::closed();
    pod.tool(&["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
    let wire = Wire::of(&pod);
    // From the peer, by way of the pod, back to beyond the peer.
    pod.outside_route(FAR[0]);
    pod.outside(|| datagram(FAR[0], 4000).expect("send"));
    let seen = wire.seen(&pod);
    assert!(seen.iter().all(harmless), "{seen:?}");
}

/// The link address of the router is forgotten and asked for again, by the
/// gateway's packets and by the peer's.
#[test]
fn neighbours_are_discovered() {
    let pod = Pod::closed();
    let health = pod.inside(GATEWAY, || listen(15021));
    for address in PEER {
        let server = pod.outside(|| std::net::TcpListener::bind((address, 0)).expect("listen"));
        let to = server.local_addr().expect("address");
        pod.forget_neighbours();
        pod.inside(GATEWAY, || TcpStream::connect_timeout(&to, PATIENCE)).expect("by the gateway");
    }
    for address in crate::pod::POD {
        pod.forget_neighbours();
        pod.outside(|| TcpStream::connect_timeout(&SocketAddr::new(address, 15021), PATIENCE)).expect("by the peer");
        health.accept().expect("a connection");
    }
}

/// A forged neighbour discovery packet is a process's, the kernel's own is
/// nobody's.
#[test]
fn neighbour_discovery_carries_no_data_of_the_agent() {
    let pod = Pod::closed();
    let wire = Wire::of(&pod);
    let mark = [0x5a; 16];
    let result =
        pod.inside(ROOT, || send_raw(PEER[1], Protocol::ICMPV6, &[&[136, 0, 0, 0, 0, 0, 0, 0][..], &mark].concat()));
    assert!(was_dropped(&result), "{result:?}");
    assert!(!wire.seen(&pod).contains(&Seen::Icmpv6(136)));
}

/// A TCP connection of the gateway that ended leaves a memory of its ports in
/// the kernel; the agent gains nothing by taking them.
#[test]
fn the_gateways_ports_are_no_way_out() {
    let pod = Pod::closed();
    let gateway = Arc::new(pod.inside(GATEWAY, || listen(15001)));
    for (address, own) in PEER.into_iter().zip(crate::pod::POD) {
        let server = pod.outside(|| std::net::TcpListener::bind((address, 0)).expect("listen"));
        let to = server.local_addr().expect("address");
        let from = SocketAddr::new(own, 5003);
        let connect = |identity| {
            pod.inside(identity, || {
                let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("socket");
                socket.set_reuse_address(true).expect("reuse");
                socket.bind(&SockAddr::from(from)).expect("bind");
                socket.connect_timeout(&to.into(), PATIENCE).map(|()| socket)
            })
        };
        let stream = connect(GATEWAY).expect("the gateway may");
        let (served, _) = server.accept().expect("a connection");
        // The other side closes first, so that the pod's side has no socket
        // left that would keep the port.
        drop(served);
        assert_eq!(io::Read::read(&mut &stream, &mut [0; 8]).expect("the end"), 0);
        drop(stream);

        // The kernel keeps the port until the peer has acknowledged the end.
        let until = Instant::now() + PATIENCE;
        let stream = loop {
            match connect(AGENT) {
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && Instant::now() < until => {
                    std::thread::yield_now();
                }
                connected => break connected,
            }
        };
        let _stream = stream.expect("lands at the gateway");
        let (_, peer) = gateway.accept().expect("a connection");
        assert_eq!(peer.port(), from.port());
    }
}
