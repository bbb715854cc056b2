//! What is turned to the gateway, and what is not.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use crate::pod::{
    AGENT, FAR, GATEWAY, GID_ALONE, Identity, PEER, POD, Pod, ROOT, UID_ALONE, canonical, datagrams, listen,
};
use crate::wire::{PATIENCE, bound};

/// The gateway's transparent listener.
fn gateway(pod: &Pod) -> TcpListener {
    pod.inside(GATEWAY, || listen(15001))
}

/// Where the connection that waits at `listener` was going.
fn original(listener: &TcpListener) -> SocketAddr {
    let (stream, peer) = listener.accept().expect("a connection");
    let socket = SockRef::from(&stream);
    let original = if canonical(peer).is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    canonical(original.expect("original destination").as_socket().expect("address"))
}

fn dial(pod: &Pod, identity: Identity, to: SocketAddr) -> TcpStream {
    pod.inside(identity, || TcpStream::connect_timeout(&to, PATIENCE)).unwrap_or_else(|error| panic!("{to}: {error}"))
}

#[test]
fn every_tcp_connection_lands_at_the_gateway_which_knows_where_it_was_going() {
    let pod = Pod::closed();
    let gateway = gateway(&pod);
    for address in FAR.into_iter().chain(PEER) {
        // Half of the gateway's identity is none; root is nobody special.
        for identity in [AGENT, ROOT, UID_ALONE, GID_ALONE] {
            for port in [80, 443, 853, 15053, 15021] {
                let to = SocketAddr::new(address, port);
                let _stream = dial(&pod, identity, to);
                assert_eq!(original(&gateway), to, "{identity:?}");
            }
        }
    }
}

#[test]
fn instance_metadata_and_wire_server_land_at_the_gateway() {
    let pod = Pod::closed();
    let gateway = gateway(&pod);
    for address in [[169, 254, 169, 254], [168, 63, 129, 16]] {
        let to = SocketAddr::from((address, 80));
        let _stream = dial(&pod, AGENT, to);
        assert_eq!(original(&gateway), to);
    }
}

#[test]
fn the_gateways_own_connections_go_out() {
    let pod = Pod::closed();
    let _gateway = gateway(&pod);
    for address in PEER {
        let server = pod.outside(|| TcpListener::bind((address, 0)).expect("listen"));
        let to = server.local_addr().expect("address");
        let mut stream = dial(&pod, GATEWAY, to);
        let (mut served, from) = server.accept().expect("a connection");
        assert!(POD.contains(&from.ip()), "{from}");
        served.write_all(b"hello").expect("write");
        drop(served);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        assert_eq!(answer, "hello");
    }
}

/// The kernel ends a connection of the gateway by packets that belong to no
/// process any more. Without them the other side would wait for minutes.
#[test]
fn what_is_left_of_the_gateways_connections_goes_out() {
    let pod = Pod::closed();
    for address in PEER {
        let server = pod.outside(|| TcpListener::bind((address, 0)).expect("listen"));
        let to = server.local_addr().expect("address");
        let stream = dial(&pod, GATEWAY, to);
        let (mut served, _) = server.accept().expect("a connection");
        served.set_read_timeout(Some(PATIENCE)).expect("patience");
        // The socket is closed before the other side says anything: each
        // answer to what it says is the kernel's.
        drop(stream);
        assert_eq!(served.read(&mut [0; 8]).expect("the end"), 0);
        served.write_all(b"too late").expect("write");
        let mut reset = [PollFd::new(&served, PollFlags::empty())];
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(poll(&mut reset, Some(&patience)).expect("poll"), 1, "the connection is never reset");
        assert!(reset[0].revents().contains(PollFlags::HUP), "{reset:?}");
    }
}

#[test]
fn containers_of_the_pod_reach_each_other() {
    let pod = Pod::closed();
    let _gateway = gateway(&pod);
    let local = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for address in local.into_iter().chain(POD) {
        let server = pod.inside(AGENT, || TcpListener::bind((address, 0)).expect("listen"));
        let to = server.local_addr().expect("address");
        let stream = dial(&pod, UID_ALONE, to);
        let (_, from) = server.accept().expect("a connection");
        assert_eq!(from, stream.local_addr().expect("address"));
        let socket = pod.inside(AGENT, || UdpSocket::bind((address, 0)).expect("socket"));
        let to = socket.local_addr().expect("address");
        pod.inside(ROOT, || bound(to).send_to(b"x", to).expect("send"));
        assert_eq!(socket.recv_from(&mut [0; 8]).expect("receive").0, 1);
    }
}

