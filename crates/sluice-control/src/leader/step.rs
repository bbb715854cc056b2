use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// The Lease as it was seen last, and since when it has been so, by the own
/// monotonic clock: another machine's wall clock is never believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    holder: Option<String>,
    renewed: Option<Timestamp>,
    since: Duration,
}

/// What a candidate does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Write this, against the version that was read: then lead.
    Write(Box<LeaseSpec>),
    /// Another leads.
    Follow,
}

/// The next step of candidate `me`. `present`: the Lease's content; `None`: there
/// is no Lease.
pub fn step(
    present: Option<&LeaseSpec>,
    me: &str,
    now: Timestamp,
    monotonic: Duration,
    observed: &mut Option<Observed>,
    life: Duration,
) -> Step {
    let empty = LeaseSpec::default();
    let spec = present.unwrap_or(&empty);
    let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty());
    let renewed = spec.renew_time.as_ref().map(|time| time.0);
    let unchanged = observed.as_ref().is_some_and(|seen| seen.holder == holder && seen.renewed == renewed);
    if !unchanged {
        *observed = Some(Observed { holder: holder.clone(), renewed, since: monotonic });
    }
    let since = observed.as_ref().map_or(monotonic, |seen| seen.since);
    let mine = holder.as_deref() == Some(me);
    if !mine && holder.is_some() && monotonic.saturating_sub(since) < life {
        return Step::Follow;
    }
    let transitions = spec.lease_transitions.unwrap_or(0);
    Step::Write(Box::new(LeaseSpec {
        holder_identity: Some(me.to_owned()),
        acquire_time: if mine { spec.acquire_time.clone() } else { Some(MicroTime(now)) },
        renew_time: Some(MicroTime(now)),
        lease_duration_seconds: Some(i32::try_from(life.as_secs()).unwrap_or(i32::MAX)),
        lease_transitions: Some(if mine || present.is_none() { transitions } else { transitions.saturating_add(1) }),
        ..LeaseSpec::default()
    }))
}

/// The Lease given up by its holder: the next candidate takes it at once.
pub fn released(spec: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(now)),
        ..spec.clone()
    }
}
