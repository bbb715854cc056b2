//! Certificates that the control plane makes and renews by itself.
//!
//! ```text
//! Secret sluice-workload-ca --Authorities--> roots (of pods)       signs workloads, control, collector
//! Secret sluice-webhook     --Authorities--> roots (caBundle)      signs the webhook's leaf
//! ```
//!
//! Both Secrets hold *authorities*, oldest first. A new one is published among
//! the roots long before it signs, and stays among them until it ends: whoever
//! has the roots of any moment trusts what is signed around that moment. Which
//! one signs follows from the time alone, so replicas need not agree on a step.

mod authorities;
mod keeper;
mod leaf;
mod secret;

pub use authorities::{Authorities, Authority, CertificateError, Lifetimes};
pub use keeper::{Keeper, KeeperNames, keep};
pub use leaf::{Leaf, Signed, fingerprint, own_leaf, sign_csr};
pub use secret::{from_secret, to_secret};

#[cfg(test)]
mod tests;
