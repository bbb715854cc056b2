//! An accepted connection, until it is clear whose it is: a session with a
//! target, bytes for an allowed host, or nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::accept::Destination;
use crate::deny;
use crate::egress;
use crate::http::head::Authorities;
use crate::http::serve;
use crate::http::upstream::Upstream;
use crate::metrics::Metrics;
use crate::record::{self, Stranger};
use crate::session::Session;
use crate::shared::{Policy, Shared};
use crate::tls::{Alpn, First, HANDSHAKE_TIME, Hello, first};
use crate::trust::names_of;

/// A connection, and what is known of where it goes.
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) destination: Destination,
}

/// Why a connection is closed without an answer in its own protocol.
struct Closed {
    code: &'static str,
    message: String,
    fix: String,
}

impl Connection {
    /// Serves it to its end.
    pub(crate) async fn serve(self) {
        let policy = self.shared.policy.load_full();
        if let Some(most) = policy.compiled.limits().concurrent_sessions
            && self.shared.limits.open_connections() > most as usize
        {
            let closed = Closed {
                code: "TooManySessions",
                message: format!("more than limits.concurrentSessions ({most}) connections"),
                fix: "Close some, or raise it in the policy.".into(),
            };
            return self.close(closed).await;
        }
        let (host, port) = match &self.destination {
            Destination::Name { host, port, .. } => (host.clone(), *port),
            Destination::Address(address) => match self.shared.names.host(address.ip()) {
                Some(host) => (host, address.port()),
                None if is_metadata(address.ip()) => return self.metadata().await,
                None => return self.stray().await,
            },
        };
        // Who comes to a listener for a host that policy does not name is told
        // so in its own protocol.
        let named = matches!(self.destination, Destination::Name { .. }) && self.shared.authority.covers(&host);
        let egress = policy.compiled.egress().allows(&host, port);
        if policy.target(&host, port).is_some() || (named && !egress) {
            self.intercept(&policy, host, port).await;
        } else if egress {
            Metrics::count(&self.shared.metrics.connections, "egress");
            let (shared, peer) = (self.shared.clone(), self.peer);
            if let Err(closed) = egress::pass(self.shared, self.stream, self.peer, host.clone(), port).await {
                let destination = format!("{host}:{port}");
                record(
                    &shared,
                    peer,
                    destination,
                    Closed { code: closed.code, message: closed.message, fix: closed.fix },
                )
                .await;
            }
        } else {
            let closed = unknown(&policy, &host, port);
            self.turn_away(closed).await;
        }
    }

