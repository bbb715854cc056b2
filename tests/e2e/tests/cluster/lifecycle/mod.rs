//! What happens to agents while the cluster lives: policies change, pods come
//! and go, parts of the installation fail.

mod certificates;
mod outages;
mod pods;
mod policy_changes;
mod records_arrive;

use libtest_mimic::Trial;

/// Tests that may run beside others.
pub(crate) fn together() -> Vec<Trial> {
    let mut trials = policy_changes::trials();
    trials.extend(pods::trials());
    trials.extend(records_arrive::trials());
    trials
}

/// Tests that take a part of the installation away.
pub(crate) fn alone() -> Vec<Trial> {
    let mut trials = pods::alone();
    trials.extend(outages::alone());
    trials.extend(certificates::alone());
    trials
}
