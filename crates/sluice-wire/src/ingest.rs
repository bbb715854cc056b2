use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::OutOfBounds;

/// Bytes of a batch at most.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// Where a batch lies: the query of an ingest request. The body is a stretch of
/// one segment, byte for byte (docs/trail-format.md), with a head last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchStart {
    /// The epoch.
    pub epoch: Uuid,
    /// Place of the epoch in its trail, from 1.
    pub ordinal: u64,
    /// Place of the segment in the epoch, from 1.
    pub segment: u64,
    /// Where in the segment the stretch begins; 0: with its header.
    pub offset: u64,
    /// The end of an epoch whose gateway was killed: nobody can sign it any
    /// more, so it may lack the head. The next epoch covers it.
    pub rest: bool,
}

/// What the collector has, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestAnswer {
    /// The epoch.
    pub epoch: Uuid,
    /// All leaves up to this one are stored.
    pub acknowledged: u64,
}

/// Why a batch was not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "camelCase")]
pub enum IngestRefusal {
    /// Leaves are missing before the batch: send from `expected` on.
    Gap {
        /// Sequence of the leaf that is wanted next.
        expected: u64,
    },
    /// Another leaf is stored under a sequence of the batch.
    Fork {
        /// That sequence.
        sequence: u64,
    },
    /// A head's signature is wrong, or of another key than the epoch's.
    BadSignature {
        /// In words.
        message: String,
    },
    /// Frames or leaves that are none, a chain that does not fit.
    Malformed {
        /// In words.
        message: String,
    },
    /// No room: wait and send it again.
    Full {
        /// In words.
        message: String,
    },
    /// The certificate is not that of the trail's pod.
    NotYours {
        /// In words.
        message: String,
    },
    /// A reason of a newer version.
    #[serde(other)]
    Other,
}

impl fmt::Display for BatchStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, ordinal, segment, offset, rest } = self;
        write!(f, "epoch={epoch}&ordinal={ordinal}&segment={segment}&offset={offset}&rest={rest}")
    }
}

impl FromStr for BatchStart {
    type Err = OutOfBounds;

    /// Reads the query: each field once, in any order, nothing twice.
    fn from_str(query: &str) -> Result<Self, OutOfBounds> {
        let field = |name: &'static str| -> Result<&str, OutOfBounds> {
            let mut values = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
            match (values.next(), values.next()) {
                (Some((_, value)), None) => Ok(value),
                _ => Err(OutOfBounds::Form { field: name, what: "must be in the query once" }),
            }
        };
        let number = |name: &'static str, from: u64| -> Result<u64, OutOfBounds> {
            let text = field(name)?;
            text.parse()
                .ok()
                .filter(|number| *number >= from && text.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or(OutOfBounds::Form { field: name, what: "must be a whole number, from 1 (an offset: from 0)" })
        };
        let epoch =
            field("epoch")?.parse().map_err(|_| OutOfBounds::Form { field: "epoch", what: "must be a UUID" })?;
        let rest =
            field("rest")?.parse().map_err(|_| OutOfBounds::Form { field: "rest", what: "must be true or false" })?;
        let (ordinal, segment, offset) = (number("ordinal", 1)?, number("segment", 1)?, number("offset", 0)?);
        Ok(Self { epoch, ordinal, segment, offset, rest })
    }
}
