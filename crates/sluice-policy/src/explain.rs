//! Why a command is decided as it is, rule by rule.

use std::fmt;

use serde::Serialize;
use sluice_core::{Action, Command};

use crate::decide::describe;
use crate::evaluate::{Condition, Question};
use crate::spec::RuleAction;
use crate::{Answer, Compiled, Obligations, Reason, RuleRef, Shadow, Verdict};

/// Why a command is decided as it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `Allow` or `Deny`.
    pub verdict: &'static str,
    /// The rule that decided.
    pub rule: Option<RuleRef>,
    /// The decision in one line.
    pub summary: String,
    /// What to do next, where it was denied.
    pub reason: Option<Reason>,
    /// What must be done with it, where it was allowed.
    pub obligations: Option<Obligations>,
    /// What would have denied it, had every policy counted.
    pub would_deny: Option<Reason>,
    /// Rules that matched and did not count.
    pub shadows: Vec<Shadow>,
    /// Which policy was asked.
    pub revision: String,
    /// Each request of the command, and every rule's answer to it.
    pub actions: Vec<ExplainedAction>,
}

/// One request of a command.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedAction {
    /// The request in words.
    pub action: String,
    /// Every rule of every policy of the workload.
    pub rules: Vec<ExplainedRule>,
}

/// One rule's answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedRule {
    /// Which rule.
    pub rule: RuleRef,
    /// What it does when it matches.
    pub action: RuleAction,
    /// Whether it matches.
    pub matches: Answer,
    /// Whether it counts; if not, why not.
    pub ignored: Option<&'static str>,
    /// What it lacks: each condition that does not hold.
    pub lacks: Vec<Lack>,
}

/// A condition that does not hold.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lack {
    /// The field of the rule.
    pub field: &'static str,
    /// Whether it is known not to hold.
    pub answer: Answer,
    /// Why, in words.
    pub detail: String,
}

impl Compiled {
    /// Explains the decision on a command. Slower than
    /// [`decide`](Self::decide), and always of the same verdict.
    pub fn explain(&self, command: &Command) -> Explanation {
        let decision = self.decide(command);
        let (reason, obligations) = match &decision.verdict {
            Verdict::Allow(permit) => (None, Some(*permit.obligations())),
            Verdict::Deny(reason) => (Some(reason.clone()), None),
        };
        Explanation {
            verdict: decision.verdict.label(),
            rule: decision.rule,
            summary: decision.explanation,
            reason,
            obligations,
            would_deny: decision.would_deny,
            shadows: decision.shadows,
            revision: self.revision.clone(),
            actions: command.actions.iter().map(|action| self.explain_action(command, action)).collect(),
        }
    }

    fn explain_action(&self, command: &Command, action: &Action) -> ExplainedAction {
        let request = match action {
            Action::Kubernetes(request) => request.as_ref(),
            Action::Unknown(why) => {
                return ExplainedAction { action: format!("not understood: {why}"), rules: Vec::new() };
            }
        };
        let question = Question { command, request };
        let mut rules = Vec::new();
        for policy in &self.policies {
            for rule in &policy.rules {
                let lacks = Condition::ALL
                    .into_iter()
                    .map(|condition| (condition, rule.holds(condition, question)))
                    .filter(|(_, answer)| *answer != Answer::Yes)
                    .map(|(condition, answer)| Lack {
                        field: condition.field(),
                        answer,
                        detail: rule.lacks(condition, question),
                    })
                    .collect();
                rules.push(ExplainedRule {
                    rule: rule.reference.clone(),
                    action: rule.action,
                    matches: rule.matches(question),
                    ignored: self.why_ignored(policy, rule, command),
                    lacks,
                });
            }
        }
        ExplainedAction { action: describe(request), rules }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary)?;
        if let Some(reason) = &self.reason {
            writeln!(f, "  do: {}", reason.fix)?;
            for miss in &reason.near_misses {
                writeln!(f, "  near miss: {miss}")?;
            }
        }
        if let Some(obligations) = &self.obligations {
            let masks = if obligations.mask_secrets { "values of Secrets masked" } else { "Secrets shown" };
            writeln!(f, "  obligations: {masks}, record {:?}", obligations.durability)?;
        }
        for action in &self.actions {
            writeln!(f, "{}", action.action)?;
            for rule in &action.rules {
                let answer = match rule.matches {
                    Answer::Yes => "matches",
                    Answer::No => "does not match",
                    Answer::Unknown => "may match",
                };
                write!(f, "  {} {:?} {answer}", rule.rule, rule.action)?;
                match rule.ignored {
                    Some(why) => writeln!(f, " (does not count: {why})")?,
                    None => writeln!(f)?,
                }
                for lack in &rule.lacks {
                    writeln!(f, "    {}: {}", lack.field, lack.detail)?;
                }
            }
        }
        Ok(())
    }
}
