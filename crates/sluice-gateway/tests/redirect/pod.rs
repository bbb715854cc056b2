//! A pod: a network namespace, joined to a peer's by a cable.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Gid, Uid};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use socket2::{Domain, Protocol, Socket, Type};

/// UID and GID of the gateway.
pub(crate) const GATEWAY: Identity = Identity { uid: 62051, gid: 62051 };
/// Somebody else.
pub(crate) const AGENT: Identity = Identity { uid: 1000, gid: 1000 };
/// Has the gateway's UID alone.
pub(crate) const UID_ALONE: Identity = Identity { uid: 62051, gid: 1000 };
/// Has the gateway's GID alone.
pub(crate) const GID_ALONE: Identity = Identity { uid: 1000, gid: 62051 };
/// May open raw sockets.
pub(crate) const ROOT: Identity = Identity { uid: 0, gid: 0 };

/// Of the pod.
pub(crate) const POD: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2))];
/// Of the peer, which is the pod's router, too.
pub(crate) const PEER: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1))];
/// Beyond the router (RFC 5737, RFC 3849).
pub(crate) const FAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9))];

/// Link addresses of the two ends.
const POD_LINK: &str = "02:00:00:00:00:02";
const PEER_LINK: &str = "02:00:00:00:00:01";

/// Whose process a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Two namespaces, removed when dropped.
pub(crate) struct Pod {
    pod: String,
    peer: String,
}

impl Pod {
    /// A pod with both families and no rules.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::geteuid().is_root(), "these tests make network namespaces: run them as root");
        let name = format!("sluice-redirect-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let pod = Self { pod: format!("{name}-pod"), peer: format!("{name}-peer") };
        for namespace in [&pod.pod, &pod.peer] {
            run("ip", &["netns", "add", namespace]);
            run("ip", &["-n", namespace, "link", "set", "lo", "up"]);
        }
        let ends = ["link", "add", "eth0", "address", POD_LINK, "type", "veth", "peer", "name", "eth0", "address"];
        run("ip", &[&["-n", &pod.pod], &ends[..], &[PEER_LINK, "netns", &pod.peer]].concat());
        for (namespace, addresses) in [(&pod.pod, POD), (&pod.peer, PEER)] {
            run("ip", &["-n", namespace, "link", "set", "eth0", "up"]);
            let [v4, v6] = addresses;
            run("ip", &["-n", namespace, "address", "add", &format!("{v4}/24"), "dev", "eth0"]);
            run("ip", &["-n", namespace, "address", "add", &format!("{v6}/64"), "dev", "eth0", "nodad"]);
        }
        for router in PEER {
            let family = if router.is_ipv4() { "-4" } else { "-6" };
            run("ip", &["-n", &pod.pod, family, "route", "add", "default", "via", &router.to_string()]);
        }
        pod
    }

    /// A pod where the init step went through.
    pub(crate) fn closed() -> Self {
        let pod = Self::new();
        pod.init_succeeds(&[]);
        pod
    }

    /// Takes a family away from the pod.
    pub(crate) fn without(self, family: &str) -> Self {
        match family {
            "v4" => run("ip", &["-n", &self.pod, "-4", "address", "flush", "dev", "eth0"]),
            _ => self.tool(&["sh", "-c", "for all in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$all; done"]),
        };
        self
    }

    /// `sluice-gateway init`, as the container runs it: root with NET_ADMIN
    /// and no other capability.
    pub(crate) fn init(&self, environment: &[(&str, &str)]) -> Output {
        self.init_command("-all,+net_admin", environment).output().expect("run the init step")
    }

    /// The same with other capabilities.
    pub(crate) fn init_command(&self, bounding: &str, environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.pod))
            .args(["setpriv", &format!("--bounding-set={bounding}"), "--no-new-privs"])
            .args([env!("CARGO_BIN_EXE_sluice-gateway"), "init"])
            .env_remove("RUST_LOG")
            .env_remove("SLUICE_GATEWAY_USER")
            .env_remove("SLUICE_INBOUND_PORTS")
            .envs(environment.iter().copied());
        command
    }

    /// The init step, which must go through. Returns what it logged.
    pub(crate) fn init_succeeds(&self, environment: &[(&str, &str)]) -> String {
        let output = self.init(environment);
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {log}", output.status);
        log
    }

    /// A program in the pod's network, which must succeed.
    pub(crate) fn tool(&self, command: &[&str]) -> String {
        let mut arguments = vec![format!("--net=/run/netns/{}", self.pod)];
        arguments.extend(command.iter().map(|&word| word.to_owned()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run("nsenter", &arguments)
    }

    /// What the kernel remembers of the other's link address is forgotten.
    pub(crate) fn forget_neighbours(&self) {
        for namespace in [&self.pod, &self.peer] {
            for family in ["-4", "-6"] {
                run("ip", &["-n", namespace, family, "neighbour", "flush", "dev", "eth0"]);
            }
        }
    }

    /// The peer sends what is for `to` by way of the pod.
    pub(crate) fn outside_route(&self, to: IpAddr) {
        run("ip", &["-n", &self.peer, "route", "add", &to.to_string(), "via", &POD[0].to_string()]);
    }

    /// Runs `work` in the pod, as a process of this identity would.
    pub(crate) fn inside<T: Send>(&self, identity: Identity, work: impl FnOnce() -> T + Send) -> T {
        enter(&self.pod, identity, work)
    }

    /// Runs `work` as the peer.
    pub(crate) fn outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        enter(&self.peer, ROOT, work)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for namespace in [&self.pod, &self.peer] {
            // A namespace that is not there was never made.
            let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
        }
    }
}

/// A thread of its own, so that what it becomes ends with it. Sockets belong
/// to the identity and the namespace in which they were made, wherever they
/// are used later.
fn enter<T: Send>(namespace: &str, identity: Identity, work: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(format!("/run/netns/{namespace}")).expect("open the namespace");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("enter");
            if identity != ROOT {
                let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
                set_thread_groups(&[]).expect("drop groups");
                set_thread_res_gid(gid, gid, gid).expect("take the group");
                set_thread_res_uid(uid, uid, uid).expect("take the user");
            }
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A listener for both families.
pub(crate) fn listen(port: u16) -> TcpListener {
    let socket = dual(Type::STREAM, Protocol::TCP, port);
    socket.listen(64).expect("listen");
    socket.into()
}

/// A datagram socket for both families.
pub(crate) fn datagrams(port: u16) -> UdpSocket {
    dual(Type::DGRAM, Protocol::UDP, port).into()
}

fn dual(kind: Type, protocol: Protocol, port: u16) -> Socket {
    let socket = Socket::new(Domain::IPV6, kind, Some(protocol)).expect("socket");
    socket.set_only_v6(false).expect("both families");
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()).unwrap_or_else(|e| panic!("port {port}: {e}"));
    socket
}

/// A v4-mapped address as v4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The error that the kernel gives a sender whose packet it dropped.
pub(crate) fn was_dropped(result: &io::Result<usize>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}
