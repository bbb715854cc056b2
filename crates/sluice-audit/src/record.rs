use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::canonical;
use crate::commitment::Commitment;
use crate::leaf::Of;

/// A record that is not yet in the trail.
///
/// ```
/// use sluice_audit::{Kind, Record};
/// let record = Record::new(Kind::Config).with("revision", "8c1f");
/// ```
#[derive(Debug, Clone)]
pub struct Record {
    id: RecordId,
    kind: Kind,
    of: Option<Of>,
    body: canonical::Object,
    response: Option<Commitment>,
}

impl Record {
    /// An empty record with a fresh id.
    pub fn new(kind: Kind) -> Self {
        Self { id: RecordId::fresh(), kind, of: None, body: canonical::Object::new(), response: None }
    }

    /// The id that the leaf will carry.
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// What the record is about.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Says which leaf this one belongs to (an outcome to its intent).
    /// [`Intent`](crate::Intent) does it by itself.
    pub fn of(mut self, of: Of) -> Self {
        self.of = Some(of);
        self
    }

    /// Adds a field of the body. What cannot be written as JSON is recorded as
    /// `{"unwritable": why}`: a record is never lost for one of its fields.
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        if let Err(error) = self.body.member(name, &value) {
            let _ = self.body.member(name, &Unwritable { unwritable: error.to_string() });
        }
        self
    }

    /// Adds each field of `body`, which must serialise to a map.
    pub fn with_all(mut self, body: impl Serialize) -> Self {
        match self.body.members(&body) {
            Ok(true) => self,
            Ok(false) => self.with("value", body),
            Err(error) => self.with("unwritable", error.to_string()),
        }
    }

    /// Adds the commitment to the response as the agent received it.
    pub fn response(mut self, commitment: Commitment) -> Self {
        self.response = Some(commitment);
        self
    }

    /// Completes the body, which was serialised field by field. Done by the
    /// caller's thread, so that the writer only frames and hashes.
    pub(crate) fn prepare(self) -> Prepared {
        let limit = match self.kind {
            Kind::Outcome => OUTCOME_LEAF - ENVELOPE,
            _ => crate::MAX_LEAF - ENVELOPE,
        };
        Prepared {
            id: self.id,
            kind: self.kind,
            of: self.of,
            body: canonical::within(self.body, limit),
            response: self.response,
        }
    }
}

/// Stands for what cannot be written.
#[derive(Serialize)]
struct Unwritable {
    unwritable: String,
}

/// A record whose body is serialised and fits.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: RecordId,
    pub(crate) kind: Kind,
    pub(crate) of: Option<Of>,
    pub(crate) body: Vec<u8>,
    pub(crate) response: Option<Commitment>,
}

/// More than the fields around a body ever take.
pub(crate) const ENVELOPE: usize = 768;
/// Largest leaf of an outcome: what an intent reserves room for.
pub(crate) const OUTCOME_LEAF: usize = 4_096;

/// Names a record everywhere: logs, messages to people, `audit show`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(Uuid);

impl RecordId {
    /// A new id; ids made later sort later.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    pub(crate) fn uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for RecordId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl From<Uuid> for RecordId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

/// What a leaf is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// First of an epoch: its key, its workload, the epoch before. Written by
    /// the trail itself.
    Enrol,
    /// A policy revision was taken, or refused.
    Config,
    /// Somebody changed a policy, or who vouches for whom. Written by the control
    /// plane.
    Policy,
    /// Somebody read trails. Written by the collector.
    Read,
    /// A session began.
    Open,
    /// A command is about to be forwarded.
    Intent,
    /// What came of a command.
    Outcome,
    /// How far a stream has come.
    Progress,
    /// A command, or a connection, was not forwarded.
    Refused,
    /// A session ended.
    Close,
    /// Nothing to say, but alive.
    Heartbeat,
    /// Something is missing or damaged before this leaf. Written by the trail
    /// itself.
    Gap,
    /// All that the epochs before left open is said. Written by the trail
    /// itself.
    Recovered,
    /// Last of an epoch. Written by the trail itself.
    End,
}

impl Kind {
    /// As the leaf spells it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Config => "config",
            Self::Policy => "policy",
            Self::Read => "read",
            Self::Open => "open",
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Progress => "progress",
            Self::Refused => "refused",
            Self::Close => "close",
            Self::Heartbeat => "heartbeat",
            Self::Gap => "gap",
            Self::Recovered => "recovered",
            Self::End => "end",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
