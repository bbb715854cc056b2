//! The gateway is the only way out.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use super::world::{HELLO, both};
use anyhow::{Result, ensure};

#[test]
fn a_target_is_reached_by_name_on_both_families() -> Result<()> {
    both(|world| {
        world.holds(&format!(
            r#"
            for family in 4 6; do
                answer=$(curl -$family -sS --max-time 60 https://api.cluster.example/version 2>&1)
                is version-$family yes "$(case $answer in *"{HELLO}"*) echo yes;; *) echo "$answer";; esac)"
            done
            is resolved yes "$(getent ahostsv4 api.cluster.example | grep -q '^198\.1[89]\.' && echo yes)"
            is resolved6 yes "$(getent ahostsv6 api.cluster.example | grep -q '^fd' && echo yes)"
            denied=$(curl -sS --max-time 60 -w '%{{http_code}}' https://api.cluster.example/api/v1/nodes)
            is denied 403 "${{denied: -3}}"
            "#
        ))?;
        let seen = world.upstream.seen();
        ensure!(seen.len() == 2 && seen.iter().all(|seen| seen.path == "/version"), "{seen:?}");
        Ok(())
    })
}

#[test]
fn nothing_else_is_reached_by_tcp() -> Result<()> {
    both(|world| {
        let mut servers =
            vec![TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv6Addr::LOCALHOST, 0))?];
        for address in own_addresses() {
            servers.push(TcpListener::bind((address, 0))?);
        }
        let mut script = String::new();
        for server in &servers {
            let address = server.local_addr()?;
            let (ip, port) = (address.ip(), address.port());
            script.push_str(&format!("timeout 60 bash -c 'exec 3<>/dev/tcp/{ip}/{port} && printf \"GET / HTTP/1.1\\r\\nHost: {MARK}\\r\\n\\r\\n\" >&3 && cat <&3'\n"));
        }
        // By our server's own address, too: only its name is a target.
        script.push_str(&format!("curl -sk --max-time 60 https://{}/version\necho end\n", world.upstream.address()));
        let finished = world.inside(&script)?;
        ensure!(finished.stdout.ends_with("end\n") && !finished.stdout.contains(HELLO), "{finished:?}");
        for server in servers {
            // The command has ended, so nothing comes any more.
            server.set_nonblocking(true)?;
            while let Ok((mut stream, _)) = server.accept() {
                // Others may try this port by mistake; ours says who it is.
                stream.set_nonblocking(true)?;
                let mut said = [0; 2048];
                let length = stream.read(&mut said).unwrap_or(0);
                ensure!(!has_mark(&said[..length]), "{} was reached", server.local_addr()?);
            }
        }
        ensure!(world.upstream.seen().is_empty(), "{:?}", world.upstream.seen());
        Ok(())
    })
}

#[test]
fn udp_and_icmp_go_nowhere() -> Result<()> {
    both(|world| {
        let mut servers = vec![UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?];
        for address in own_addresses() {
            servers.push(UdpSocket::bind((address, 0))?);
        }
        let mut script = String::new();
        for server in &servers {
            let address = server.local_addr()?;
            script.push_str(&format!("echo {MARK} > /dev/udp/{}/{}\n", address.ip(), address.port()));
        }
        script.push_str(
            r#"
            exec 2>/dev/null
            for protocol in 1 58 132 17 6; do
                perl -MSocket -e 'exit(socket(S, $ARGV[0] == 58 ? AF_INET6 : AF_INET, SOCK_RAW, $ARGV[0]) ? 0 : 1)' $protocol && echo RAW $protocol
            done
            perl -MSocket -e 'exit(socket(S, AF_INET, SOCK_DGRAM, 1) ? 0 : 1)' && echo PING
            # A packet socket, the hypervisor's, Bluetooth, XDP, TIPC
            for family in 17 40 31 44 30; do
                perl -e 'exit(socket(S, $ARGV[0], 1, 0) || socket(S, $ARGV[0], 2, 0) || socket(S, $ARGV[0], 3, 0) ? 0 : 1)' $family && echo FAMILY $family
            done
            echo devices $(tail -n +3 /proc/net/dev | cut -d: -f1)
            "#,
        );
        let finished = world.inside(&script)?;
        ensure!(finished.stdout == "devices lo\n", "{finished:?}");
        for server in servers {
            // Late answers to whoever had this port before are none of ours.
            server.set_nonblocking(true)?;
            let mut packet = [0; 2048];
            while let Ok(length) = server.recv(&mut packet) {
                ensure!(!has_mark(&packet[..length]), "{} was reached", server.local_addr()?);
            }
        }
        Ok(())
    })
}

