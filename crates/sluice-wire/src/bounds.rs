/// A field is larger than it may be, or not of its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    /// Too many bytes or entries.
    #[error("`{field}` has {length} {unit}; at most {limit} are taken")]
    Large {
        /// Which field.
        field: &'static str,
        /// How many it has.
        length: usize,
        /// How many it may have.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// Missing or of another form.
    #[error("`{field}` {what}")]
    Form {
        /// Which field.
        field: &'static str,
        /// What is wrong, and what to write.
        what: &'static str,
    },
}

pub(crate) fn bytes(field: &'static str, text: &str, limit: usize) -> Result<(), OutOfBounds> {
    within(field, text.len(), limit, "bytes")
}

pub(crate) fn entries(field: &'static str, length: usize, limit: usize) -> Result<(), OutOfBounds> {
    within(field, length, limit, "entries")
}

/// A name of a revision, a version, a fingerprint: short, printable, one word.
pub(crate) fn word(field: &'static str, text: &str, limit: usize) -> Result<(), OutOfBounds> {
    bytes(field, text, limit)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(OutOfBounds::Form { field, what: "must be one printable word" });
    }
    Ok(())
}

fn within(field: &'static str, length: usize, limit: usize, unit: &'static str) -> Result<(), OutOfBounds> {
    if length > limit { Err(OutOfBounds::Large { field, length, limit, unit }) } else { Ok(()) }
}
