//! The control plane: what makes a cluster use Sluice.
//!
//! ```text
//!              API server --AdmissionReview--> webhook ----> patch, or refusal; `policy` leaf in the trail
//!  caches of policies, pods, … --World------> config -----> each sidecar, line by line
//!                          \---------------> status ------> conditions (the leader alone)
//!  sidecar --token, CSR--> enrol ----------> certificate
//!  Secrets --Authorities--> TLS of both servers, caBundle of the webhooks
//! ```
//!
//! Every replica serves webhook, enrolment and policy from caches of its own;
//! only what is written for the whole cluster (authorities, statuses,
//! `caBundle`, removal of old Leases) is the leader's. What is decided is
//! decided in pure functions; the rest moves it in and out.

pub mod certificates;
pub mod enrol;
pub mod health;
pub mod leader;
mod metrics;
pub mod options;
mod owner;
mod records;
pub mod run;
pub mod server;
pub mod status;
mod tidy;
pub mod webhook;
pub mod wire;
pub mod world;

pub use metrics::Metrics;
pub use owner::Owner;
pub use sluice_link::server::Shutdown;

/// Name under which the control plane writes.
pub const FIELD_MANAGER: &str = "sluice-control";
