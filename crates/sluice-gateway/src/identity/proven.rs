use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use lru::LruCache;

use super::token::TokenName;

/// Tokens whose signature was found to be by a key of one set, so that a token
/// that comes with every request is checked once: which key, which algorithm and
/// what is signed are all in its text, and so in its name. It lives and goes with
/// its set: a key that is withdrawn takes what it proved along. Claims are judged
/// each time.
pub(super) struct Proven(Mutex<LruCache<TokenName, ()>>);

impl Proven {
    /// Whether `check` says so now, or said so before of the token with this name.
    pub(super) fn or_check(&self, name: &TokenName, check: impl FnOnce() -> bool) -> bool {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).is_some() {
            return true;
        }
        let proven = check();
        if proven {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).put(*name, ());
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
pub(super) const KEPT: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_proven_is_believed_again() {
        let proven = Proven::default();
        let ask = |name: u8, answer: Option<bool>| proven.or_check(&[name; 32], || answer.expect("asked again"));
        assert!(!ask(1, Some(false)));
        assert!(ask(1, Some(true)));
        assert!(ask(1, None));
        assert!(!ask(2, Some(false)));
    }
}
