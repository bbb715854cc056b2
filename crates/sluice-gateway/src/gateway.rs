//! A gateway from start to shutdown.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sluice_audit::ship::{ShipOptions, Shipper, Shipping};
use sluice_audit::{Durability, Kind, Record, Trail, TrailError, TrailOptions};
use sluice_core::{Clock, Intent, IntentSource, SystemClock, Workload};
use sluice_link::IngestTransport;
use sluice_mask::Marker;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::accept::{Acceptor, Listener};
use crate::config::{PolicyError, PolicyFiles};
use crate::connection::Connection;
use crate::dial::{Dialer, Place, Resolver};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::names::{Names, RefusedName};
use crate::pod::{Control, Pod};
use crate::shared::Shared;
use crate::tls::ServerConfigs;
use crate::trust::{self, Authorities};
use crate::watch::{self as policy, Parts, Source};

/// How long requests under way may take at shutdown.
const DRAIN: Duration = Duration::from_secs(10);
/// How long their outcomes may take to be recorded after that.
const SETTLE: Duration = Duration::from_secs(2);
/// How long the collector may take for what it does not have then.
const SHIP: Duration = Duration::from_secs(15);

/// What a gateway is started with. Sockets are bound already, so that their
/// owner knows the ports (and may have opened them in another network
/// namespace).
#[derive(Debug)]
pub struct GatewayOptions {
    /// Policy files and folders. In a pod policy comes from the control plane.
    pub policy: Vec<PathBuf>,
    /// Folder of the trail; made if it is not there.
    pub trail: PathBuf,
    /// Whose traffic this is.
    pub workload: Workload,
    /// What the agent's run is for, as its owner declares it.
    pub intent: Option<String>,
    /// Where connections come in.
    pub listeners: Vec<Listener>,
    /// Sockets of the resolver, UDP and TCP.
    pub dns: Option<(UdpSocket, TcpListener)>,
    /// Fixed addresses for some host names, asked before any resolver.
    pub maps: Vec<crate::dial::Map>,
    /// File with the OIDC token that stands for the workload where a request
    /// carries none. Read for each such request, so that it can be renewed.
    pub token_file: Option<PathBuf>,
    /// Where to write the certificates that clients must trust: the system's
    /// roots and this gateway's own CA, PEM.
    pub ca_out: Option<PathBuf>,
    /// Where to write the trail's public key of this run.
    pub key_out: Option<PathBuf>,
    /// Where to serve `/healthz`, `/readyz` and `/metrics`.
    pub admin: Option<TcpListener>,
    /// What only a pod's sidecar has.
    pub pod: Option<Pod>,
}

/// Where a started gateway can be reached.
#[derive(Debug, Clone, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Always true: the gateway serves.
    pub ready: bool,
    /// Address of each explicit listener, by `HOST:PORT`.
    pub listen: BTreeMap<String, SocketAddr>,
    /// Addresses of the transparent listeners.
    pub transparent: Vec<SocketAddr>,
    /// Address of the resolver.
    pub dns: Option<SocketAddr>,
    /// Address of the admin listener.
    pub admin: Option<SocketAddr>,
    /// Revision of the policy in force.
    pub revision: String,
    /// Process id.
    pub pid: u32,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The policy cannot be read or does not compile.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The trail cannot be opened.
    #[error(transparent)]
    Trail(#[from] sluice_audit::TrailError),
    /// A file cannot be written or read.
    #[error("{flag} {}: {cause}; {fix}", path.display())]
    File {
        /// The option that named it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        cause: io::Error,
        /// What to do.
        fix: &'static str,
    },
    /// A socket cannot be used.
    #[error("{flag}: {cause}")]
    Socket {
        /// The option that named it.
        flag: &'static str,
        /// What happened.
        cause: io::Error,
    },
    /// Keys or certificates cannot be made.
    #[error("{0}")]
    Trust(String),
}

/// A gateway that runs.
pub struct Gateway {
    shared: Arc<Shared>,
    ready: Ready,
    /// Listeners, the watcher of policy, the resolver, the admin listener.
    tasks: JoinSet<()>,
    /// Hands records to the collector.
    shipping: Option<Shipping>,
    /// Ends connections that outlast the drain.
    stop: watch::Sender<bool>,
}

