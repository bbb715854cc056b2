use sluice_core::Command;

use crate::{Compiled, Decision, Reason, Verdict, code};

impl Compiled {
    /// Decides a command. Never fails: what cannot be decided is denied.
    pub fn decide(&self, command: &Command) -> Decision {
        let reason = Reason {
            code: code::NO_RULE,
            rule: None,
            message: format!("no rule allows this at target {}.", command.target.name),
            fix: "Ask for an Allow rule.".to_owned(),
            near_misses: Vec::new(),
        };
        Decision {
            explanation: reason.to_string(),
            verdict: Verdict::Deny(reason),
            rule: None,
            would_deny: None,
            shadows: Vec::new(),
        }
    }
}
