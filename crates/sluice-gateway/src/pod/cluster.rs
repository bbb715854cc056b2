//! The API server of the cluster that the pod runs in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use sluice_core::Secret;
use subtle::ConstantTimeEq;

/// How agents call it.
const NAMES: [&str; 2] = ["kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// Whether a host is the API server of the pod's own cluster.
pub(crate) fn is_in_cluster(host: &str) -> bool {
    NAMES.contains(&host)
}

/// Where it is, whom it is believed by, and as whom the pod speaks to it.
#[derive(Debug, Clone)]
pub struct InCluster {
    /// Its address inside the cluster.
    pub address: SocketAddr,
    /// Roots of its certificate, PEM.
    pub ca: PathBuf,
    /// The pod's own token.
    pub token: OwnToken,
}

impl InCluster {
    /// What is dialled for its names.
    pub(crate) fn maps(&self) -> impl Iterator<Item = crate::dial::Map> + '_ {
        NAMES.iter().map(|name| crate::dial::Map { host: (*name).to_owned(), port: None, to: self.address })
    }
}

/// The token of the pod's service account, and the one before it: a client may
/// have read that a moment ago.
#[derive(Debug, Clone, Default)]
pub struct OwnToken {
    newest_first: Arc<RwLock<Vec<Secret<String>>>>,
}

impl OwnToken {
    /// Takes the next one.
    pub fn renew(&self, token: Secret<String>) {
        let mut tokens = self.newest_first.write().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(0, token);
        tokens.truncate(2);
    }

    /// The newest.
    pub(crate) fn newest(&self) -> Option<Secret<String>> {
        self.newest_first.read().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// Whether this is it.
    pub(crate) fn is(&self, presented: &Secret<String>) -> bool {
        let tokens = self.newest_first.read().unwrap_or_else(PoisonError::into_inner);
        tokens.iter().any(|token| token.expose().as_bytes().ct_eq(presented.expose().as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_until_the_one_after_the_next() {
        let own = OwnToken::default();
        let token = |text: &str| Secret::new(text.to_owned());
        assert!(!own.is(&token("")) && own.newest().is_none());
        for text in ["a", "b", "c"] {
            own.renew(token(text));
        }
        assert!(own.is(&token("c")) && own.is(&token("b")));
        assert!(!own.is(&token("a")) && !own.is(&token("cc")));
        assert_eq!(own.newest().map(|token| token.expose().clone()).as_deref(), Some("c"));
    }
}
