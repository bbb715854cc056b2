//! Golden cases: commands with the decision that is expected of a policy.
//!
//! A case file is YAML, by convention `NAME.case.yaml`:
//!
//! ```yaml
//! policies: [../coding-agents.yaml]        # files, relative to this one
//! workload: {namespace: agents, labels: {app: coder}}
//! cases:
//! - name: developers look around
//!   subject: {provider: entra, groups: [developers]}
//!   target: prod-aks
//!   command: list pods dev/                # or `get pods -n dev`, or `GET /api/v1/namespaces/dev/pods`
//!   expect: {verdict: Allow, rule: "agents/coding-agents:look-around", masked: true}
//! ```
//!
//! This crate reads no files: the caller hands in the text of the policies,
//! and a function that reads HTTP request lines as the gateway does.

mod line;
mod spec;

pub use line::request_line;
pub use spec::{Case, CaseFile, CaseSubject, Expectation};

use std::collections::BTreeSet;

use sluice_core::kubernetes::Request;
use sluice_core::{Action, Command, CommandTarget, Fact, Intent, IntentSource, Subject, SubjectKind};

use crate::nearest::did_you_mean;
use crate::{Compiled, Documents, Explanation, Problem, Verdict, compile};

/// Reads an HTTP request line, `(method, path with query)`, to a request
/// without a body, as the gateway reads what arrives.
pub type ReadHttp<'a> = &'a dyn Fn(&str, &str) -> Result<Request, String>;

/// What came of one case.
#[derive(Debug)]
pub struct Outcome {
    /// The case's name.
    pub name: String,
    /// The command, as it was written.
    pub command: String,
    /// Expectations that were not met, `field: expected X, got Y`. Empty: the
    /// case holds.
    pub differences: Vec<String>,
    /// Why it was decided so.
    pub explanation: Explanation,
}

impl Outcome {
    /// Whether every expectation was met.
    pub fn holds(&self) -> bool {
        self.differences.is_empty()
    }
}

impl CaseFile {
    /// Runs every case against the policies in `sources`: `(name, text)`.
    ///
    /// # Errors
    /// What is wrong with the policies, or with a case that cannot be asked.
    pub fn run(&self, sources: &[(String, String)], read_http: ReadHttp<'_>) -> Result<Vec<Outcome>, Vec<Problem>> {
        let compiled = compile(&Documents::parse(sources)?.offline(), &self.workload())?;
        let mut outcomes = Vec::new();
        let mut problems = Vec::new();
        for (index, case) in self.cases.iter().enumerate() {
            match self.command(case, &compiled, read_http) {
                Ok(command) => outcomes.push(outcome(case, &compiled, &command)),
                Err((field, message)) => problems.push(Problem {
                    document: self.name.clone(),
                    path: format!("cases[{index}].{field}"),
                    message,
                }),
            }
        }
        if problems.is_empty() { Ok(outcomes) } else { Err(problems) }
    }

    /// The command that a case is about.
    fn command(
        &self,
        case: &Case,
        compiled: &Compiled,
        read_http: ReadHttp<'_>,
    ) -> Result<Command, (&'static str, String)> {
        let mut request = match http_line(&case.command) {
            Some((method, path)) => read_http(method, path),
            None => request_line(&case.command),
        }
        .map_err(|message| ("command", message))?;
        if let Some(why) = &case.body_unknown {
            request.object = Fact::unknown(why);
        } else if let Some(body) = &case.body {
            request.object = Fact::Known(Some(body.clone()));
        }
        request.impersonates |= case.impersonates;
        let action = match &case.not_understood {
            Some(why) => Action::Unknown(why.clone()),
            None => Action::Kubernetes(Box::new(request)),
        };
        Ok(Command {
            at: case.now.unwrap_or(spec::DEFAULT_NOW),
            subject: self.subject(case.subject.as_ref().or(self.subject.as_ref()))?,
            workload: self.workload(),
            target: target(case.target.as_deref().or(self.target.as_deref()), compiled)?,
            intents: case
                .intent
                .iter()
                .map(|text| Intent { source: IntentSource::Header, text: text.clone() })
                .collect(),
            actions: vec![action],
        })
    }

