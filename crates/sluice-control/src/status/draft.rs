use jiff::Timestamp;
use sluice_k8s::crds::{Condition, PolicyStatus, ProviderStatus, condition};

/// One condition without its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is so.
    pub holds: bool,
    /// One word.
    pub reason: &'static str,
    /// What is wrong where, and what to do.
    pub message: String,
}

/// What a status says, without its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Generation that was judged.
    pub generation: Option<i64>,
    /// It can be read, and what it refers to is there.
    pub accepted: Finding,
    /// It compiles.
    pub compiled: Finding,
    /// The pods decide by it.
    pub programmed: Finding,
    /// Pods that it is about.
    pub matched: i32,
    /// Of these, those that decide by it.
    pub pods: i32,
    /// Names its content.
    pub revision: String,
}

impl Finding {
    /// It is so.
    pub fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self { holds: true, reason, message: message.into() }
    }

    /// It is not.
    pub fn no(reason: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        let end = (0..=MAX_MESSAGE.min(message.len())).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        if end < message.len() {
            message.truncate(end);
            message.push('…');
        }
        Self { holds: false, reason, message }
    }
}

/// Bytes of a message; the API server's conditions take 32,768.
const MAX_MESSAGE: usize = 4096;

impl Draft {
    /// The status of a policy. `present`: the one that is there now; a revision
    /// that does not compile keeps the name of the last that did.
    pub fn policy(&self, present: Option<&PolicyStatus>, now: Timestamp) -> PolicyStatus {
        let before = present.map(|status| status.conditions.as_slice()).unwrap_or_default();
        let revision = if self.compiled.holds {
            Some(self.revision.clone())
        } else {
            present.and_then(|status| status.revision.clone())
        };
        PolicyStatus {
            observed_generation: self.generation,
            conditions: vec![
                self.condition(condition::ACCEPTED, &self.accepted, before, now),
                self.condition(condition::COMPILED, &self.compiled, before, now),
                self.condition(condition::PROGRAMMED, &self.programmed, before, now),
            ],
            matched_pods: Some(self.matched),
            programmed_pods: Some(self.pods),
            revision,
        }
    }

    /// The status of a provider: it is fine, or not.
    pub fn provider(&self, present: Option<&ProviderStatus>, now: Timestamp) -> ProviderStatus {
        let before = present.map(|status| status.conditions.as_slice()).unwrap_or_default();
        let finding = if self.accepted.holds { &self.compiled } else { &self.accepted };
        ProviderStatus {
            observed_generation: self.generation,
            conditions: vec![self.condition(condition::ACCEPTED, finding, before, now)],
        }
    }

    /// The time stays while the status does.
    fn condition(&self, type_: &str, finding: &Finding, before: &[Condition], now: Timestamp) -> Condition {
        let status = if finding.holds { "True" } else { "False" };
        let same = before.iter().find(|one| one.type_ == type_ && one.status == status);
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: finding.reason.to_owned(),
            message: finding.message.clone(),
            last_transition_time: same.map_or(now, |one| one.last_transition_time.clone()),
            observed_generation: self.generation,
        }
    }
}
