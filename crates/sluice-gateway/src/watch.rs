//! Keeps the policy in force and what its source says the same.

use std::sync::Arc;

use sluice_audit::{Config, Durability, Record};
use sluice_core::Clock;
use sluice_policy::{Compiled, Problem};
use tokio::time::MissedTickBehavior;

use crate::config::{Fingerprint, POLL, PolicyError, PolicyFiles};
use crate::dial::Dialer;
use crate::identity::Authenticator;
use crate::metrics::Metrics;
use crate::pod::{Control, InCluster};
use crate::shared::{Policy, Shared};
use crate::trust::Authorities;
use crate::way::Ways;

/// What a policy is made with.
pub(crate) struct Parts<'a> {
    pub(crate) dialer: &'a Dialer,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) in_cluster: Option<&'a InCluster>,
}

/// Where policy comes from.
pub(crate) enum Source {
    Files(PolicyFiles),
    Control(Box<Control>),
}

impl Source {
    /// The policy to start with.
    pub(crate) async fn first(&mut self, parts: &Parts<'_>) -> Result<Policy, PolicyError> {
        match self {
            Self::Files(files) => load(files, parts, None),
            Self::Control(control) => Ok(control.first(parts).await),
        }
    }

    /// For records.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Files(files) => files.names(),
            Self::Control(control) => control.names(),
        }
    }

    /// Keeps the policy in force the same as its source, until the gateway
    /// ends.
    pub(crate) async fn watch(self, shared: Arc<Shared>) {
        match self {
            Self::Files(files) => watch(shared, files).await,
            Self::Control(control) => control.watch(shared).await,
        }
    }
}

/// Reads the files and everything that they refer to. `before`: the policy in
/// force, whose keys of providers stay at hand.
fn load(files: &PolicyFiles, parts: &Parts<'_>, before: Option<&Policy>) -> Result<Policy, PolicyError> {
    // Looked at before they are read: a change meanwhile is seen the next time.
    let seen = files.fingerprint();
    assemble(files.load()?, seen, parts, before)
}

/// Makes a policy ready to decide by: its roots, its providers.
pub(crate) fn assemble(
    compiled: Compiled,
    seen: Fingerprint,
    parts: &Parts<'_>,
    before: Option<&Policy>,
) -> Result<Policy, PolicyError> {
    let bundles = Fingerprint::bundles(&compiled);
    let in_cluster = parts.in_cluster.map(|cluster| cluster.ca.as_path());
    let ways = Ways::of(&compiled, in_cluster, parts.dialer.place()).map_err(PolicyError::Invalid)?;
    let authenticator = match before {
        Some(before) => before.authenticator.updated(compiled.providers()),
        None => Authenticator::new(compiled.providers(), parts.dialer.clone(), parts.clock.clone()),
    }
    .map_err(|error| {
        let problem = Problem { document: "IdentityProvider".into(), path: String::new(), message: error.to_string() };
        PolicyError::Invalid(vec![problem])
    })?;
    authenticator.warm();
    Ok(Policy::new(compiled, authenticator, ways, (seen, bundles), parts.clock.monotonic()))
}

/// Looks at the files until the gateway ends.
async fn watch(shared: Arc<Shared>, files: PolicyFiles) {
    // The state that could not be taken, if that is the present one.
    let mut refused = None;
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let policy = shared.policy.load_full();
        let now = (files.fingerprint(), Fingerprint::bundles(&policy.compiled));
        if now == policy.files {
            policy.confirm(shared.clock.monotonic());
            refused = None;
        } else if refused.as_ref() != Some(&now) {
            let taken = take(&shared, &files).await;
            refused = (!taken).then_some(now);
        }
    }
}

/// Takes what the files say now; false if it cannot be taken.
async fn take(shared: &Arc<Shared>, files: &PolicyFiles) -> bool {
    let parts = Parts { dialer: &shared.dialer, clock: &shared.clock, in_cluster: shared.in_cluster.as_ref() };
    let before = shared.policy.load_full();
    match load(files, &parts, Some(&before)) {
        Ok(policy) => {
            let revision = policy.compiled.revision().to_owned();
            shared.put(policy);
            let problems = warnings(&shared.policy.load().compiled, shared);
            Metrics::count(&shared.metrics.reloads, "taken");
            shared.metrics.policy_broken.set(0);
            tracing::info!(revision, "policy taken");
            record(shared, files.names(), revision, true, problems).await;
            true
        }
        Err(error) => {
            let revision = shared.policy.load().compiled.revision().to_owned();
            Metrics::count(&shared.metrics.reloads, "refused");
            shared.metrics.policy_broken.set(1);
            tracing::error!(%error, revision, "policy not taken; the last good one stays");
            let problems = match error {
                PolicyError::Invalid(problems) => problems.iter().map(Problem::to_string).collect(),
                other => vec![other.to_string()],
            };
            record(shared, files.names(), revision, false, problems).await;
            false
        }
    }
}

/// What is suspicious about a policy that was taken; also logged.
pub(crate) fn warnings(compiled: &Compiled, shared: &Shared) -> Vec<String> {
    let mut warnings: Vec<String> = compiled.warnings().iter().map(Problem::to_string).collect();
    if compiled.targets().is_empty() {
        warnings.push("no policy selects this workload: every command is denied".into());
    }
    warnings.extend(outside(compiled, &shared.authority));
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    warnings
}

/// Targets of a policy that the gateway's CA cannot speak for.
pub(crate) fn outside(compiled: &Compiled, authority: &Authorities) -> Vec<String> {
    let outside = compiled.targets().iter().filter(|target| !authority.covers(&target.host));
    outside
        .map(|target| {
            let (name, host) = (&target.name, &target.host);
            format!("target {name} ({host}) was not there at start: restart the gateway to reach it")
        })
        .collect()
}

/// Records which policy is in force from here on.
pub(crate) async fn record(
    shared: &Shared,
    sources: Vec<String>,
    revision: String,
    taken: bool,
    problems: Vec<String>,
) {
    let config = Config { revision, taken, sources, problems };
    if let Err(error) = shared.trail.append(Record::config(&config), Durability::Process).await {
        shared.trail_refused(&error);
    }
}
