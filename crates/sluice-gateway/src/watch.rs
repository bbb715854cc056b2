//! Keeps the policy in force and the policy on disk the same.

use std::sync::Arc;

use sluice_audit::{Config, Durability, Record};
use sluice_core::Clock;
use sluice_policy::{Compiled, Problem};
use tokio::time::MissedTickBehavior;

use crate::config::{Fingerprint, POLL, PolicyError, PolicyFiles};
use crate::dial::Dialer;
use crate::identity::Authenticator;
use crate::metrics::Metrics;
use crate::shared::{Policy, Shared};
use crate::way::Ways;

/// Reads the files and everything that they refer to. `before`: the policy in
/// force, whose keys of providers stay at hand.
pub(crate) fn load(
    files: &PolicyFiles,
    dialer: &Dialer,
    clock: &Arc<dyn Clock>,
    before: Option<&Policy>,
) -> Result<Policy, PolicyError> {
    // Looked at before they are read: a change meanwhile is seen the next time.
    let seen = files.fingerprint();
    let compiled = files.load()?;
    let bundles = Fingerprint::bundles(&compiled);
    let ways = Ways::of(&compiled).map_err(PolicyError::Invalid)?;
    let authenticator = match before {
        Some(before) => before.authenticator.updated(compiled.providers()),
        None => Authenticator::new(compiled.providers(), dialer.clone(), clock.clone()),
    }
    .map_err(|error| {
        let problem = Problem { document: "IdentityProvider".into(), path: String::new(), message: error.to_string() };
        PolicyError::Invalid(vec![problem])
    })?;
    authenticator.warm();
    Ok(Policy::new(compiled, authenticator, ways, (seen, bundles), clock.monotonic()))
}

/// Looks at the files until the gateway ends.
pub(crate) async fn watch(shared: Arc<Shared>, files: PolicyFiles) {
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
    match load(files, &shared.dialer, &shared.clock, Some(&shared.policy.load())) {
        Ok(policy) => {
            let revision = policy.compiled.revision().to_owned();
            let problems = warnings(&policy.compiled, shared);
            shared.names.update(policy.compiled.targets(), &policy.compiled.egress().allow);
            shared.policy.store(Arc::new(policy));
            Metrics::count(&shared.metrics.reloads, "taken");
            shared.metrics.policy_broken.set(0);
            tracing::info!(revision, "policy taken");
            record(shared, files, revision, true, problems).await;
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
            record(shared, files, revision, false, problems).await;
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
    for target in compiled.targets().iter().filter(|target| !shared.authority.covers(&target.host)) {
        warnings.push(format!(
            "target {} ({}) was not there at start: restart the gateway to reach it",
            target.name, target.host
        ));
    }
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    warnings
}

/// Records which policy is in force from here on.
pub(crate) async fn record(shared: &Shared, files: &PolicyFiles, revision: String, taken: bool, problems: Vec<String>) {
    let config = Config { revision, taken, sources: files.names(), problems };
    if let Err(error) = shared.trail.append(Record::config(&config), Durability::Process).await {
        shared.trail_refused(&error);
    }
}
