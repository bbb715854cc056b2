use std::fmt;

use serde::Serialize;

/// Something wrong, or suspicious, in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Which document: `policy.yaml#2 GatewayPolicy/coding-agents`, counted
    /// from 1 in its file.
    pub document: String,
    /// Which field: `spec.rules[2].when`. Empty: the document as a whole.
    pub path: String,
    /// What is wrong with which value, and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.document)?;
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Problem {}