impl Gateway {
    /// Starts everything: when it returns, the listeners accept.
    ///
    /// # Errors
    /// [`StartError`]: what to mend, and nothing runs.
    pub async fn start(options: GatewayOptions) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let pod = options.pod.as_ref();
        let in_cluster = pod.and_then(|pod| pod.in_cluster.clone());
        let maps = options.maps.into_iter().chain(in_cluster.iter().flat_map(|cluster| cluster.maps()));
        let (place, resolver) =
            if pod.is_some() { (Place::Pod, Resolver::pod()) } else { (Place::Local, Resolver::system()) };
        let dialer = Dialer::new(maps.collect(), resolver, place);
        let mut source = match pod {
            Some(pod) => {
                let control = Control::start(pod.control.clone(), &pod.private, options.workload.clone());
                Source::Control(Box::new(control))
            }
            None => Source::Files(PolicyFiles::new(options.policy, options.workload.clone())),
        };
        let parts = Parts { dialer: &dialer, clock: &clock, in_cluster: in_cluster.as_ref() };
        let in_force = source.first(&parts).await?;
        let acceptors = acceptors(options.listeners)?;

        let fixed = acceptors.iter().filter_map(|acceptor| acceptor.fixed().map(|(host, _)| host));
        let targets = in_force.compiled.targets().iter().map(|target| target.host.as_str());
        // In a pod they outlive a restart: what the agent has read stays true.
        let kept = pod.map(|pod| pod.private.join("ca"));
        let authority = Authorities::open(kept.as_deref(), targets.chain(fixed), clock.clone()).map_err(trust)?;
        if let Some(pod) = pod {
            pod.files.write_trust(&authority).map_err(trust)?;
        }
        if let Some(path) = &options.ca_out {
            authority.write_bundle(path).map_err(|error| StartError::Trust(format!("--ca-out: {error}")))?;
        }

        let instance = if options.workload.pod.is_empty() { "sluice-gateway" } else { &options.workload.pod };
        let mut trail_options = TrailOptions::new(options.workload.clone(), instance, clock.clone());
        if let Some(pod) = pod {
            trail_options = trail_options.within(pod.capacity);
            trail_options.collector_wait = pod.collector.as_ref().map(|collector| collector.wait);
        }
        let (trail, recovery) = Trail::open(&options.trail, trail_options)?;
        tracing::info!(?recovery, folder = %options.trail.display(), "trail opened");
        if let Some(path) = &options.key_out
            && let Err(cause) = append_key(path, &trail.public_key().to_pem())
        {
            trail.end().await?;
            let fix = "name a file that can be written, outside the trail";
            return Err(StartError::File { flag: "--key-out", path: path.clone(), cause, fix });
        }

        let shipping = pod.and_then(|pod| pod.collector.as_ref()).map(|collector| {
            Shipper::start(&trail, ShipOptions::default(), IngestTransport::new(collector.link.clone()))
        });
        let names = names(&trail, &clock);
        names.update(in_force.compiled.targets(), &in_force.compiled.egress().allow);
        if let Some(pod) = pod {
            pod.files.write_kubeconfig(&in_force.compiled).map_err(trust)?;
        }
        let revision = in_force.compiled.revision().to_owned();
        let (drain, _) = watch::channel(false);
        let (stop, _) = watch::channel(false);
        let shared = Arc::new(Shared {
            intents: pod
                .map(|pod| pod.intents.clone())
                .into_iter()
                .flatten()
                .chain(options.intent.map(|text| Intent { source: IntentSource::Workload, text }))
                .collect(),
            workload: options.workload,
            clock,
            trail,
            policy: ArcSwap::from_pointee(in_force),
            dialer,
            authority: Arc::new(authority),
            names: names.clone(),
            configs: ServerConfigs::new(trust::crypto()),
            limits: Limits::new(),
            metrics: Metrics::new(),
            marker: Marker::new(random()),
            token_file: options.token_file,
            files: pod.map(|pod| pod.files.clone()),
            in_cluster,
            probes: pod.map(|pod| pod.probes.clone()).unwrap_or_default(),
            shipping: shipping.as_ref().map(Shipping::status),
            drain,
        });
        let mut warnings = policy::warnings(&shared.policy.load().compiled, &shared);
        warnings.extend(acceptors.iter().filter_map(|acceptor| lost(acceptor, &shared)));
        policy::record(&shared, source.names(), revision.clone(), true, warnings).await;

