//! Puts the parts together, and takes them apart in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use kube::Client;
use sluice_core::{Clock, SystemClock};
use sluice_link::server::{Serving, Shutdown};
use sluice_wire::Identity;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::certificates::{Authorities, Keeper, KeeperNames, keep};
use crate::enrol::{Enroller, Enrolments};
use crate::health::Health;
use crate::leader::{Candidate, elect};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::owner::Owner;
use crate::records::{Records, watch_shipping};
use crate::server::{Clients, Credentials};
use crate::status::{Writer, write_statuses};
use crate::tidy::Tidy;
use crate::webhook::{Webhook, follow_settings, read_settings};
use crate::wire::Wire;
use crate::world::{Caches, World, follow_bundles};

const WORKLOADS: KeeperNames = KeeperNames { secret: "sluice-workload-ca", authority: "Sluice workload CA" };
const WEBHOOK: KeeperNames = KeeperNames { secret: "sluice-webhook", authority: "Sluice webhook CA" };

/// Requests at a time on one connection.
const STREAMS: u32 = 64;

/// Runs until `shutdown`, then drains.
///
/// # Errors
/// What cannot be opened: settings, trail, ports.
pub async fn run(client: Client, options: Options, shutdown: Shutdown) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let lifetimes = options.lifetimes().checked()?;
    let settings = read_settings(&options.settings)?;
    let webhook_port = listen(options.webhook_listen, "--webhook-listen").await?;
    let wire_port = listen(options.wire_listen, "--wire-listen").await?;
    let health_port = listen(options.health_listen, "--health-listen").await?;

    let metrics = Arc::new(Metrics::new());
    let touched = Arc::new(Notify::new());
    let announced = Arc::new(AtomicBool::new(false));
    let (leads, leader) = watch::channel(false);
    let (settings_in, settings_out) = watch::channel(Arc::new(settings));
    let (workload_in, workloads) = watch::channel(Arc::new(Authorities::default()));
    let (webhook_in, webhooks) = watch::channel(Arc::new(Authorities::default()));
    let (world_in, world) = watch::channel(Arc::new(World::default()));
    let (bundles_in, bundles) = watch::channel(BTreeMap::new());
    let owner = Owner::find(&client, &options.namespace).await;
    let caches = Caches::start(&client, &options.namespace, &shutdown);
    let filled = caches.fills();

    let identity = Identity::Control { trust_domain: options.trust_domain.clone() };
    let credentials =
        |identity, clients| Arc::new(Credentials::new(identity, options.names(), clients, lifetimes, clock.clone()));
    let wire_credentials = credentials(Some(identity), Clients::MayPresent);
    let webhook_credentials = credentials(None, Clients::Anonymous);
    let records = Records::open(&options, clock.clone(), wire_credentials.shown())?;
    let trail = &records.trail;

    // Parts that serve requests end first; the trail ends after them.
    let mut parts = JoinSet::new();
    let candidate = Candidate {
        namespace: options.namespace.clone(),
        name: options.name.clone(),
        clock: clock.clone(),
        owner: owner.clone(),
    };
    parts.spawn(elect(client.clone(), candidate, leads, shutdown.clone()));
    for (names, sender) in [(WORKLOADS, workload_in), (WEBHOOK, webhook_in)] {
        let keeper = Keeper {
            namespace: options.namespace.clone(),
            names,
            lifetimes,
            clock: clock.clone(),
            leader: leader.clone(),
            owner: owner.clone(),
        };
        parts.spawn(keep(client.clone(), keeper, sender, shutdown.clone()));
    }
    for (credentials, authorities) in [(&wire_credentials, &workloads), (&webhook_credentials, &webhooks)] {
        let (credentials, authorities, shutdown) = (credentials.clone(), authorities.clone(), shutdown.clone());
        parts.spawn(async move { credentials.keep_fresh(authorities, shutdown).await });
    }
    parts.spawn(follow_settings(options.settings.clone(), settings_in, shutdown.clone()));
    parts.spawn(follow_bundles(client.clone(), options.namespace.clone(), world.clone(), bundles_in, shutdown.clone()));
    {
        let (caches, touched, shutdown) = (caches.clone(), touched.clone(), shutdown.clone());
        parts.spawn(async move { caches.publish(bundles, world_in, touched, shutdown).await });
    }
    let writer = Writer {
        client: client.clone(),
        caches: caches.clone(),
        world: world.clone(),
        touched,
        leader: leader.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    };
    parts.spawn(until(shutdown.clone(), write_statuses(writer, shutdown.clone())));
    let tidy = Tidy {
        client: client.clone(),
        namespace: options.namespace.clone(),
        webhooks: options.webhooks.clone(),
        caches: caches.clone(),
        world: world.clone(),
        authorities: webhooks.clone(),
        lifetimes,
        workloads: workloads.clone(),
        leader: leader.clone(),
        clock: clock.clone(),
        owner: owner.clone(),
        announced: announced.clone(),
    };
    parts.spawn(until(shutdown.clone(), tidy.run(shutdown.clone())));
    parts.spawn(count_leadership(metrics.clone(), leader, shutdown.clone()));
    parts.spawn(watch_shipping(records.shipping(), metrics.clone(), shutdown.clone()));

    let webhook = Webhook {
        settings: settings_out,
        authorities: workloads.clone(),
        callers: webhooks,
        trail: trail.clone(),
        metrics: metrics.clone(),
    };
    let wire = Wire {
        enroller: Arc::new(Enroller {
            client: Enrolments::new(client, &options.namespace, owner),
            caches,
            authorities: workloads,
            lifetimes,
            trust_domain: options.trust_domain.clone(),
            collector: (format!("{}/{}", options.namespace, options.collector), options.collector_names()),
            clock,
        }),
        world,
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
    };
    let health = Health {
        filled,
        announced,
        webhook: webhook_credentials.clone(),
        wire: wire_credentials.clone(),
        trail: trail.clone(),
        metrics,
        shutdown: shutdown.clone(),
    };
    let serving = |listener| Serving { listener, streams: STREAMS, shutdown: shutdown.clone() };
    parts.spawn(serving(webhook_port).tls(
        move || webhook_credentials.current(),
        move |_, request| {
            let webhook = webhook.clone();
            async move { webhook.answer(request).await }
        },
    ));
    parts.spawn(serving(wire_port).tls(
        move || wire_credentials.current(),
        move |peer, request| {
            let wire = wire.clone();
            async move { wire.answer(peer, request).await }
        },
    ));
    parts.spawn(serving(health_port).plain(move |_, request| {
        let answer = health.answer(&request);
        async move { answer }
    }));
    info!(namespace = options.namespace, replica = options.name, "started");

    while let Some(ended) = parts.join_next().await {
        ended.context("a part of the control plane panicked")?;
        if !shutdown.is_requested() {
            anyhow::bail!("a part of the control plane ended by itself; the log says which");
        }
    }
    records.end().await?;
    info!("ended");
    Ok(())
}

/// Ends a part that may be in the middle of waiting for the API server.
async fn until(shutdown: Shutdown, part: impl Future<Output = ()>) {
    tokio::select! {
        () = shutdown.requested() => {}
        () = part => {}
    }
}

async fn count_leadership(metrics: Arc<Metrics>, mut leader: watch::Receiver<bool>, shutdown: Shutdown) {
    loop {
        metrics.leader.set(i64::from(*leader.borrow_and_update()));
        tokio::select! {
            () = shutdown.requested() => return,
            changed = leader.changed() => if changed.is_err() { return },
        }
    }
}

async fn listen(at: std::net::SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(at).await.with_context(|| format!("{option} {at} cannot be listened on; choose a free port"))
}
