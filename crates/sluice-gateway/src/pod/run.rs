//! The sidecar from its start to its end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use sluice_core::SystemClock;
use sluice_link::{Backoff, Endpoint, EnrolOptions, Enrolment, FirstRoots, Link, Server, SystemNames};
use tokio::signal::unix::{SignalKind, signal};

use super::control::SAY_AFTER;
use super::follow::Followed;
use super::{AgentFiles, Collector, InCluster, OwnToken, Pod, PodArguments, workload};
use crate::{Gateway, GatewayOptions, Listener};

/// Serves until it is told to end; then ships what is left.
///
/// # Errors
/// What to mend.
pub async fn run(arguments: PodArguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let _hangup = signal(SignalKind::hangup())?;
    let resolver = Arc::new(SystemNames);
    let enrolment = Enrolment::start(EnrolOptions {
        control: arguments.control.clone(),
        roots: FirstRoots::Pem(arguments.roots.clone()),
        trust_domain: arguments.trust_domain.clone(),
        token_file: arguments.identity.join("control-token"),
        folder: Some(arguments.private.join("workload")),
        resolver: resolver.clone(),
        clock: Arc::new(SystemClock::new()),
        backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(15)),
    })?;
    let link = |endpoint: Endpoint, server| {
        Link::new(endpoint, server, &arguments.trust_domain, resolver.clone(), enrolment.credentials())
    };
    let collector = match arguments.collector.as_str() {
        "" => None,
        url => {
            let endpoint = url.parse().context("SLUICE_COLLECTOR")?;
            let wait = Duration::from_secs(arguments.collector_wait.max(1));
            Some(Collector { link: link(endpoint, Server::Collector), wait })
        }
    };
    let control = link(arguments.control.clone(), Server::Control);
    let (options, followed) = options(arguments, control, collector)?;
    tracing::info!(pod = options.workload.pod, namespace = options.workload.namespace, "starting");
    let starting = Gateway::start(options);
    tokio::pin!(starting);
    let slow = tokio::time::sleep(SAY_AFTER);
    tokio::pin!(slow);
    let mut said = false;
    let gateway = loop {
        tokio::select! {
            started = &mut starting => break started?,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = &mut slow, if !said => {
                said = true;
                tracing::warn!("there is no policy yet; the pod's containers wait for it");
            }
        }
    };
    let token = tokio::spawn(followed.run());
    let ready = gateway.ready();
    tracing::info!(transparent = ?ready.transparent, admin = ?ready.admin, revision = ready.revision, "serving");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("shutting down");
    token.abort();
    gateway.shutdown().await.context("ending the trail")
}

fn options(
    arguments: PodArguments,
    control: Link,
    collector: Option<Collector>,
) -> anyhow::Result<(GatewayOptions, Followed)> {
    let workload = workload::workload(&arguments.identity, &arguments.service_account, &arguments.node)?;
    let files = AgentFiles {
        trust: arguments.trust,
        service_account: arguments.service_account_folder,
        namespace: workload.namespace.clone(),
    };
    let token = OwnToken::default();
    let api_token = arguments.identity.join("api-token");
    let followed = Followed::new(&api_token, files.clone(), token.clone());
    followed.take().with_context(|| format!("{}: mount the pod's token there", api_token.display()))?;
    let in_cluster = arguments.api_host.map(|host| InCluster {
        address: SocketAddr::new(host, arguments.api_port),
        ca: arguments.identity.join("ca.crt"),
        token,
    });
    let pod = Pod {
        control,
        private: arguments.private,
        collector,
        intents: workload::intents(&arguments.identity)?,
        files,
        in_cluster,
        probes: arguments.probes,
        capacity: arguments.trail_bytes,
        dns: resolvers(&arguments.dns)?,
    };
    let options = GatewayOptions {
        policy: Vec::new(),
        trail: arguments.trail,
        workload,
        intent: None,
        listeners: vec![Listener::Transparent(bind("--transparent", arguments.transparent)?)],
        dns: None,
        maps: Vec::new(),
        token_file: None,
        ca_out: None,
        key_out: None,
        admin: Some(bind("--health", arguments.health)?),
        pod: Some(pod),
    };
    Ok((options, followed))
}

/// A socket for both families; for IPv4 alone on a machine without IPv6.
fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address) {
        Err(error) if no_v6(&error) && address.is_ipv6() => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        bound => bound,
    }
    .with_context(|| format!("{flag} {address}: cannot listen; no other container may use a port of ours"))
}

/// Those that can be had: a machine may have one family only.
fn resolvers(addresses: &[SocketAddr]) -> anyhow::Result<Vec<(UdpSocket, TcpListener)>> {
    let mut sockets = Vec::new();
    for address in addresses {
        let bound = UdpSocket::bind(address).and_then(|udp| {
            let tcp = TcpListener::bind(udp.local_addr()?)?;
            Ok((udp, tcp))
        });
        match bound {
            Ok(pair) => sockets.push(pair),
            Err(error) if no_v6(&error) && address.is_ipv6() => {}
            Err(error) => return Err(anyhow!(error).context(format!("--dns {address}: cannot listen"))),
        }
    }
    Ok(sockets)
}

fn no_v6(error: &io::Error) -> bool {
    const NO_FAMILY: i32 = 97; // EAFNOSUPPORT
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_FAMILY)
}
