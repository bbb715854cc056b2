use std::fmt;

use serde::Serialize;

use crate::Durability;
use crate::spec::RuleAction;

/// What policy says to a command.
#[derive(Debug)]
pub struct Decision {
    /// Whether it may go on.
    pub verdict: Verdict,
    /// The rule that decided. `None`: no rule did.
    pub rule: Option<RuleRef>,
    /// What would have denied it, had every policy in `mode: Audit` counted.
    pub would_deny: Option<Reason>,
    /// Rules that matched and did not count.
    pub shadows: Vec<Shadow>,
    /// All of it in one line, for logs and records.
    pub explanation: String,
}

/// Whether a command may go on.
#[derive(Debug)]
pub enum Verdict {
    /// It may, under the permit's obligations.
    Allow(Permit),
    /// It may not.
    Deny(Reason),
}

impl Verdict {
    /// `Allow` or `Deny`: a bounded label for records and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Allow(_) => "Allow",
            Self::Deny(_) => "Deny",
        }
    }
}

/// Proof that a command was decided and allowed. Whoever forwards takes one by
/// value, so that one decision forwards one command.
///
/// Only [`Compiled::decide`](crate::Compiled::decide) makes it, and it is not
/// `Clone`:
///
/// ```compile_fail
/// fn forged(permit: &sluice_policy::Permit) -> sluice_policy::Permit {
///     sluice_policy::Permit { obligations: *permit.obligations(), rule: permit.rule().clone() }
/// }
/// ```
/// ```compile_fail
/// fn twice(permit: sluice_policy::Permit) -> (sluice_policy::Permit, sluice_policy::Permit) {
///     (permit.clone(), permit)
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    obligations: Obligations,
    rule: RuleRef,
}

impl Permit {
    /// For `decide` alone.
    pub(crate) fn new(obligations: Obligations, rule: RuleRef) -> Self {
        Self { obligations, rule }
    }

    /// What must be done with the command and its response.
    pub fn obligations(&self) -> &Obligations {
        &self.obligations
    }

    /// The rule that allowed it.
    pub fn rule(&self) -> &RuleRef {
        &self.rule
    }
}

/// What must be done with an allowed command and its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Obligations {
    /// Mask the values of Secrets, and refuse their markers on write-back.
    pub mask_secrets: bool,
    /// How safe the record must be before the command goes on; never `Auto`.
    pub durability: Durability,
    /// It was `Auto`, for what changes state: the collector must have the
    /// record, where there is one.
    pub collector_where_there_is_one: bool,
}

/// Names a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleRef {
    /// `namespace/name` of its policy, or `builtin`.
    pub policy: String,
    /// Its name there.
    pub rule: String,
}

impl RuleRef {
    /// A rule that holds without any policy.
    pub(crate) fn builtin(rule: &str) -> Self {
        Self { policy: "builtin".to_owned(), rule: rule.to_owned() }
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.policy, self.rule)
    }
}

/// Why a command was denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Stable, for programs; one of [`code`].
    pub code: &'static str,
    /// The rule that denied. `None`: no rule allowed.
    pub rule: Option<RuleRef>,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do next.
    pub fix: String,
    /// The `Allow` rules that came closest, and what they lacked.
    pub near_misses: Vec<String>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if !self.fix.is_empty() {
            write!(f, " {}", self.fix)?;
        }
        Ok(())
    }
}

/// Stable codes of [`Reason::code`].
pub mod code {
    /// No `Allow` covers it.
    pub const NO_RULE: &str = "NoRule";
    /// A `Deny` matches.
    pub const RULE_DENIED: &str = "RuleDenied";
    /// A `Deny` may match: a fact that it needs is unknown.
    pub const UNKNOWN: &str = "Unknown";
    /// The request is not understood.
    pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
    /// It goes to no target of policy.
    pub const NO_TARGET: &str = "NoTarget";
    /// No policy accepts this subject's provider for the target.
    pub const NOT_VOUCHED: &str = "NotVouched";
    /// A write to Sluice's own objects.
    pub const BUILTIN_SLUICE: &str = "BuiltinSluiceObjects";
    /// `Impersonate-*` headers.
    pub const BUILTIN_IMPERSONATION: &str = "BuiltinImpersonation";
    /// exec, attach, port-forward and other upgrades.
    pub const BUILTIN_UPGRADE: &str = "BuiltinUpgrade";
    /// A token for Sluice's own audience.
    pub const BUILTIN_TOKEN: &str = "BuiltinToken";
    /// A masked value in a write. Given by the gateway, not by `decide`.
    pub const MASK_MARKER: &str = "MaskMarker";
}

/// A rule that matched and did not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shadow {
    /// Which rule.
    pub rule: RuleRef,
    /// What it would have done.
    pub action: RuleAction,
}
