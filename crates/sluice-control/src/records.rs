//! The control plane's own trail: who changed which policy. It is written here,
//! and handed to the collector as a sidecar's is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sluice_audit::ship::{ShipOptions, ShipStatus, Shipper, Shipping};
use sluice_audit::{Trail, TrailOptions};
use sluice_core::{Clock, Workload};
use sluice_link::server::Shutdown;
use sluice_link::{CredentialsWatch, Endpoint, IngestTransport, Link, Server, SystemNames};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::options::Options;

/// For what is left at the end; what is not taken then goes with the next start.
const DRAIN: Duration = Duration::from_secs(5);
/// For records that wait for the collector; none of ours does.
const WAIT: Duration = Duration::from_secs(2);

/// The trail, and its way to the collector.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) trail: Trail,
    shipping: Option<Shipping>,
}

impl Records {
    /// Opens the trail, and starts to ship it where there is a collector.
    /// Call it within a runtime.
    pub(crate) fn open(
        options: &Options,
        clock: Arc<dyn Clock>,
        credentials: CredentialsWatch,
    ) -> anyhow::Result<Self> {
        let collector = options.collector_endpoint()?;
        let trail = open(options, clock, collector.is_some())?;
        let shipping = collector.map(|collector| ship(&trail, collector, &options.trust_domain, credentials));
        Ok(Self { trail, shipping })
    }

    /// How shipping is doing; `None`: there is no collector.
    pub(crate) fn shipping(&self) -> Option<watch::Receiver<ShipStatus>> {
        self.shipping.as_ref().map(Shipping::status)
    }

    /// Ends the trail, and hands over what is left.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.trail.end().await.context("the trail could not be ended")?;
        if let Some(shipping) = self.shipping
            && !shipping.drain(DRAIN).await
        {
            warn!("the collector does not have the whole trail; what is left is sent at the next start of this pod");
        }
        Ok(())
    }
}

fn open(options: &Options, clock: Arc<dyn Clock>, shipped: bool) -> anyhow::Result<Trail> {
    let workload = Workload {
        namespace: options.namespace.clone(),
        pod: options.name.clone(),
        uid: options.uid.clone(),
        service_account: options.service.clone(),
        ..Workload::default()
    };
    let mut trail = TrailOptions::new(workload, "sluice-control", clock);
    // Few and small leaves; the folder is an emptyDir.
    trail.segment_bytes = 1 << 20;
    trail.capacity_bytes = 64 << 20;
    trail.heads_every = 1;
    trail.collector_wait = shipped.then_some(WAIT);
    let (trail, recovery) = Trail::open(&options.trail, trail)?;
    if recovery.crashed || !recovery.gaps.is_empty() {
        warn!(?recovery, "the trail was not ended properly before");
    }
    Ok(trail)
}

fn ship(trail: &Trail, collector: Endpoint, trust_domain: &str, credentials: CredentialsWatch) -> Shipping {
    let link = Link::new(collector, Server::Collector, trust_domain, Arc::new(SystemNames), credentials);
    Shipper::start(trail, ShipOptions::default(), IngestTransport::new(link))
}

/// Says in log and metrics whether records arrive. Ends with `shutdown`.
pub(crate) async fn watch_shipping(
    status: Option<watch::Receiver<ShipStatus>>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) {
    let Some(mut status) = status else { return shutdown.requested().await };
    let mut failing: Option<String> = None;
    loop {
        let new = status.borrow_and_update().failing.clone();
        metrics.shipping_failing.set(i64::from(new.is_some()));
        if new != failing {
            match &new {
                Some(why) => warn!(why, "own records do not reach the collector; they are kept, and sent again"),
                None => info!("own records reach the collector"),
            }
            failing = new;
        }
        tokio::select! {
            () = shutdown.requested() => return,
            changed = status.changed() => if changed.is_err() { return shutdown.requested().await },
        }
    }
}
