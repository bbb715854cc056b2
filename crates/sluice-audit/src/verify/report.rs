use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use uuid::Uuid;

use crate::record::{Kind, RecordId};

/// What a judgement found.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What is not as it should be, in the order in which it was found.
    pub findings: Vec<Finding>,
    /// Findings beyond the first thousand.
    pub more_findings: u64,
    /// The gravest class among all findings; `None`: whole.
    pub gravest: Option<Class>,
    /// Whether keys from outside the trail were given.
    pub keys_given: bool,
    /// Keys that were given and that no epoch here enrolled: of another trail, or
    /// of an epoch that is gone as a whole or cannot be read. Only a key under the name of its
    /// epoch (`epoch-….pub`) tells the two apart.
    pub other_keys: u64,
    /// Whether a gateway is writing the trail at this moment.
    pub live: bool,
    /// Epochs, good or not.
    pub epochs: u64,
    /// Leaves that are right.
    pub leaves: u64,
    /// Bytes of those leaves.
    pub bytes: u64,
    /// Heads that were read.
    pub heads: u64,
    /// Leaves of kind intent.
    pub intents: u64,
    /// Leaves of kind outcome.
    pub outcomes: u64,
    /// Outcomes that say `unknown`.
    pub unknown: u64,
    /// Intents without any outcome.
    pub open_intents: u64,
    /// Commitments whose salt was erased.
    pub erased_salts: u64,
    /// The newest leaf that a trusted head covers: ordinal and id of its
    /// epoch, and its sequence. All before it are covered too.
    pub sealed: Option<(u64, Uuid, u64)>,
}

impl Report {
    /// 0 whole, 1 invalid, 2 cannot read, 3 diverged, 4 incomplete, 5 unsealed.
    pub fn exit_code(&self) -> u8 {
        match self.gravest {
            None => 0,
            Some(Class::Invalid) => 1,
            Some(Class::Unreadable) => 2,
            Some(Class::Diverged) => 3,
            Some(Class::Incomplete) => 4,
            Some(Class::Unsealed) => 5,
        }
    }

    /// One word for the exit code.
    pub fn label(&self) -> &'static str {
        self.gravest.map_or("whole", Class::label)
    }

    pub(super) fn find(&mut self, finding: Finding) {
        self.gravest = self.gravest.max(Some(finding.class));
        // The gravest kind is never crowded out by the others.
        if self.findings.len() < FINDINGS || (finding.class == Class::Invalid && self.findings.len() < 2 * FINDINGS) {
            self.findings.push(finding);
        } else {
            self.more_findings += 1;
        }
    }

    pub(super) fn leaf(&mut self, kind: Kind, bytes: usize) {
        self.leaves += 1;
        self.bytes += bytes as u64;
        match kind {
            Kind::Intent => self.intents += 1,
            Kind::Outcome => self.outcomes += 1,
            _ => {}
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if self.more_findings > 0 {
            writeln!(f, "and {} more", self.more_findings)?;
        }
        write!(
            f,
            "{}: {} epochs, {} records ({} intents, {} outcomes, {} of them unknown)",
            self.label(),
            self.epochs,
            self.leaves,
            self.intents,
            self.outcomes,
            self.unknown
        )?;
        match self.sealed {
            Some((ordinal, _, sequence)) => write!(f, ", sealed up to record {sequence} of epoch {ordinal}")?,
            None => write!(f, ", none of them sealed")?,
        }
        if !self.keys_given {
            write!(f, "; the keys were taken from the trail itself: --key makes it prove its origin")?;
        }
        if self.other_keys > 0 {
            write!(
                f,
                "; {} of the keys given fit no epoch here: they are of another trail, or their epochs are gone or unreadable",
                self.other_keys
            )?;
        }
        writeln!(f)
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How grave it is.
    pub class: Class,
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: Option<u64>,
    /// The epoch, and its place in the trail.
    pub epoch: Option<(u64, Uuid)>,
    /// The record's place in the epoch.
    pub sequence: Option<u64>,
    /// The record's id, where it can be read.
    pub id: Option<RecordId>,
    /// For people.
    pub message: String,
}

impl Finding {
    pub(super) fn of(class: Class, file: &Path, message: String) -> Self {
        Self { class, file: file.to_owned(), offset: None, epoch: None, sequence: None, id: None, message }
    }

    pub(super) fn in_epoch(mut self, ordinal: u64, id: Uuid) -> Self {
        self.epoch = Some((ordinal, id));
        self
    }

    pub(super) fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    pub(super) fn with_sequence(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence);
        self
    }

    pub(super) fn with_id(mut self, id: RecordId) -> Self {
        self.id = Some(id);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.class.label())?;
        if let Some((ordinal, _)) = self.epoch {
            write!(f, ": epoch {ordinal}")?;
        }
        if let Some(sequence) = self.sequence {
            write!(f, ": record {sequence}")?;
        }
        if let Some(id) = self.id {
            write!(f, " ({id})")?;
        }
        if !self.file.as_os_str().is_empty() {
            write!(f, ": {}", self.file.display())?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// How grave a finding is; later is graver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// Not covered by a signed head.
    Unsealed,
    /// Something is missing, and it is known what.
    Incomplete,
    /// It could not be read.
    Unreadable,
    /// There are two histories.
    Diverged,
    /// It is not what was written.
    Invalid,
}

impl Class {
    /// One word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unsealed => "unsealed",
            Self::Incomplete => "incomplete",
            Self::Unreadable => "unreadable",
            Self::Diverged => "diverged",
            Self::Invalid => "invalid",
        }
    }
}

/// Findings that are kept.
const FINDINGS: usize = 1_000;