    fn subject(&self, written: Option<&CaseSubject>) -> Result<Subject, (&'static str, String)> {
        let written = written.ok_or(("subject", "is missing; write it here, or once for the file".to_owned()))?;
        if written.workload {
            return Ok(Subject::workload(&self.workload()));
        }
        let provider = written
            .provider
            .clone()
            .ok_or(("subject.provider", "is missing; write it, or `workload: true`".to_owned()))?;
        let names = |list: &[String], unknown: bool| match unknown {
            true => Fact::unknown("the token does not carry all groups (overage)"),
            false => Fact::Known(list.iter().cloned().collect::<BTreeSet<String>>()),
        };
        Ok(Subject {
            kind: SubjectKind::Token,
            issuer: format!("https://{provider}.example"),
            provider,
            id: written.id.clone().unwrap_or_else(|| "somebody".to_owned()),
            kubernetes_user: written.kubernetes_user.clone(),
            groups: names(&written.groups, written.groups_unknown),
            roles: names(&written.roles, false),
            token_id: None,
            expires: None,
        })
    }
}

/// A request line of HTTP, told from a kubectl-like one by its path.
fn http_line(line: &str) -> Option<(&str, &str)> {
    let (method, path) = line.trim().split_once(' ')?;
    let path = path.trim();
    (path.starts_with('/') && method.bytes().all(|b| b.is_ascii_uppercase())).then_some((method, path))
}

/// The target by its name; the only one where none is named.
fn target(name: Option<&str>, compiled: &Compiled) -> Result<CommandTarget, (&'static str, String)> {
    let targets = compiled.targets();
    let found = match (name, targets) {
        (None, [only]) => only,
        (None, _) => return Err(("target", "is missing; write its name, here or once for the file".to_owned())),
        (Some(name), targets) => match targets.iter().find(|target| target.name == name) {
            Some(found) => found,
            // A name with a dot is a host that is no target.
            None if name.contains('.') => {
                return Ok(CommandTarget { name: name.to_owned(), host: name.to_owned(), port: 443 });
            }
            None => {
                let near = did_you_mean(name, targets.iter().map(|target| target.name.as_str()));
                return Err(("target", format!("no target is called `{name}`{near}")));
            }
        },
    };
    Ok(CommandTarget {
        name: found.name.clone(),
        host: found.host.clone(),
        port: found.ports.first().copied().unwrap_or(443),
    })
}

fn outcome(case: &Case, compiled: &Compiled, command: &Command) -> Outcome {
    let decision = compiled.decide(command);
    let expect = &case.expect;
    let mut differences = Vec::new();
    let mut compare = |field: &str, expected: Option<String>, got: String| {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            differences.push(format!("{field}: expected {expected}, got {got}"));
        }
    };
    let none = || "none".to_owned();
    let (code, masked, durability, message) = match &decision.verdict {
        Verdict::Allow(permit) => {
            let obligations = permit.obligations();
            (none(), obligations.mask_secrets.to_string(), format!("{:?}", obligations.durability), String::new())
        }
        Verdict::Deny(reason) => (reason.code.to_owned(), none(), none(), format!("{reason}")),
    };
    compare("verdict", Some(expect.verdict.clone()), decision.verdict.label().to_owned());
    compare("rule", expect.rule.clone(), decision.rule.as_ref().map_or_else(none, ToString::to_string));
    compare("code", expect.code.clone(), code);
    compare("masked", expect.masked.map(|masked| masked.to_string()), masked);
    compare("durability", expect.durability.clone(), durability);
    compare(
        "wouldDeny",
        expect.would_deny.clone(),
        decision.would_deny.as_ref().map_or_else(none, |reason| reason.code.to_owned()),
    );
    let shadows: Vec<String> =
        decision.shadows.iter().map(|shadow| format!("{} {:?}", shadow.rule, shadow.action)).collect();
    compare("shadows", expect.shadows.as_ref().map(|list| list.join(", ")), shadows.join(", "));
    if let Some(part) = &expect.message_contains {
        let whole = match &decision.verdict {
            Verdict::Deny(reason) => format!("{message} {}", reason.near_misses.join(" | ")),
            Verdict::Allow(_) => decision.explanation.clone(),
        };
        if !whole.contains(part.as_str()) {
            differences.push(format!("messageContains: expected `{part}` in `{whole}`"));
        }
    }
    Outcome {
        name: case.name.clone(),
        command: case.command.clone(),
        differences,
        explanation: compiled.explain(command),
    }
}
