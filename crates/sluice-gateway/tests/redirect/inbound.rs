//! What reaches the pod.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use crate::pod::{AGENT, GATEWAY, Identity, POD, Pod, datagrams, listen};
use crate::wire::PATIENCE;

/// The peer begins to connect, and does not wait.
fn begin(pod: &Pod, to: SocketAddr) -> Socket {
    pod.outside(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("socket");
        socket.set_nonblocking(true).expect("nonblocking");
        let _ = socket.connect(&to.into());
        socket
    })
}

/// Whether the connection is made, or refused.
fn decided(socket: &Socket) -> bool {
    let mut all = [PollFd::new(socket, PollFlags::OUT)];
    poll(&mut all, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll") > 0
}

/// The peer connects and is served by this identity's listener.
fn reaches(pod: &Pod, listener: &TcpListener, to: SocketAddr) {
    let stream = pod.outside(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap_or_else(|e| panic!("{to}: {e}"));
    let (mut served, from) = listener.accept().expect("a connection");
    assert_eq!(from.port(), stream.local_addr().expect("address").port());
    io::Write::write_all(&mut served, b"ready").expect("write");
    drop(served);
    assert_eq!(io::read_to_string(stream).expect("read"), "ready", "{to}");
}

fn server(pod: &Pod, identity: Identity, port: u16) -> TcpListener {
    pod.inside(identity, || listen(port))
}

#[test]
fn a_peer_cannot_pull_from_the_agent() {
    let pod = Pod::closed();
    let agents: Vec<TcpListener> = [22, 80, 8080, 15022].map(|port| server_of_agent(&pod, port)).into();
    let health = server(&pod, GATEWAY, 15021);
    for address in POD {
        let attempts: Vec<Socket> = agents
            .iter()
            .map(|agent| begin(&pod, SocketAddr::new(address, agent.local_addr().expect("address").port())))
            .collect();
        // By the same cable and later, so the attempts have been judged.
        reaches(&pod, &health, SocketAddr::new(address, 15021));
        for (agent, attempt) in agents.iter().zip(&attempts) {
            assert!(!decided(attempt), "{address}: {agent:?}");
            agent.set_nonblocking(true).expect("nonblocking");
            assert_eq!(agent.accept().expect_err("no connection").kind(), io::ErrorKind::WouldBlock);
        }
    }
}

/// Ports below 1024 are bound by root here.
fn server_of_agent(pod: &Pod, port: u16) -> TcpListener {
    server(pod, if port < 1024 { crate::pod::ROOT } else { AGENT }, port)
}

#[test]
fn a_peer_cannot_reach_the_gateways_other_ports() {
    let pod = Pod::closed();
    let _listeners = [server(&pod, GATEWAY, 15001), server(&pod, GATEWAY, 15053)];
    let dns = pod.inside(GATEWAY, || datagrams(15053));
    dns.set_nonblocking(true).expect("nonblocking");
    let health = server(&pod, GATEWAY, 15021);
    for address in POD {
        let attempts = [15001, 15053].map(|port| begin(&pod, SocketAddr::new(address, port)));
        pod.outside(|| crate::wire::bound(SocketAddr::new(address, 0)).send_to(b"?", (address, 15053)).expect("send"));
        reaches(&pod, &health, SocketAddr::new(address, 15021));
        assert!(!attempts.iter().any(decided), "{address}");
        assert_eq!(dns.recv_from(&mut [0; 8]).expect_err("no question").kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_peer_cannot_send_datagrams_to_the_agent() {
    let pod = Pod::closed();
    let health = server(&pod, GATEWAY, 15021);
    let agent = pod.inside(AGENT, || datagrams(4000));
    agent.set_nonblocking(true).expect("nonblocking");
    for address in POD {
        let to = SocketAddr::new(address, 4000);
        pod.outside(|| crate::wire::bound(to).send_to(b"x", to).expect("send"));
        reaches(&pod, &health, SocketAddr::new(address, 15021));
        assert_eq!(agent.recv_from(&mut [0; 8]).expect_err("no datagram").kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn declared_ports_are_open() {
    let pod = Pod::new();
    pod.init_succeeds(&[("SLUICE_INBOUND_PORTS", "8080, 9090")]);
    let [first, second, other] = [8080, 9090, 8081].map(|port| server(&pod, AGENT, port));
    for address in POD {
        let attempt = begin(&pod, SocketAddr::new(address, 8081));
        reaches(&pod, &first, SocketAddr::new(address, 8080));
        reaches(&pod, &second, SocketAddr::new(address, 9090));
        assert!(!decided(&attempt), "{other:?}");
    }
}

/// While the gateway is down its health port is free. An agent that takes it
/// cannot answer there.
#[test]
fn the_health_port_serves_the_gateway_alone() {
    let pod = Pod::new();
    pod.init_succeeds(&[("SLUICE_INBOUND_PORTS", "8080")]);
    let squatter = server(&pod, AGENT, 15021);
    squatter.set_nonblocking(true).expect("nonblocking");
    let declared = server(&pod, AGENT, 8080);
    for address in POD {
        let attempt = begin(&pod, SocketAddr::new(address, 15021));
        reaches(&pod, &declared, SocketAddr::new(address, 8080));
        assert!(!decided(&attempt), "{address}");
        assert_eq!(squatter.accept().expect_err("no connection").kind(), io::ErrorKind::WouldBlock);
    }
}

/// Answers to the gateway's own questions come in; nothing else from there.
#[test]
fn a_server_of_the_gateway_cannot_reach_the_agent() {
    let pod = Pod::closed();
    let agent = pod.inside(AGENT, || datagrams(4000));
    agent.set_nonblocking(true).expect("nonblocking");
    for (address, peer) in POD.into_iter().zip(crate::pod::PEER) {
        let server = pod.outside(|| UdpSocket::bind((peer, 53)).expect("socket"));
        server.set_read_timeout(Some(PATIENCE)).expect("patience");
        let gateway = pod.inside(GATEWAY, || {
            let socket = UdpSocket::bind((address, 0)).expect("socket");
            socket.send_to(b"?", (peer, 53)).expect("send");
            socket
        });
        gateway.set_read_timeout(Some(PATIENCE)).expect("patience");
        let (_, from) = server.recv_from(&mut [0; 8]).expect("question");
        server.send_to(b"to the agent", (address, 4000)).expect("send");
        server.send_to(b"!", from).expect("send");
        assert_eq!(gateway.recv_from(&mut [0; 8]).expect("answer").0, 1);
        assert_eq!(agent.recv_from(&mut [0; 16]).expect_err("no datagram").kind(), io::ErrorKind::WouldBlock);
    }
}
