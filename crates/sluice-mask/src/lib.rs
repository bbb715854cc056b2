//! Maskers: what an agent must not see is replaced while it streams.
//!
//! ```text
//! {"kind":"Secret","data":{"password":"aHVudGVyMg=="}}
//! {"kind":"Secret","data":{"password":"c2x1aWNlLW1hc2tlZDowMDAwMDAyYQ=="}}
//! ```
//!
//! A masked value says nothing about what it replaces, not even its length. It
//! carries a [`Marker`] that [`contains_marker`] finds again in whatever form
//! somebody tries to write it back.
//!
//! This crate knows no policy: whether something is masked is decided before.

mod marker;
mod packed;
pub mod secrets;

pub use marker::{Marker, contains_marker};
pub use packed::{PACKED_BUDGET, packed_marker};

/// The same cases in every run; the fuzz targets look for new ones.
#[cfg(test)]
fn fixed_cases() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x5ec2e7),
        failure_persistence: None,
        ..proptest::test_runner::Config::with_cases(512)
    }
}
