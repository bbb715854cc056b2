//! Named places where a test can end the process, as `kill -9` would.
//!
//! Built in only with the feature `failpoints`; without it, [`hit`] is empty.
//! `SLUICE_FAILPOINT=NAME` ends the process the first time that `NAME` is
//! reached, `NAME:N` the N-th time. Before it ends it writes the line
//! `SLUICE_FAILPOINT NAME` to standard error, so that a test can tell that it
//! was this place and no other.

/// The places of this crate, in the order in which a record meets them.
pub const NAMES: &[&str] = &[
    "before_frame",
    "after_frame_header",
    "mid_frame",
    "after_frame",
    "before_sync",
    "after_sync",
    "before_head",
    "after_head",
    "rotate.before_create",
    "rotate.after_create",
    "rotate.after_rename",
    "rotate.after_trim",
    "recovery.scanned",
    "recovery.after_trim",
    "recovery.after_enrol",
    "recovery.after_key",
    "recovery.after_gap",
    "recovery.after_outcome",
    "recovery.after_recovered",
    "end.before_leaf",
    "end.after_leaf",
    "end.after_trim",
];

/// The same of a trail that is shipped, when it gives segments back.
pub const SHIP_NAMES: &[&str] = &["free.after_mark", "free.after_remove"];

/// Ends the process here, if it was asked to.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// Whether the process was asked to end at `name`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn armed(_name: &str) -> bool {
    false
}

#[cfg(feature = "failpoints")]
pub use armed::{armed, hit};

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        name: String,
        left: AtomicU64,
    }

    fn asked() -> Option<&'static Armed> {
        static ASKED: OnceLock<Option<Armed>> = OnceLock::new();
        ASKED
            .get_or_init(|| {
                let value = std::env::var("SLUICE_FAILPOINT").ok()?;
                let (name, times) = match value.rsplit_once(':') {
                    Some((name, times)) => (name.to_owned(), times.parse().ok()?),
                    None => (value, 1),
                };
                Some(Armed { name, left: AtomicU64::new(times) })
            })
            .as_ref()
    }

    /// Whether the process was asked to end at `name`.
    pub fn armed(name: &str) -> bool {
        asked().is_some_and(|armed| armed.name == name)
    }

    /// Ends the process here, if it was asked to.
    pub fn hit(name: &str) {
        let Some(armed) = asked().filter(|armed| armed.name == name) else { return };
        if armed.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        eprintln!("SLUICE_FAILPOINT {name}");
        loop {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

/// Ends the process here, if it was asked to: `failpoint!("gateway.after_intent")`.
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::failpoint::hit($name)
    };
}
