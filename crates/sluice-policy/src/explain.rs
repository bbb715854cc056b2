use std::fmt;

use serde::Serialize;
use sluice_core::Command;

use crate::{Compiled, Verdict};

/// Why a command is decided as it is, rule by rule.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `Allow` or `Deny`.
    pub verdict: &'static str,
    /// The decision in one line.
    pub summary: String,
    /// Which policy was asked.
    pub revision: String,
}

impl Compiled {
    /// Explains the decision on a command.
    pub fn explain(&self, command: &Command) -> Explanation {
        let decision = self.decide(command);
        Explanation {
            verdict: decision.verdict.label(),
            summary: match &decision.verdict {
                Verdict::Allow(permit) => format!("allowed by {}", permit.rule()),
                Verdict::Deny(reason) => reason.to_string(),
            },
            revision: self.revision.clone(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.verdict, self.summary)?;
        write!(f, "revision {}", self.revision)
    }
}
