//! Puts the parts together, and ends them in their order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sluice_audit::{Trail, TrailOptions};
use sluice_core::{Clock, SystemClock, Workload};
use sluice_link::server::{Serving, Shutdown};
use sluice_link::{Backoff, Clients, CredentialsWatch, EnrolOptions, Enrolment, FirstRoots, SystemNames};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::health::Health;
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::query::{ASK_AGAIN, Access, Cached, Kubernetes, Query, Readers};
use crate::silence;
use crate::store::{Store, StoreError, StoreOptions};

/// Runs until `shutdown`.
///
/// # Errors
/// What cannot be opened: volume, own trail, ports.
pub async fn run(options: Options, shutdown: Shutdown) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let metrics = Arc::new(Metrics::new());
    let health = Health::new(metrics.clone(), shutdown.clone());
    let listener = listen(options.health_listen, "--health-listen").await?;
    let answering = health.clone();
    let probes = Serving { listener, streams: STREAMS, shutdown: shutdown.clone() }
        .plain(move |_, request| std::future::ready(answering.answer(&request)));
    let probes = tokio::spawn(probes);
    let ingest = listen(options.ingest_listen, "--ingest-listen").await?;
    let query = listen(options.query_listen, "--query-listen").await?;

    let enrolment = Enrolment::start(EnrolOptions {
        control: options.control.clone(),
        roots: FirstRoots::File(options.roots.clone()),
        trust_domain: options.trust_domain.clone(),
        token_file: options.token_file.clone(),
        folder: Some(options.private.clone()),
        resolver: Arc::new(SystemNames),
        clock: clock.clone(),
        backoff: Backoff::default(),
    })?;
    let _ = health.credentials.set(enrolment.credentials());
    let access: Arc<dyn Access> = Arc::new(Kubernetes::new(kube::Client::try_default().await?));

    let Some(store) = open(&options, clock.clone(), &shutdown).await? else { return Ok(()) };
    let _ = health.store.set(store.clone());
    let collector = Collector::start(Parts {
        store,
        workload: options.workload(),
        trust_domain: options.trust_domain.clone(),
        credentials: enrolment.credentials(),
        access,
        clock,
        metrics,
        ingest,
        query,
        shutdown: shutdown.clone(),
    })
    .await?;
    let _ = health.trail.set(collector.trail.clone());
    shutdown.requested().await;
    collector.ended().await?;
    let _ = probes.await;
    info!("ended");
    Ok(())
}

/// Opens the volume, once the collector that had it before has ended.
async fn open(options: &Options, clock: Arc<dyn Clock>, shutdown: &Shutdown) -> anyhow::Result<Option<Arc<Store>>> {
    let wanted = StoreOptions {
        folder: options.storage.clone(),
        bytes_per_pod: options.bytes_per_pod.0,
        bytes: options.bytes.map(|bytes| bytes.0),
        trails: options.trails,
        patience: silence::PATIENCE,
        clock,
    };
    loop {
        let wanted = wanted.clone();
        match tokio::task::spawn_blocking(move || Store::open(wanted)).await? {
            Ok(store) => return Ok(Some(Arc::new(store))),
            Err(cause @ StoreError::Locked(_)) => warn!(%cause, "waiting for the volume"),
            Err(cause) => return Err(cause.into()),
        }
        tokio::select! {
            () = shutdown.requested() => return Ok(None),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// What a collector is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where records go.
    pub store: Arc<Store>,
    /// The own pod.
    pub workload: Workload,
    /// Whose certificates count.
    pub trust_domain: String,
    /// The own certificate, and the roots.
    pub credentials: CredentialsWatch,
    /// Who may read.
    pub access: Arc<dyn Access>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where records come in.
    pub ingest: TcpListener,
    /// Where people ask.
    pub query: TcpListener,
    /// Ends all of it.
    pub shutdown: Shutdown,
}

/// A collector that serves.
#[derive(Debug)]
pub struct Collector {
    /// Its own trail: who read what.
    pub trail: Trail,
    tasks: Vec<JoinHandle<()>>,
}

impl Collector {
    /// Opens the own trail and serves until shutdown is requested.
    ///
    /// # Errors
    /// The own trail cannot be opened.
    pub async fn start(parts: Parts) -> anyhow::Result<Self> {
        let Parts { store, workload, trust_domain, credentials, access, clock, metrics, ingest, query, shutdown } =
            parts;
        let own = workload.uid.clone();
        let trail = {
            let (store, clock) = (store.clone(), clock.clone());
            tokio::task::spawn_blocking(move || open_trail(&store, workload, clock)).await??
        };
        let (loading, ended) = (store.clone(), shutdown.clone());
        let silence = tokio::spawn(async move {
            let (load, until) = (loading.clone(), ended.clone());
            let load = move || load.load_while(|| !until.is_requested());
            if tokio::task::spawn_blocking(load).await.is_ok() {
                silence::watch(loading, own, ended).await;
            }
        });
        let takes = Arc::new(Ingest::new(store.clone(), metrics.clone(), trust_domain));
        let config = move |clients| {
            let credentials = credentials.clone();
            move || {
                let current = credentials.borrow().clone()?;
                let made = current.server_config(clients);
                made.inspect_err(|cause| warn!(%cause, "no TLS with these credentials")).ok()
            }
        };
        let serving = |listener| Serving { listener, streams: STREAMS, shutdown: shutdown.clone() };
        let taking =
            serving(ingest).tls(config(Clients::MustPresent), move |peer, request| takes.clone().answer(peer, request));
        let taking = tokio::spawn(taking);
        let answers = Arc::new(Query {
            store,
            access: Cached::new(access, clock),
            trail: trail.clone(),
            metrics,
            shutdown: shutdown.clone(),
            readers: Readers::default(),
            ask_again: ASK_AGAIN,
        });
        let answering =
            serving(query).tls(config(Clients::Anonymous), move |_, request| answers.clone().answer(request));
        let answering = tokio::spawn(answering);
        Ok(Self { trail, tasks: vec![taking, answering, silence] })
    }

    /// Waits until what was under way is done, then ends the own trail.
    ///
    /// # Errors
    /// The own trail cannot be ended.
    pub async fn ended(self) -> anyhow::Result<()> {
        for task in self.tasks {
            let _ = task.await;
        }
        self.trail.end().await.context("the own trail could not be ended")
    }
}

fn open_trail(store: &Store, workload: Workload, clock: Arc<dyn Clock>) -> anyhow::Result<Trail> {
    let folder = store.own(&workload).map_err(|refusal| anyhow::anyhow!("the own trail: {refusal:?}"))?;
    let mut options = TrailOptions::new(workload, "sluice-collector", clock);
    // Few and small leaves.
    options.segment_bytes = OWN_SEGMENT;
    options.capacity_bytes = OWN_CAPACITY;
    options.heads_every = 1;
    let (trail, recovery) = Trail::open(&folder, options)?;
    if recovery.crashed || !recovery.gaps.is_empty() {
        warn!(?recovery, "the own trail was not ended properly before");
    }
    Ok(trail)
}

async fn listen(at: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(at).await.with_context(|| format!("{option} {at} cannot be listened on; choose a free port"))
}

/// Requests at a time on one connection: each may hold a batch.
const STREAMS: u32 = 16;
/// Bytes of a segment of the own trail.
const OWN_SEGMENT: u64 = 1 << 20;
/// Bytes of the own trail: about half a million reads. Then reading is refused
/// until the pod is replaced, which begins another.
const OWN_CAPACITY: u64 = 512 << 20;
