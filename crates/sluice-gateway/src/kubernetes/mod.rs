//! Kubernetes: from an HTTP request to facts, and back to answers that
//! `kubectl` prints well.
//!
//! ```text
//! attributes(method, uri, headers)   what is asked, as the API server reads it
//!   body::plan / body::decode        the object in it, and `dryRun` of a delete
//!   writeback::check                 masked values must not be written back
//!   accept::narrow                   Secrets come in a form that can be masked
//! ...forwarded, answered...
//!   accept::reading                  can this answer be masked, or is it withheld
//! status                             every refusal, as a `Status`
//! ```
//!
//! Where two readers could read a request differently, it is refused with 400
//! instead of guessed: a wrong guess would decide on something other than what
//! the API server does.

pub mod accept;
mod attributes;
pub mod body;
mod json;
mod path;
mod protobuf;
mod query;
mod reject;
pub mod status;
pub mod writeback;
mod yaml;

pub use attributes::{attributes, carries_secrets};
pub use reject::Reject;
pub use status::Status;

/// The same cases in every run; the fuzz targets look for new ones.
#[cfg(test)]
fn fixed_cases() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x5ec2e7),
        failure_persistence: None,
        ..proptest::test_runner::Config::with_cases(512)
    }
}
