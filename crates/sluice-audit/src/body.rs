//! The bodies that every reader understands. What else a writer has to say it
//! adds with [`Record::with`].

mod commands;

use serde::{Deserialize, Serialize};
use sluice_core::Command;

use crate::record::{Kind, Record};

/// A command and what was decided: the body of an intent, or of a refusal.
#[derive(Debug, Clone)]
pub struct Decided<'a> {
    /// The command. Decoded bodies of requests are left out (they may hold
    /// secrets): what may be kept is added by [`Record::with`], masked.
    pub command: &'a Command,
    /// What was decided.
    pub verdict: Verdict,
    /// The rule that decided, if one did.
    pub rule: Option<Rule>,
    /// Why not, for a denial.
    pub reason: Option<Reason>,
    /// What would have been denied if the policy were enforced.
    pub would_deny: Option<Reason>,
    /// Rules that are only watched, and what they would have said.
    pub shadows: Vec<Shadow>,
    /// Revision of the policy.
    pub revision: &'a str,
    /// One line for people.
    pub explanation: &'a str,
}

impl Record {
    /// Before a command is forwarded.
    pub fn intent(decided: &Decided<'_>) -> Self {
        decided.record(Kind::Intent)
    }

    /// Instead of forwarding a command.
    pub fn refused(decided: &Decided<'_>) -> Self {
        decided.record(Kind::Refused)
    }

    /// What came of a command.
    pub fn outcome(outcome: &Outcome) -> Self {
        Self::new(Kind::Outcome).with_all(outcome)
    }

    /// How far a stream has come.
    pub fn progress(progress: &Progress) -> Self {
        Self::new(Kind::Progress).with_all(progress)
    }

    /// A policy revision was taken or refused.
    pub fn config(config: &Config) -> Self {
        Self::new(Kind::Config).with_all(config)
    }
}

impl Decided<'_> {
    /// Fields in the order in which they are stored.
    fn record(&self, kind: Kind) -> Record {
        let mut record = Record::new(kind)
            .with("command", commands::WithoutBodies(self.command))
            .with("explanation", self.explanation);
        if let Some(reason) = &self.reason {
            record = record.with("reason", reason);
        }
        record = record.with("revision", self.revision);
        if let Some(rule) = &self.rule {
            record = record.with("rule", rule);
        }
        if !self.shadows.is_empty() {
            record = record.with("shadows", &self.shadows);
        }
        record = record.with("verdict", self.verdict);
        if let Some(reason) = &self.would_deny {
            record = record.with("wouldDeny", reason);
        }
        record
    }
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Forwarded.
    Allow,
    /// Refused.
    Deny,
}

/// A rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `namespace/name` of the policy, or `builtin`.
    pub policy: String,
    /// Name of the rule in it.
    pub rule: String,
}

/// Why a command was refused, as the agent was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Stable word, such as `NoRule`.
    pub code: String,
    /// For people.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

/// A rule that is watched, not enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shadow {
    /// The rule.
    pub rule: Rule,
    /// What it would have done: `Allow` or `Deny`.
    pub action: String,
}

/// What came of a forwarded command.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// `done`, `failed`, `abandoned` (the client went away) or `unknown`.
    pub outcome: String,
    /// HTTP status of the upstream, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the response body that the agent received.
    #[serde(default)]
    pub bytes: u64,
    /// Microseconds since the intent.
    #[serde(default)]
    pub duration_us: u64,
    /// The upstream's name for the request (`Audit-Id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_id: Option<String>,
    /// Values masked, by mask.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub masks: std::collections::BTreeMap<String, u64>,
    /// What broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a stream has come.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Bytes that the agent received so far.
    pub bytes: u64,
    /// Microseconds since the intent.
    pub duration_us: u64,
    /// Values masked so far, by mask.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub masks: std::collections::BTreeMap<String, u64>,
}

/// A policy revision.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Revision in force from here on.
    pub revision: String,
    /// Whether the newest files were taken; if not, the revision before stays.
    pub taken: bool,
    /// Where it came from: file names.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Why it was not taken, or what it warns of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}