/// Any resolver that the agent may ask, on loopback too.
fn resolvers() -> Vec<SocketAddr> {
    let stubs =
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    stubs.into_iter().chain(POD).chain(PEER).chain(FAR).map(|address| SocketAddr::new(address, 53)).collect()
}

/// Asks, has it answered by `resolver`, and takes the answer as clients do:
/// from the address that was asked.
fn asks(pod: &Pod, identity: Identity, resolver: &UdpSocket, to: SocketAddr) {
    let client = pod.inside(identity, || {
        let client = bound(to);
        client.connect(to).expect("connect");
        client.send(b"question").expect("send");
        client
    });
    resolver.set_read_timeout(Some(PATIENCE)).expect("patience");
    client.set_read_timeout(Some(PATIENCE)).expect("patience");
    let mut buffer = [0; 16];
    let (length, from) = resolver.recv_from(&mut buffer).expect("the question");
    assert_eq!(&buffer[..length], b"question", "{to}");
    resolver.send_to(b"answer", from).expect("send");
    let length = client.recv(&mut buffer).expect("the answer");
    assert_eq!(&buffer[..length], b"answer", "{to}");
}

#[test]
fn dns_lands_at_the_gateways_resolver_and_is_answered() {
    let pod = Pod::closed();
    let (udp, tcp) = pod.inside(GATEWAY, || (datagrams(15053), listen(15053)));
    for to in resolvers() {
        for identity in [AGENT, ROOT, UID_ALONE, GID_ALONE] {
            asks(&pod, identity, &udp, to);
        }
        let mut stream = dial(&pod, AGENT, to);
        let (mut served, _) = tcp.accept().expect("a connection");
        served.write_all(b"answer").expect("write");
        drop(served);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        assert_eq!(answer, "answer", "{to}");
    }
}

/// A resolver that listens on loopback alone serves as well.
#[test]
fn dns_is_answered_by_a_resolver_on_loopback() {
    let pod = Pod::closed();
    let bind = |address: IpAddr| pod.inside(GATEWAY, || UdpSocket::bind((address, 15053)).expect("socket"));
    let resolvers_of = [bind(Ipv4Addr::LOCALHOST.into()), bind(Ipv6Addr::LOCALHOST.into())];
    for to in resolvers() {
        asks(&pod, AGENT, &resolvers_of[usize::from(to.is_ipv6())], to);
    }
}

#[test]
fn the_gateways_own_questions_go_out() {
    let pod = Pod::closed();
    let _turned = pod.inside(GATEWAY, || datagrams(15053));
    for address in PEER {
        let to = SocketAddr::new(address, 53);
        let resolver = pod.outside(|| UdpSocket::bind(to).expect("socket"));
        asks(&pod, GATEWAY, &resolver, to);
    }
}

/// The kernel remembers a question for a while after its socket is closed. The
/// next question with the same ports goes where it belongs all the same.
#[test]
fn questions_with_the_same_ports_are_told_apart() {
    let pod = Pod::closed();
    let ours = pod.inside(GATEWAY, || datagrams(15053));
    ours.set_read_timeout(Some(PATIENCE)).expect("patience");
    for (address, own) in PEER.into_iter().zip(POD) {
        let to = SocketAddr::new(address, 53);
        let theirs = pod.outside(|| UdpSocket::bind(to).expect("socket"));
        theirs.set_read_timeout(Some(PATIENCE)).expect("patience");
        let ask = |identity, port, question: &[u8]| {
            pod.inside(identity, || {
                // A child that another test forks holds a copy of the socket
                // before, until it is another program.
                let until = Instant::now() + PATIENCE;
                let socket = loop {
                    match UdpSocket::bind((own, port)) {
                        Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                            std::thread::yield_now();
                        }
                        bound => break bound.expect("socket"),
                    }
                };
                socket.send_to(question, to).expect("send");
            });
        };
        let arrives = |at: &UdpSocket, question: &[u8]| {
            let mut buffer = [0; 16];
            let (length, _) = at.recv_from(&mut buffer).expect("a question");
            assert_eq!(&buffer[..length], question, "{to}");
        };
        ask(AGENT, 5001, b"agent");
        arrives(&ours, b"agent");
        ask(GATEWAY, 5001, b"gateway");
        arrives(&theirs, b"gateway");
        ask(AGENT, 5001, b"agent again");
        arrives(&ours, b"agent again");

        ask(GATEWAY, 5002, b"gateway");
        arrives(&theirs, b"gateway");
        ask(AGENT, 5002, b"agent");
        arrives(&ours, b"agent");
    }
}
