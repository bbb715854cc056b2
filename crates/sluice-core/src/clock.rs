use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Where time comes from. Passed in, so that tests own it.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall time.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start that never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// A clock that stands at `now`, its monotonic time at zero.
    pub fn at(now: Timestamp) -> Self {
        Self { state: Mutex::new((now, Duration::ZERO)) }
    }

    /// Moves both times forward by `step`.
    pub fn advance(&self, step: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let step_signed = jiff::SignedDuration::try_from(step).unwrap_or(jiff::SignedDuration::MAX);
        state.0 = state.0.checked_add(step_signed).unwrap_or(Timestamp::MAX);
        state.1 = state.1.saturating_add(step);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
