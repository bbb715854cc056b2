use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a wait may take before the test says that nothing came. Far above
/// what any of them needs.
pub const LONG: Duration = Duration::from_secs(60);

/// Asks until there is an answer, for at most [`LONG`]. For what has no event
/// to wait on.
///
/// # Errors
/// Names `what` and the last reason when the time is over.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(reason) if start.elapsed() > LONG => {
                bail!("gave up waiting for {what} after {LONG:?}: {reason:#}")
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
