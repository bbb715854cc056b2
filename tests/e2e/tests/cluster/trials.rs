//! How tests are listed: in code, so that one function can be several rows.

use anyhow::Result;
use libtest_mimic::{Failed, Trial};

use crate::pod::Family;

/// A test.
pub(crate) fn one(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:?}"))))
}

/// The same on IPv4 and on IPv6.
pub(crate) fn both(name: &str, test: fn(Family) -> Result<()>) -> impl Iterator<Item = Trial> {
    Family::BOTH.into_iter().map(move |family| one(&format!("{name}::{}", family.label()), move || test(family)))
}
