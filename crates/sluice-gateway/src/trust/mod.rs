//! Certificates that the agent's side believes: one CA for this gateway, which
//! can speak for the hosts of policy alone, and the leaves it signs.
//!
//! Nobody but this gateway's workload trusts the CA. Its name constraints are
//! fixed when it is made; a host outside them needs a restart, or in a pod
//! another CA beside it.

mod authorities;
mod authority;
mod bundle;
mod constraints;
mod java;
mod leaf;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

pub use authorities::Authorities;
pub use authority::Authority;
pub(crate) use bundle::pem_of;
pub use constraints::Constraints;
pub use java::{java_store, java_store_of_pem};
pub use leaf::names_of;
pub(crate) use store::write_whole;

/// The one crypto provider of the gateway.
pub fn crypto() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Why a key or a certificate cannot be made or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The CA may not speak for this name.
    #[error("{host} is outside the names that this gateway's CA was made for; restart the gateway to make a new one")]
    Outside {
        /// The name.
        host: String,
    },
    /// The name cannot stand in a certificate.
    #[error("{host:?} is no host name and no IP address; correct the target's host in the policy")]
    Host {
        /// The name.
        host: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}; name a folder that the gateway may write", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// Key or certificate making failed.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS does not take the key.
    #[error("key: {0}")]
    Key(#[from] rustls::Error),
}
