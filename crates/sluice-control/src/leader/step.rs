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

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(15);

    fn at(seconds: i64) -> (Timestamp, Duration) {
        (Timestamp::from_second(1_800_000_000 + seconds).unwrap(), Duration::from_secs(seconds as u64))
    }

    fn write(step: Step) -> LeaseSpec {
        match step {
            Step::Write(spec) => *spec,
            Step::Follow => panic!("it follows"),
        }
    }

    #[test]
    fn the_first_leads_and_the_second_follows_until_the_first_is_silent() {
        let (mut a, mut b) = (None, None);
        let (now, mono) = at(0);
        let lease = write(step(None, "a", now, mono, &mut a, LIFE));
        assert_eq!(lease.lease_transitions, Some(0));
        assert_eq!(step(Some(&lease), "b", now, mono, &mut b, LIFE), Step::Follow);
        // Renewed: seen anew, so the clock starts again.
        let (now, mono) = at(10);
        let lease = write(step(Some(&lease), "a", now, mono, &mut a, LIFE));
        assert_eq!(step(Some(&lease), "b", now, mono, &mut b, LIFE), Step::Follow);
        let (now, mono) = at(24);
        assert_eq!(step(Some(&lease), "b", now, mono, &mut b, LIFE), Step::Follow);
        let (now, mono) = at(25);
        let taken = write(step(Some(&lease), "b", now, mono, &mut b, LIFE));
        assert_eq!(taken.holder_identity.as_deref(), Some("b"));
        assert_eq!(taken.lease_transitions, Some(1));
        assert_eq!(step(Some(&taken), "a", now, mono, &mut a, LIFE), Step::Follow);
    }

    #[test]
    fn a_wall_clock_that_is_wrong_takes_nothing_away() {
        let mut b = None;
        let (_, mono) = at(0);
        let (past, _) = at(-100_000);
        let lease = write(step(None, "a", past, mono, &mut None, LIFE));
        let (now, mono) = at(1);
        assert_eq!(step(Some(&lease), "b", now, mono, &mut b, LIFE), Step::Follow);
    }

    #[test]
    fn what_is_given_up_is_taken_at_once() {
        let (now, mono) = at(0);
        let lease = released(&write(step(None, "a", now, mono, &mut None, LIFE)), now);
        assert_eq!(write(step(Some(&lease), "b", now, mono, &mut None, LIFE)).holder_identity.as_deref(), Some("b"));
    }
}
