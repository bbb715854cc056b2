use thiserror::Error;

/// What is wrong with bytes from the wire. Offsets count from the first byte
/// of the message's payload (of the stream, for packets and SMP frames).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The message ended, or what is there so far ends, within a field.
    #[error("{field} at byte {offset}: {missing} more bytes were expected")]
    Incomplete {
        /// The field that was being read.
        field: &'static str,
        /// Where it begins.
        offset: u64,
        /// How many bytes are missing at least.
        missing: u64,
    },
    /// The bytes are there and say what they may not.
    #[error("{field} at byte {offset} is {value} ({value:#x}): {rule}")]
    Malformed {
        /// The field that is wrong.
        field: &'static str,
        /// Where it begins, or where reading it ended.
        offset: u64,
        /// What it holds.
        value: u64,
        /// What it breaks.
        rule: &'static str,
    },
    /// Sound perhaps, but more than this side takes.
    #[error("{field} at byte {offset} is {value}, over the limit of {limit}")]
    TooLarge {
        /// The field that is too large.
        field: &'static str,
        /// Where it begins, or where reading it ended.
        offset: u64,
        /// What it claims.
        value: u64,
        /// What is taken at most; see [`Limits`](crate::Limits).
        limit: u64,
    },
}

/// A value that cannot be written as its type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unwritable {
    /// It is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The type has no such value, or no NULL.
    #[error("type {id:#04x} has no value like this: {rule}")]
    NotOfType {
        /// Number of the type.
        id: u8,
        /// What it lacks.
        rule: &'static str,
    },
}

/// A value that its field on the wire has no room for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} would be {value} long; there is room for {limit}")]
pub struct TooLong {
    /// The field.
    pub field: &'static str,
    /// Length of what was to be written, in the field's own unit.
    pub value: usize,
    /// The longest that can be written.
    pub limit: usize,
}