    /// A connection to a target: TLS is ended here, and requests are read.
    async fn intercept(mut self, policy: &Policy, host: Arc<str>, port: u16) {
        let hello = match tokio::time::timeout(HANDSHAKE_TIME, first(&mut self.stream)).await {
            Ok(Ok(First::Tls(hello))) => hello,
            Ok(Ok(First::Nothing)) => return,
            Ok(Ok(First::Other(_))) => {
                let closed = Closed {
                    code: "PlainHttp",
                    message: format!("{host}:{port} is reached over TLS, and the client spoke plain text"),
                    fix: format!("Use https://{host}{}.", if port == 443 { String::new() } else { format!(":{port}") }),
                };
                return self.answer(closed).await;
            }
            Ok(Err(error)) => return self.close(bad_hello(&error)).await,
            Err(_) => return self.close(bad_hello(&io::Error::from(io::ErrorKind::TimedOut))).await,
        };
        if let Some(name) = hello.server_name.as_deref().filter(|name| *name != host.as_ref()) {
            let closed = Closed {
                code: "ServerName",
                message: format!(
                    "the TLS server name {:?} is not the target {host} that this connection goes to",
                    shown(name)
                ),
                fix: "Open a connection to each host under its own name (without ECH).".into(),
            };
            return self.close(closed).await;
        }
        // What the upstream chose is what the client is offered. A client
        // hears of an upstream that is away, or is none, by a status for each
        // request.
        let way = policy.ways.to(&self.shared.dialer, &host, port).filter(|_| policy.target(&host, port).is_some());
        let first = match &way {
            Some(way) => way
                .first(&hello.alpn)
                .await
                .map_err(|error| tracing::warn!(%error, "the target cannot be reached"))
                .ok(),
            None => None,
        };
        let (alpn, names) = match &first {
            Some(stream) => (Alpn::of(stream.get_ref().1.alpn_protocol()), names(stream)),
            None => (preferred(&hello), Vec::new()),
        };
        let leaf = match self.shared.authority.leaf(&host, &names) {
            Ok(leaf) => leaf,
            Err(error) => {
                let fix = "Restart the gateway: its CA is made for the targets known at start.".into();
                return self.close(Closed { code: "OutsideTrust", message: error.to_string(), fix }).await;
            }
        };
        let mut authorities = Authorities::new(&host, port);
        if let Destination::Name { local, .. } = &self.destination {
            authorities = authorities.also(local.to_string()).also(format!("{host}:{}", local.port()));
        }
        let handshake = self.shared.configs.handshake(self.stream, hello, &host, alpn, leaf);
        let stream = match tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
            Ok(Ok(stream)) => stream,
            failed => {
                let message = match failed {
                    Ok(Err(error)) => format!("TLS with the client failed: {error}"),
                    _ => format!("TLS with the client took more than {} seconds", HANDSHAKE_TIME.as_secs()),
                };
                let fix = self.shared.dialer.place().trust();
                return record(
                    &self.shared,
                    self.peer,
                    format!("{host}:{port}"),
                    Closed { code: "ClientTls", message, fix },
                )
                .await;
            }
        };
        Metrics::count(&self.shared.metrics.connections, "target");
        let authorities = Arc::new(authorities);
        let drain = self.shared.drain.subscribe();
        let session = Arc::new(Session {
            upstream: match way {
                Some(way) => Some(Upstream::new(way, alpn, first).await),
                None => None,
            },
            shared: self.shared,
            peer: self.peer,
            host,
            port,
            alpn,
            authorities: authorities.clone(),
        });
        let service = move |asked| session.clone().handle(asked);
        match alpn {
            Alpn::Http1 => serve::http1(stream, authorities, service, drain).await,
            Alpn::Http2 => serve::http2(stream, authorities, service, drain).await,
        }
    }

    /// A machine's metadata service: reset at once, so that who looks for
    /// credentials there goes on to the next place.
    async fn metadata(self) {
        let closed = Closed {
            code: "Metadata",
            message: format!("{} is the machine's metadata service, which is not for agents", self.destination),
            fix: "Let the client take its credentials from elsewhere.".into(),
        };
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        self.close(closed).await;
    }

    /// A connection to an address that the resolver gave to no name.
    async fn stray(self) {
        let closed = Closed {
            code: "RawAddress",
            message: format!("{} is no address that the gateway's resolver gave out", self.destination),
            fix: "Connect by name: only names of the policy (spec.targets, spec.egress.allow) lead anywhere.".into(),
        };
        self.turn_away(closed).await;
    }

    /// Closes; who spoke plain HTTP first is told why.
    async fn turn_away(mut self, closed: Closed) {
        /// A client that waits for the server to speak is not waited for.
        const PATIENCE: Duration = Duration::from_millis(500);
        match tokio::time::timeout(PATIENCE, first(&mut self.stream)).await {
            Ok(Ok(First::Other(bytes))) if bytes.first().is_some_and(u8::is_ascii_uppercase) => {
                self.answer(closed).await
            }
            Ok(Ok(First::Tls(Hello { server_name: Some(name), .. }))) => {
                let message = format!("{} (TLS server name {:?})", closed.message, shown(&name));
                self.close(Closed { message, ..closed }).await;
            }
            _ => self.close(closed).await,
        }
    }

    /// Answers in plain HTTP, then closes.
    async fn answer(mut self, closed: Closed) {
        const LONGEST: Duration = Duration::from_secs(5);
        let text = deny::plain(&format!("sluice: {}. {}", closed.message, closed.fix));
        record(&self.shared, self.peer, self.destination.to_string(), closed).await;
        let _ = tokio::time::timeout(LONGEST, async {
            self.stream.write_all(&text).await?;
            serve::linger(self.stream).await;
            Ok::<_, io::Error>(())
        })
        .await;
    }

    async fn close(self, closed: Closed) {
        record(&self.shared, self.peer, self.destination.to_string(), closed).await;
    }
}

/// Azure's, AWS's and others' instance metadata, Azure's wire server, AWS's by
/// IPv6.
fn is_metadata(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address == Ipv4Addr::new(169, 254, 169, 254) || address == Ipv4Addr::new(168, 63, 129, 16)
        }
        IpAddr::V6(address) => address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    }
}

async fn record(shared: &Shared, peer: SocketAddr, destination: String, closed: Closed) {
    Metrics::count(&shared.metrics.connections, "refused");
    let Closed { code, message, fix } = closed;
    record::stranger(shared, Stranger { peer, destination, code, message, fix, request: None }).await;
}

fn unknown(policy: &Policy, host: &str, port: u16) -> Closed {
    match policy.host(host) {
        Some(target) => Closed {
            code: "NoPort",
            message: format!("target {} of the policy has no port {port}", target.name),
            fix: format!("Use one of its ports {:?}, or name the port in spec.targets[].ports.", target.ports),
        },
        None => Closed {
            code: sluice_policy::code::NO_TARGET,
            message: format!("no target and no allowed egress of the policy is {host}:{port}"),
            fix: "Name it under spec.targets or spec.egress.allow of a GatewayPolicy that selects this workload."
                .into(),
        },
    }
}

fn bad_hello(error: &io::Error) -> Closed {
    Closed {
        code: "ClientTls",
        message: format!("the client's TLS cannot be read: {error}"),
        fix: "Use TLS 1.2 or 1.3.".into(),
    }
}

/// What the client would take, when no upstream says what it speaks.
fn preferred(hello: &Hello) -> Alpn {
    if hello.alpn.iter().any(|name| name == Alpn::Http2.id()) { Alpn::Http2 } else { Alpn::Http1 }
}

/// Names in the upstream's certificate.
fn names(stream: &TlsStream<TcpStream>) -> Vec<String> {
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    certificates.first().map(names_of).unwrap_or_default()
}

/// A name from outside, for a message.
fn shown(name: &str) -> String {
    name.chars().take(253).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_known() {
        let known = |text: &str| is_metadata(text.parse().expect("address"));
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "168.63.129.16", "fd00:ec2::254"] {
            assert!(known(address), "{address}");
        }
        for address in ["169.254.169.253", "168.63.129.17", "fd00:ec2::253", "10.0.0.1"] {
            assert!(!known(address), "{address}");
        }
    }
}
