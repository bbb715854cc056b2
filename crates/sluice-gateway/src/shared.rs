//! What every connection of one gateway shares.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use sluice_audit::{Trail, TrailError};
use sluice_core::{Clock, Intent, Workload};
use sluice_mask::Marker;
use sluice_policy::{Compiled, Target};
use tokio::sync::watch;

use crate::config::Fingerprint;
use crate::dial::Dialer;
use crate::identity::Authenticator;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::names::Names;
use crate::tls::ServerConfigs;
use crate::trust::Authority;
use crate::way::Ways;

/// Owned by the gateway; connections hold it for as long as they live.
pub(crate) struct Shared {
    pub(crate) workload: Workload,
    /// What the run is for, as its owner declared it.
    pub(crate) intents: Vec<Intent>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) trail: Trail,
    /// Replaced whole by the watcher of the policy files; nobody else writes.
    pub(crate) policy: ArcSwap<Policy>,
    pub(crate) dialer: Dialer,
    pub(crate) authority: Arc<Authority>,
    pub(crate) names: Arc<Names>,
    pub(crate) configs: ServerConfigs,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// One for the life of the gateway, so that reading twice gives the same.
    pub(crate) marker: Marker,
    pub(crate) token_file: Option<PathBuf>,
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
    /// When the files were last seen to say this, in milliseconds of the
    /// monotonic clock. Written by the watcher.
    confirmed: AtomicU64,
}

impl Policy {
    pub(crate) fn new(
        compiled: Compiled,
        authenticator: Authenticator,
        ways: Ways,
        files: (Fingerprint, Fingerprint),
        now: Duration,
    ) -> Self {
        let policy = Self { compiled, authenticator, ways, files, confirmed: AtomicU64::new(0) };
        policy.confirm(now);
        policy
    }

    /// The files still say this.
    pub(crate) fn confirm(&self, now: Duration) {
        self.confirmed.store(millis(now), Ordering::Relaxed);
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
    /// The trail took something not.
    pub(crate) fn trail_refused(&self, error: &TrailError) {
        self.metrics.trail_closed.set(1);
        tracing::error!(%error, "not recorded");
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