#[test]
fn every_resolver_is_the_gateways() -> Result<()> {
    both(|world| {
        // A question for the target's address, type A, asked of anybody.
        let ask = r#"
            use Socket qw(:all);
            my ($host, $tcp) = @ARGV;
            my ($error, $to) = getaddrinfo($host, 53, {flags => AI_NUMERICHOST, socktype => $tcp ? SOCK_STREAM : SOCK_DGRAM});
            socket(S, $to->{family}, $to->{socktype}, 0) or die;
            connect(S, $to->{addr}) or die "connect: $!";
            my $q = pack("nnnnnn", 7, 0x100, 1, 0, 0, 0) . join("", map { chr(length) . $_ } split /\./, "api.cluster.example") . "\0" . pack("nn", 1, 1);
            $q = pack("n", length $q) . $q if $tcp;
            send(S, $q, 0);
            alarm 60;
            sysread(S, my $answer, 512);
            $answer = substr($answer, 2) if $tcp;
            my @address = unpack("C4", substr($answer, -4));
            print "$host answered\n" if unpack("n", $answer) == 7 && $address[0] == 198;
        "#;
        let mut script = format!("cat > ask.pl <<'END'\n{ask}\nEND\n");
        let resolvers = ["127.0.0.53", "8.8.8.8", "10.0.0.10", "::1", "2001:db8::53"];
        for resolver in resolvers {
            for tcp in ["", "1"] {
                script.push_str(&format!("perl ask.pl {resolver} {tcp}\n"));
            }
        }
        script.push_str("getent hosts somewhere.else.example && echo RESOLVED\ntrue\n");
        let finished = world.inside(&script)?;
        let wanted: String = resolvers.iter().map(|resolver| format!("{resolver} answered\n").repeat(2)).collect();
        ensure!(finished.stdout == wanted, "{finished:?}");
        Ok(())
    })
}

#[test]
fn what_was_refused_is_recorded() -> Result<()> {
    both(|world| {
        let finished = world.inside(
            "curl -sk --max-time 60 https://203.0.113.7/; curl -sk --max-time 60 https://[2001:db8::7]/; true",
        )?;
        ensure!(finished.status.success(), "{finished:?}");
        let search = sluice_testkit::run(
            std::process::Command::new(world.path("sluice"))
                .args(["audit", "search", "-o", "json", "--kind", "refused"])
                .arg(world.path("trail")),
        )?;
        ensure!(search.stdout.contains("203.0.113.7") && search.stdout.contains("2001:db8::7"), "{search:?}");
        Ok(())
    })
}

/// What the command says, so that it is told from what others send.
const MARK: &str = "sluice-isolation-mark";

fn has_mark(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes())
}

/// Addresses of this machine that are not loopback, by asking the kernel
/// which it would send from. No packet is sent.
fn own_addresses() -> Vec<IpAddr> {
    ["0.0.0.0:0", "[::]:0"]
        .iter()
        .zip(["198.51.100.1:9", "[2001:db8::1]:9"])
        .filter_map(|(own, other)| {
            let socket = UdpSocket::bind(own).ok()?;
            socket.connect(other).ok()?;
            socket.local_addr().ok()
        })
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
        .collect()
}
