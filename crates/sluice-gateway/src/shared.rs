//! What every connection of one gateway shares.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use sluice_audit::ship::ShipStatus;
use sluice_audit::{Trail, TrailError};
use sluice_core::{Clock, Intent, Secret, Workload};
use sluice_mask::Marker;
use sluice_policy::{Compiled, Target};
use tokio::sync::watch;

use crate::config::Fingerprint;
use crate::dial::Dialer;
use crate::identity::Authenticator;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::names::Names;
use crate::pod::{AgentFiles, InCluster, is_in_cluster};
use crate::probe::Probes;
use crate::tls::ServerConfigs;
use crate::trust::{Authorities, TrustError};
use crate::way::Ways;

/// Owned by the gateway; connections hold it for as long as they live.
pub(crate) struct Shared {
    pub(crate) workload: Workload,
    /// What the run is for, as its owner declared it.
    pub(crate) intents: Vec<Intent>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) trail: Trail,
    /// Replaced whole by [`put`](Self::put), which the one watcher calls.
    pub(crate) policy: ArcSwap<Policy>,
    pub(crate) dialer: Dialer,
    pub(crate) authority: Arc<Authorities>,
    pub(crate) names: Arc<Names>,
    pub(crate) configs: ServerConfigs,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// One for the life of the gateway, so that reading twice gives the same.
    pub(crate) marker: Marker,
    pub(crate) token_file: Option<PathBuf>,
    /// What the agent of a pod reads.
    pub(crate) files: Option<AgentFiles>,
    /// The API server of the pod's own cluster.
    pub(crate) in_cluster: Option<InCluster>,
    /// What the node wants to know of the agent's containers.
    pub(crate) probes: Probes,
    /// How records get to the collector, where there is one.
    pub(crate) shipping: Option<watch::Receiver<ShipStatus>>,
    /// Turns true once, at shutdown.
    pub(crate) drain: watch::Sender<bool>,
}

/// Policy in force.
pub(crate) struct Policy {
    pub(crate) compiled: Compiled,
    pub(crate) authenticator: Authenticator,
    pub(crate) ways: Ways,
    /// The policy files and the CA bundles, as they were when this was read.
    pub(crate) files: (Fingerprint, Fingerprint),
    /// When it was last seen that this is what is wanted, in milliseconds of
    /// the monotonic clock; before its start where an earlier process saw it.
    /// Written by the watcher.
    confirmed: AtomicI64,
}

impl Policy {
    pub(crate) fn new(
        compiled: Compiled,
        authenticator: Authenticator,
        ways: Ways,
        files: (Fingerprint, Fingerprint),
        now: Duration,
    ) -> Self {
        let policy = Self { compiled, authenticator, ways, files, confirmed: AtomicI64::new(0) };
        policy.confirm(now);
        policy
    }

    /// The files, or the control plane, still say this.
    pub(crate) fn confirm(&self, now: Duration) {
        self.confirm_before(now, Duration::ZERO);
    }

    /// They said it `age` ago.
    pub(crate) fn confirm_before(&self, now: Duration, age: Duration) {
        self.confirmed.store(millis(now).saturating_sub(millis(age)), Ordering::Relaxed);
    }

    /// Whether it is older than it allows itself to be.
    pub(crate) fn is_stale(&self, now: Duration) -> bool {
        let age = millis(now).saturating_sub(self.confirmed.load(Ordering::Relaxed));
        age > millis(self.compiled.audit().max_policy_age)
    }

    /// The target that is reached at `host` and `port`.
    pub(crate) fn target(&self, host: &str, port: u16) -> Option<&Target> {
        self.compiled.targets().iter().find(|target| target.host == host && target.ports.contains(&port))
    }

    /// A target of that host, whatever the port.
    pub(crate) fn host(&self, host: &str) -> Option<&Target> {
        self.compiled.targets().iter().find(|target| target.host == host)
    }
}

impl Shared {
    /// Puts a policy in force, with its names and what the agent reads of it.
    pub(crate) fn put(&self, policy: Policy) {
        self.names.update(policy.compiled.targets(), &policy.compiled.egress().allow);
        if let Some(files) = &self.files
            && let Err(error) = self.tell_agent(files, &policy.compiled)
        {
            tracing::error!(%error, "what the agent reads stays as it was");
        }
        self.policy.store(Arc::new(policy));
    }

    /// A CA for targets that are new, and a context.
    fn tell_agent(&self, files: &AgentFiles, compiled: &Compiled) -> Result<(), TrustError> {
        if self.authority.extend(compiled.targets().iter().map(|target| target.host.as_str()))? {
            files.write_trust(&self.authority)?;
        }
        files.write_kubeconfig(compiled)
    }

    /// Whether this is the pod's own token, presented to its own API server.
    pub(crate) fn is_own_token(&self, host: &str, presented: &Secret<String>) -> bool {
        is_in_cluster(host) && self.in_cluster.as_ref().is_some_and(|cluster| cluster.token.is(presented))
    }

    /// The token that speaks for the pod at its own API server.
    pub(crate) fn own_token(&self, host: &str) -> Option<Secret<String>> {
        self.in_cluster.as_ref().filter(|_| is_in_cluster(host))?.token.newest()
    }

    /// Why records do not get to the collector at the moment.
    pub(crate) fn unshipped(&self) -> Option<String> {
        self.shipping.as_ref()?.borrow().failing.clone()
    }

    /// The trail took something not.
    pub(crate) fn trail_refused(&self, error: &TrailError) {
        self.metrics.trail_closed.set(1);
        tracing::error!(%error, "not recorded");
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
