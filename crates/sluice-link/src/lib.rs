//! How our processes reach each other: the client's side of `sluice-wire`, and
//! the [`server`]s under it.
//!
//! ```text
//! token, CSR --Enrolment--> watch of Credentials --Link--> one HTTP/2 connection to control or collector
//!                                |                   |--> ConfigStream      policy, as it changes
//!                                |                   |--> Reporter          what became of it
//!                                |                   '--> IngestTransport   records, for `ship::Shipper`
//!                                '--server_config--> what the collector shows
//! ```
//!
//! A server is believed by its SPIFFE ID, not by its name: who answers at the
//! control plane's address must be the control plane. Keys and certificates are
//! kept in a folder that the caller names, so that a process that starts again
//! goes on with them. Everything that comes in is bounded while it is read, and
//! each error names the URL and what to do.

mod backoff;
mod config;
mod credentials;
mod endpoint;
mod enrol;
mod error;
mod ingest;
mod kept;
mod lines;
mod link;
mod names;
mod report;
pub mod server;
mod verify;

pub use backoff::Backoff;
pub use config::{ConfigEvent, ConfigStream, StreamOptions};
pub use credentials::{Clients, Credentials, CredentialsError, pem_certificates};
pub use endpoint::Endpoint;
pub use enrol::{EnrolOptions, EnrolStatus, Enrolment, FirstRoots};
pub use error::LinkError;
pub use ingest::IngestTransport;
pub use link::{Link, Server};
pub use names::{Resolve, Resolving, SystemNames};
pub use report::Reporter;
pub use verify::identity_of;

use std::sync::Arc;

/// Enrolled, or not yet.
pub type CredentialsWatch = tokio::sync::watch::Receiver<Option<Arc<Credentials>>>;

/// The one crypto provider.
pub(crate) fn crypto() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
