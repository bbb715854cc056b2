use std::time::Duration;

/// Pauses after failures: doubled each time, up to a limit, each shortened by
/// chance by up to half, so that many processes do not come back as one.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// From `first` to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.first.saturating_mul(1 << self.failures.min(16)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(1.0 - f64::from(random()) / 512.0)
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

impl Default for Backoff {
    /// From half a second to fifteen.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(15))
    }
}

fn random() -> u8 {
    let mut byte = [0];
    // Zero is a chance like any other.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_begin_again() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 8 * second);
        let full = [1, 2, 4, 8, 8, 8];
        for full in full {
            let pause = backoff.pause();
            assert!(pause <= full * second && pause >= full * second / 2, "{pause:?} of {full} s");
        }
        backoff.reset();
        assert!(backoff.pause() <= second);
        backoff.failures = u32::MAX;
        assert!(backoff.pause() <= 8 * second);
    }
}
