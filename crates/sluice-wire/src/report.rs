use serde::{Deserialize, Serialize};

use crate::bounds::{self, OutOfBounds};

const MAX_WORD: usize = 128;
const MAX_PROBLEMS: usize = 64;
const MAX_TEXT: usize = 2048;

/// What became of a revision at one sidecar.
///
/// `compiled` and no problems: it is in force. `compiled` with problems: it is
/// in force except for what they say (a target that needs a restart). Not
/// compiled: the revision before stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawReport")]
pub struct Report {
    /// The revision, as the config stream named it.
    pub revision: String,
    /// Whether it was taken.
    pub compiled: bool,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ReportedProblem>,
    /// Version of the sidecar.
    pub version: String,
}

/// Something wrong in a document, as the sidecar found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedProblem {
    /// Name of the document in the config; empty: all of them together.
    #[serde(default)]
    pub document: String,
    /// Field.
    #[serde(default)]
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Report {
    /// Whether the revision decides there, all of it.
    pub fn in_force(&self) -> bool {
        self.compiled && self.problems.is_empty()
    }

    /// The report cut to what is taken: the first problems, each shortened.
    #[must_use]
    pub fn within_bounds(mut self) -> Self {
        self.problems.truncate(MAX_PROBLEMS);
        for problem in &mut self.problems {
            for text in [&mut problem.document, &mut problem.path, &mut problem.message] {
                cut(text, MAX_TEXT);
            }
        }
        self
    }
}

fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

#[derive(Deserialize)]
struct RawReport {
    revision: String,
    compiled: bool,
    #[serde(default)]
    problems: Vec<ReportedProblem>,
    version: String,
}

impl TryFrom<RawReport> for Report {
    type Error = OutOfBounds;

    fn try_from(raw: RawReport) -> Result<Self, OutOfBounds> {
        bounds::word("revision", &raw.revision, MAX_WORD)?;
        bounds::word("version", &raw.version, MAX_WORD)?;
        bounds::entries("problems", raw.problems.len(), MAX_PROBLEMS)?;
        for problem in &raw.problems {
            for text in [&problem.document, &problem.path, &problem.message] {
                bounds::bytes("problems[]", text, MAX_TEXT)?;
            }
        }
        Ok(Self { revision: raw.revision, compiled: raw.compiled, problems: raw.problems, version: raw.version })
    }
}
