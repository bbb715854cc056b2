//! The collector: where the records of all pods arrive and stay.
//!
//! ```text
//!  sidecar, control --mTLS, batch--> ingest --judged--> Store --synced--> UID/epoch-….seg      then acknowledged
//!  people --TLS, Kubernetes token--> query --Access--> Store --> trails, files, records
//!                                      '--who read what--> the collector's own trail
//!  probes, Prometheus --HTTP--> health, metrics
//! ```
//!
//! One folder for each pod, its files byte for byte those of the pod's spool, so
//! that `sluice audit verify` judges a copy as it judges the original. What was
//! acknowledged is on the disk; what was not is sent again. The collector makes
//! no record of others and changes none; it knows no policy.

pub mod health;
pub mod ingest;
mod metrics;
pub mod options;
pub mod query;
pub mod run;
pub mod server;
pub mod silence;
pub mod store;

pub use metrics::Metrics;
pub use sluice_link::server::Shutdown;
