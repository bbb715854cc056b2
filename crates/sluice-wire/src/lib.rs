//! What Sluice's processes say to each other, over HTTP/2 and TLS, as JSON.
//!
//! ```text
//! sidecar --enrol---> control     token and CSR in, certificate and roots out   (server's TLS, bearer token)
//! sidecar --config--> control     policy, line by line, as long as it lives     (mutual TLS)
//! sidecar --report--> control     what became of a revision                     (mutual TLS)
//! sidecar --ingest--> collector   frames of the spool, acknowledged             (mutual TLS)
//! people  --trails, records--> collector                                        (TLS, Kubernetes token)
//! ```
//!
//! Types only: no socket, no file, no clock. Everything from outside is bounded
//! while it is read; what is too large is an error that names the field and the
//! limit. Readers skip fields that they do not know, so that a sidecar and a
//! control plane one version apart understand each other; what would change a
//! meaning gets a new [`VERSION`] in the path.

mod bounds;
mod config;
mod enrol;
mod identity;
mod ingest;
mod query;
mod refusal;
mod report;

pub use bounds::OutOfBounds;
pub use config::{Config, ConfigLine, Document, HEARTBEAT_SECONDS};
pub use enrol::{EnrolRequest, EnrolResponse};
pub use identity::{Identity, NoIdentity, TRUST_DOMAIN};
pub use ingest::{BatchStart, IngestAnswer, IngestRefusal, MAX_BATCH_BYTES};
pub use query::{EpochSummary, MAX_FILTER_BYTES, RecordFilter, RecordLine, TrailSummary};
pub use refusal::{Code, Refusal};
pub use report::{Report, ReportedProblem};

/// Version of everything here; first part of each path.
pub const VERSION: &str = "v1";
/// Where a process gets its certificate.
pub const ENROL_PATH: &str = "/v1/enrol";
/// Where a sidecar gets its policy.
pub const CONFIG_PATH: &str = "/v1/config";
/// Where a sidecar says what became of a policy.
pub const REPORT_PATH: &str = "/v1/report";
/// Where a sidecar hands in its records.
pub const INGEST_PATH: &str = "/v1/ingest";
/// Which trails there are; below it, by pod UID and epoch, their files.
pub const TRAILS_PATH: &str = "/v1/trails";
/// Records, filtered, as JSON lines.
pub const RECORDS_PATH: &str = "/v1/records";

/// Bytes of a body that is one JSON object (enrolment, report, refusal); more
/// is refused unread.
pub const MAX_BODY_BYTES: usize = 256 * 1024;
/// Bytes of one line of the config stream; a longer one ends the stream.
pub const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;