        let mut ready = Ready { ready: true, revision, pid: std::process::id(), ..Ready::default() };
        let mut tasks = JoinSet::new();
        for acceptor in acceptors {
            let address = acceptor.address().map_err(|cause| StartError::Socket { flag: "--listen", cause })?;
            match acceptor.fixed() {
                Some((host, port)) => drop(ready.listen.insert(format!("{host}:{port}"), address)),
                None => ready.transparent.push(address),
            }
            tasks.spawn(accept(shared.clone(), acceptor, stop.subscribe()));
        }
        for (udp, tcp) in options.dns.into_iter().chain(options.pod.into_iter().flat_map(|pod| pod.dns)) {
            ready.dns = ready.dns.or(udp.local_addr().ok());
            let names = names.clone();
            tasks.spawn(async move {
                let Err(error) = names.serve(udp, tcp).await;
                tracing::error!(%error, "the resolver ended");
            });
        }
        if let Some(listener) = options.admin {
            let socket = |cause| StartError::Socket { flag: "--admin", cause };
            listener.set_nonblocking(true).map_err(socket)?;
            ready.admin = listener.local_addr().ok();
            let listener = tokio::net::TcpListener::from_std(listener).map_err(socket)?;
            tasks.spawn(crate::admin::serve(shared.clone(), listener));
        }
        tasks.spawn(source.watch(shared.clone()));
        Ok(Self { shared, ready, tasks, shipping, stop })
    }

    /// Where it can be reached.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The certificate of this gateway's CA, PEM.
    pub fn ca_pem(&self) -> String {
        self.shared.authority.certificates_pem()
    }

    /// The trail's public key of this run, PEM.
    pub fn key_pem(&self) -> String {
        self.shared.trail.public_key().to_pem()
    }

    /// Takes no more connections, lets requests under way end (at most 10 s),
    /// ends the trail, and hands what is left of it to the collector, where
    /// there is one (at most 15 s; the next start goes on).
    ///
    /// # Errors
    /// The end of the trail could not be written.
    pub async fn shutdown(mut self) -> Result<(), TrailError> {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.shared.drain.send_replace(true);
        if tokio::time::timeout(DRAIN, self.shared.limits.idle()).await.is_err() {
            tracing::warn!("requests under way were cut");
        }
        self.stop.send_replace(true);
        let settled = async {
            self.shared.limits.idle().await;
            // Outcomes of abandoned requests are written by tasks of their own.
            while self.shared.trail.status().open_intents > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(SETTLE, settled).await;
        self.shared.trail.clone().end().await?;
        if let Some(shipping) = self.shipping.take()
            && !shipping.drain(SHIP).await
        {
            tracing::warn!("the collector does not have all records; they are in the pod's trail");
        }
        Ok(())
    }
}

fn acceptors(listeners: Vec<Listener>) -> Result<Vec<Acceptor>, StartError> {
    listeners
        .into_iter()
        .map(|listener| Acceptor::new(listener).map_err(|cause| StartError::Socket { flag: "--listen", cause }))
        .collect()
}

/// What is wrong with a listener whose destination is not in the policy.
fn lost(acceptor: &Acceptor, shared: &Shared) -> Option<String> {
    let (host, port) = acceptor.fixed()?;
    let policy = shared.policy.load();
    if policy.target(host, port).is_some() || policy.compiled.egress().allows(host, port) {
        return None;
    }
    let warning = format!("--listen …={host}:{port}: no target of the policy is there, so all that comes is denied");
    tracing::warn!("{warning}");
    Some(warning)
}

/// Accepts until the gateway shuts down.
async fn accept(shared: Arc<Shared>, acceptor: Acceptor, stop: watch::Receiver<bool>) {
    loop {
        let (stream, peer) = match acceptor.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "not accepted");
                // Out of descriptors, most likely: let some close.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let destination = match acceptor.destination(&stream) {
            Ok(destination) => destination,
            Err(error) => {
                tracing::warn!(%error, "destination not known");
                continue;
            }
        };
        let Some(room) = shared.limits.connection().await else { return };
        let connection = Connection { shared: shared.clone(), stream, peer, destination };
        let mut stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = Box::pin(connection.serve()) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            drop(room);
        });
    }
}

/// The resolver's names; refused ones are recorded (it bounds their rate).
fn names(trail: &Trail, clock: &Arc<dyn Clock>) -> Arc<Names> {
    let trail = trail.clone();
    let on_refused = move |refused: RefusedName| {
        let record = Record::new(Kind::Refused)
            .with("verdict", sluice_audit::Verdict::Deny)
            .with("peer", refused.from.to_string())
            .with("destination", &refused.name)
            .with("unrecordedBefore", refused.unreported)
            .with(
                "reason",
                sluice_audit::Reason {
                    code: "NameUnknown".into(),
                    message: format!("the name {:?} is not in the policy", refused.name),
                    fix: "Name it under spec.targets or spec.egress.allow.".into(),
                },
            );
        let trail = trail.clone();
        tokio::spawn(async move {
            if let Err(error) = trail.append(record, Durability::Process).await {
                tracing::error!(%error, "not recorded");
            }
        });
    };
    Arc::new(Names::new(clock.clone(), Arc::new(on_refused)))
}

/// Adds the key of this run to those of earlier ones: `verify --key` takes a
/// file with several.
fn append_key(path: &Path, pem: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(pem.as_bytes())
}

fn trust(error: trust::TrustError) -> StartError {
    StartError::Trust(format!("certificates: {error}"))
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    // Zeros are a tag like any other.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u32::from_le_bytes(bytes)
}
