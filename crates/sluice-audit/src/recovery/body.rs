//! Bodies of the leaves that a start writes.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::hash::Hash;

/// Body of the first leaf of an epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Enrol {
    /// Which start of the machine.
    pub(crate) boot: String,
    pub(crate) format: u64,
    pub(crate) instance: String,
    /// Public half of the epoch's key, base64.
    pub(crate) key: String,
    pub(crate) ordinal: u64,
    /// Newest good leaf of the epoch before.
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) version: String,
    pub(crate) workload: sluice_core::Workload,
}

/// Names the newest good leaf of the newest epoch that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Predecessor {
    pub(crate) epoch: Uuid,
    pub(crate) hash: Hash,
    pub(crate) ordinal: u64,
    pub(crate) sequence: u64,
}

/// Body of a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) epoch: Uuid,
    pub(crate) ordinal: u64,
    /// Where the damage begins; `None`: the whole epoch is missing.
    pub(crate) place: Option<GapPlace>,
    /// `torn`, `changed` or `missing`.
    pub(crate) what: String,
    pub(crate) why: String,
}

/// What is left out, byte for byte: the segment from the offset on, and all
/// later segments of the epoch, without the zeros that each ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GapPlace {
    pub(crate) bytes: u64,
    pub(crate) offset: u64,
    pub(crate) segment: u64,
    /// Of the leaf that should stand there.
    pub(crate) sequence: u64,
    pub(crate) sha256: Hash,
}
