use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use jsonwebtoken::Algorithm;
use lru::LruCache;

/// Signatures that were found to be by a key of one set, so that a token that
/// comes with every request is checked once. It lives and goes with its set:
/// a key that is withdrawn takes what it proved along. Claims are read each
/// time.
pub(super) struct Proven(Mutex<LruCache<[u8; 32], ()>>);

impl Proven {
    /// Whether `check` says so now, or said so before.
    pub(super) fn or_check(
        &self,
        id: &str,
        algorithm: Algorithm,
        message: &str,
        signature: &str,
        check: impl FnOnce() -> bool,
    ) -> bool {
        let Some(name) = name(id, algorithm, message, signature) else { return check() };
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name).is_some() {
            return true;
        }
        let proven = check();
        if proven {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).put(name, ());
        }
        proven
    }
}

impl Default for Proven {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl fmt::Debug for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proven(***)")
    }
}

/// Tokens in use at one time by one workload are few.
const KEPT: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// A digest over everything that the answer depends on, each part with its
/// length before it.
fn name(id: &str, algorithm: Algorithm, message: &str, signature: &str) -> Option<[u8; 32]> {
    let mut context = Context::new(&SHA256);
    context.update(&[algorithm as u8]);
    for part in [id, message, signature] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_proven_is_believed_again() {
        let proven = Proven::default();
        let ask = |id: &str, message: &str, answer: Option<bool>| {
            proven.or_check(id, Algorithm::RS256, message, "s", || answer.expect("asked again"))
        };
        assert!(!ask("a", "m", Some(false)));
        assert!(ask("a", "m", Some(true)));
        assert!(ask("a", "m", None));
        assert!(!ask("a", "ms", Some(false)));
        assert!(!ask("am", "", Some(false)));
        assert!(!proven.or_check("a", Algorithm::RS512, "m", "s", || false));
    }
}
