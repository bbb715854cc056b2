//! Whether one rule matches one action.

use sluice_core::Command;
use sluice_core::kubernetes::Request;

use crate::compile::Rule;
use crate::matcher::{Part, Quantifier};
use crate::tri::Answer;

/// One request of a command, as rules look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) command: &'a Command,
    pub(crate) request: &'a Request,
}

/// One condition of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Subjects,
    Targets,
    Part(Part),
    When,
}

impl Condition {
    /// In the order in which they are cheap to ask.
    pub(crate) const ALL: [Self; 8] = [
        Self::Targets,
        Self::Subjects,
        Self::Part(Part::Verbs),
        Self::Part(Part::Resources),
        Self::Part(Part::Namespaces),
        Self::Part(Part::Names),
        Self::Part(Part::Paths),
        Self::When,
    ];

    /// The field of the rule.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Subjects => "subjects",
            Self::Targets => "targets",
            Self::Part(part) => part.field(),
            Self::When => "when",
        }
    }
}

impl Rule {
    /// Whether the rule matches: every condition holds. `No` of one outweighs
    /// `Unknown` of another.
    pub(crate) fn matches(&self, question: Question<'_>) -> Answer {
        let mut all = Answer::Yes;
        for condition in Condition::ALL {
            all = all.and(self.holds(condition, question));
            if all == Answer::No {
                break;
            }
        }
        all
    }

    /// Whether one condition holds.
    pub(crate) fn holds(&self, condition: Condition, question: Question<'_>) -> Answer {
        let Question { command, request } = question;
        match condition {
            Condition::Subjects => self.subjects.matches(&command.subject),
            Condition::Targets => {
                Answer::from_bool(self.targets.as_ref().is_none_or(|targets| targets.contains(&command.target.name)))
            }
            Condition::Part(part) => self.matcher.part(part, request, Quantifier::from(self.action)),
            Condition::When => self.when.as_ref().map_or(Answer::Yes, |when| when.evaluate(question).0),
        }
    }

    /// What a condition that does not hold lacks, in words.
    pub(crate) fn lacks(&self, condition: Condition, question: Question<'_>) -> String {
        let Question { command, request } = question;
        match condition {
            Condition::Subjects => match self.subjects.matches(&command.subject) {
                Answer::Unknown => {
                    format!("whether the subject is {} is not known", self.subjects.describe())
                }
                _ => format!("the subject is not {}", self.subjects.describe()),
            },
            Condition::Targets => format!("target `{}` is not covered by targets", command.target.name),
            Condition::Part(part) => self.matcher.lacks(part, request),
            Condition::When => match self.when.as_ref().map(|when| when.evaluate(question)) {
                Some((Answer::Unknown, why)) => {
                    format!("when: not known: {}", why.as_deref().unwrap_or("a fact is missing"))
                }
                _ => format!("when: `{}` is false", self.when.as_ref().map_or("", |when| when.source())),
            },
        }
    }
}
