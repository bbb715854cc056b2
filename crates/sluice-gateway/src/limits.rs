//! What the gateway takes on at one time, and per minute. Every bound says
//! what happens at it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_core::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at one time; the next one waits in the kernel's queue.
pub(crate) const MAX_CONNECTIONS: usize = 1024;
/// Open files that as many connections take: two sockets each, and something for
/// files, questions and providers.
const DESCRIPTORS: u64 = 2 * MAX_CONNECTIONS as u64 + 512;
/// Request bodies held whole, over all connections, in KiB; the next one waits
/// [`BODY_WAIT`] for room, then gets 503.
const MAX_BODIES_KIB: usize = 48 * 1024;
/// How long a body waits for room.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// The gateway's own bounds.
#[derive(Debug)]
pub(crate) struct Limits {
    connections: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    /// Commands of the workload, by policy's `commandsPerMinute`.
    pub(crate) commands: Bucket,
    /// Refusals of things that are no command, so that they cannot flood the
    /// trail.
    pub(crate) refusals: Bucket,
}

impl Limits {
    /// Also sees to it that the process may open as many files as its connections
    /// take.
    pub(crate) fn new() -> Self {
        raise_descriptors();
        Self {
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            bodies: Arc::new(Semaphore::new(MAX_BODIES_KIB)),
            commands: Bucket::default(),
            refusals: Bucket::default(),
        }
    }

    /// Room for one more connection.
    pub(crate) async fn connection(&self) -> Option<OwnedSemaphorePermit> {
        self.connections.clone().acquire_owned().await.ok()
    }

    /// Waits until there is no connection.
    pub(crate) async fn idle(&self) {
        let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
        let _ = self.connections.acquire_many(all).await;
    }

    /// How many connections there are.
    pub(crate) fn open_connections(&self) -> usize {
        MAX_CONNECTIONS.saturating_sub(self.connections.available_permits())
    }

    /// Room for a body of at most `bytes`; `None` when there is none in time.
    pub(crate) async fn body(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1024)).ok()?;
        tokio::time::timeout(BODY_WAIT, self.bodies.clone().acquire_many_owned(kib)).await.ok()?.ok()
    }
}

/// Raises the soft limit of open files as far as the connections need it; what is
/// beyond the hard limit is said, and then connections wait for descriptors.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= DESCRIPTORS);
    if enough(limit.current) {
        return;
    }
    let raised = if enough(limit.maximum) { Some(DESCRIPTORS) } else { limit.maximum };
    let set = setrlimit(Resource::Nofile, Rlimit { current: raised, maximum: limit.maximum });
    if set.is_err() || !enough(raised) {
        tracing::warn!(
            "{MAX_CONNECTIONS} connections need {DESCRIPTORS} open files, and the hard limit is {}: raise it (ulimit -Hn, LimitNOFILE)",
            limit.maximum.unwrap_or(u64::MAX)
        );
    }
}

/// A bucket that fills at an even rate and holds one minute's worth.
#[derive(Debug, Default)]
pub(crate) struct Bucket(Mutex<Level>);

#[derive(Debug, Default)]
struct Level {
    /// Tokens left; `None` before first use.
    left: Option<f64>,
    filled: Duration,
    /// Takes that failed since the last that did not.
    missed: u64,
}

/// What came of taking one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// There was one; so many takes before it found none.
    Yes {
        /// Takes that failed since the last that did not.
        missed: u64,
    },
    /// There was none; one comes in so long.
    No {
        /// Time to the next token.
        wait: Duration,
    },
}

impl Bucket {
    /// Takes a token from a bucket that gets `per_minute` of them.
    pub(crate) fn take(&self, per_minute: u32, clock: &dyn Clock) -> Taken {
        let size = f64::from(per_minute.max(1));
        let rate = size / 60.0;
        let now = clock.monotonic();
        let mut level = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_sub(level.filled).as_secs_f64();
        let left = level.left.map_or(size, |left| (left + elapsed * rate).min(size));
        level.filled = now;
        if left >= 1.0 {
            level.left = Some(left - 1.0);
            return Taken::Yes { missed: std::mem::take(&mut level.missed) };
        }
        level.left = Some(left);
        level.missed += 1;
        Taken::No { wait: Duration::from_secs_f64((1.0 - left) / rate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_at_its_rate() {
        let clock = sluice_core::ManualClock::at(jiff::Timestamp::UNIX_EPOCH);
        let bucket = Bucket::default();
        assert_eq!(bucket.take(2, &clock), Taken::Yes { missed: 0 });
        assert_eq!(bucket.take(2, &clock), Taken::Yes { missed: 0 });
        assert_eq!(bucket.take(2, &clock), Taken::No { wait: Duration::from_secs(30) });
        clock.advance(Duration::from_secs(30));
        assert_eq!(bucket.take(2, &clock), Taken::Yes { missed: 1 });
        assert!(matches!(bucket.take(2, &clock), Taken::No { .. }));
    }

    #[test]
    fn as_many_files_may_be_open_as_connections_take() {
        let before = getrlimit(Resource::Nofile);
        let low = Rlimit { current: Some(1_000), maximum: before.maximum };
        setrlimit(Resource::Nofile, low).expect("a lower soft limit");
        let _limits = Limits::new();
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.maximum, before.maximum);
        let wanted = before.maximum.map_or(DESCRIPTORS, |hard| hard.min(DESCRIPTORS));
        assert!(after.current.is_none_or(|soft| soft >= wanted), "{after:?}");
    }

    #[tokio::test]
    async fn bodies_share_their_room() {
        let limits = Limits::new();
        let whole = limits.body(MAX_BODIES_KIB * 1024).await.expect("all of it");
        let waiting = limits.body(1);
        drop(whole);
        assert!(waiting.await.is_some());
    }
}
