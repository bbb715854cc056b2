//! Attempts to get around the gateway. Whoever succeeds at one makes everything
//! else worthless.

mod addresses;
mod admission;
mod api;
mod enrolment;
mod entering;
mod names;
mod packets;
mod rights;
mod sidecar;
mod tokens;
mod webhooks;

use libtest_mimic::Trial;

/// Tests that may run beside others.
pub(crate) fn together() -> Vec<Trial> {
    let mut trials = admission::trials();
    trials.extend(webhooks::trials());
    trials.extend(entering::trials());
    trials.extend(rights::trials());
    trials.extend(addresses::trials());
    trials.extend(packets::trials());
    trials.extend(names::trials());
    trials.extend(api::trials());
    trials.extend(tokens::trials());
    trials.extend(enrolment::trials());
    trials.extend(sidecar::trials());
    trials
}

/// Tests that take a part of the installation away.
pub(crate) fn alone() -> Vec<Trial> {
    webhooks::alone()
}
