//! One `GatewayPolicy`, checked.

use std::collections::BTreeSet;

use crate::documents::Document;
use crate::matcher::Matcher;
use crate::nearest::did_you_mean;
use crate::spec::{GatewayPolicy, MaskSpec, Mode, RuleAction, RuleMode, RuleSpec, SecretMask, WorkloadIdentity};
use crate::subjects::{Subjects, reporter};
use crate::when::Program;
use crate::{Problem, RuleRef, units};

use super::selector;

const MAX_RULES: usize = 1000;
const MAX_MESSAGE_BYTES: usize = 1024;

/// Which kind of document a policy was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A `GatewayPolicy`: speaks about the subjects that it identifies.
    Namespaced,
    /// A `ClusterGatewayPolicy`: its denials and masks are about everyone.
    Guard,
}

/// A policy that selects the workload.
#[derive(Debug)]
pub(crate) struct Policy {
    /// `namespace/name`; of a guard `*/name`.
    pub(crate) name: String,
    pub(crate) standing: Standing,
    pub(crate) mode: Mode,
    /// Providers whose subjects it is about.
    pub(crate) providers: Vec<String>,
    /// Whether a workload may act as itself.
    pub(crate) workload: bool,
    /// Names of its targets.
    pub(crate) targets: BTreeSet<String>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) masks: Vec<Mask>,
}

/// A checked rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) reference: RuleRef,
    pub(crate) subjects: Subjects,
    /// `None`: every target.
    pub(crate) targets: Option<BTreeSet<String>>,
    pub(crate) matcher: Matcher,
    pub(crate) when: Option<Program>,
    pub(crate) action: RuleAction,
    pub(crate) shadow: bool,
    pub(crate) message: Option<String>,
}

/// A checked mask.
#[derive(Debug)]
pub(crate) struct Mask {
    pub(crate) secrets: SecretMask,
    pub(crate) except_for: Option<Subjects>,
}

/// Checks one policy; what is wrong goes to `problems`, what is suspicious to
/// `warnings`.
pub(super) fn policy(
    document: &Document<GatewayPolicy>,
    standing: Standing,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Policy {
    let Document { label, content } = document;
    let spec = &content.spec;
    let namespace = content.metadata.namespace();
    let mut report = reporter(problems, label, "");
    if let Err(message) = units::name(&content.metadata.name) {
        report("metadata.name", message);
    }
    if let Err(message) = units::name(namespace) {
        report("metadata.namespace", message);
    }
    if let Some(selector) = &spec.selector {
        selector::check(selector, &mut |path, message| report(&format!("spec.selector{path}"), message));
    }
    check_limits(content, &mut report);
    if spec.rules.len() > MAX_RULES {
        report("spec.rules", format!("has {} rules; write at most {MAX_RULES}, or several policies", spec.rules.len()));
    }
    drop(report);

    let mut warn = reporter(warnings, label, "");
    let namespaced = standing == Standing::Namespaced;
    if namespaced
        && spec.identity.providers.is_empty()
        && spec.identity.workload == WorkloadIdentity::Denied
        && !spec.rules.is_empty()
    {
        warn(
            "spec.identity",
            "identifies nobody, so no Allow of this policy matches; list providers, or write `workload: Allowed`"
                .to_owned(),
        );
    }
    if namespaced && spec.targets.is_empty() && !spec.rules.is_empty() {
        warn("spec.targets", "is empty, so no Allow of this policy matches; add a target".to_owned());
    }
    drop(warn);

    let targets: BTreeSet<String> = spec.targets.iter().map(|target| target.name.clone()).collect();
    let name = format!("{}/{}", if namespaced { namespace } else { "*" }, content.metadata.name);
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for (index, written) in spec.rules.iter().enumerate().take(MAX_RULES) {
        let at = format!("spec.rules[{index}]");
        if !names.insert(&written.name) {
            reporter(problems, label, &at)(
                ".name",
                format!("another rule of this policy is called `{}` already; rename one", written.name),
            );
        }
        rules.push(rule(document, &name, written, &at, &targets, problems, warnings));
    }
    let masks = spec
        .masks
        .iter()
        .enumerate()
        .map(|(index, written)| mask(document, written, &format!("spec.masks[{index}]"), problems))
        .collect();
    Policy {
        name,
        standing,
        mode: spec.mode,
        providers: spec.identity.providers.clone(),
        workload: spec.identity.workload == WorkloadIdentity::Allowed,
        targets,
        rules,
        masks,
    }
}

fn rule(
    document: &Document<GatewayPolicy>,
    policy: &str,
    written: &RuleSpec,
    at: &str,
    known: &BTreeSet<String>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Rule {
    let Document { label, content } = document;
    let mut report = reporter(problems, label, at);
    let mut warn = reporter(warnings, label, at);
    if let Err(message) = units::name(&written.name) {
        report(".name", message);
    }
    let providers = &content.spec.identity.providers;
    let subjects = Subjects::new(&written.subjects, providers, content.metadata.namespace(), &mut |path, message| {
        report(&format!(".subjects{path}"), message);
    });
    let targets = rule_targets(written, known, &mut report);
    let matcher = Matcher::new(
        &written.kubernetes,
        written.action,
        &mut |path, message| report(&format!(".kubernetes{path}"), message),
        &mut |path, message| warn(&format!(".kubernetes{path}"), message),
    );
    let when = written.when.as_ref().and_then(|text| match Program::parse(text) {
        Ok(program) => Some(program),
        Err(message) => {
            report(".when", message);
            None
        }
    });
    if let Some(message) = &written.message {
        if written.action == RuleAction::Allow {
            report(".message", "is shown on denial only; remove it from an Allow".to_owned());
        }
        if message.len() > MAX_MESSAGE_BYTES || message.chars().any(char::is_control) {
            report(".message", format!("must be one line of at most {MAX_MESSAGE_BYTES} bytes; shorten it"));
        }
    }
    Rule {
        reference: RuleRef { policy: policy.to_owned(), rule: written.name.clone() },
        subjects,
        targets,
        matcher,
        when,
        action: written.action,
        shadow: written.mode == RuleMode::Audit,
        message: written.message.clone(),
    }
}

fn rule_targets(
    written: &RuleSpec,
    known: &BTreeSet<String>,
    report: &mut impl FnMut(&str, String),
) -> Option<BTreeSet<String>> {
    let Some(list) = &written.targets else {
        if written.action == RuleAction::Allow {
            report(
                ".targets",
                "is missing; an Allow spells out what it covers: list targets, or write \"*\" for all".to_owned(),
            );
        }
        return None;
    };
    if list.is_empty() {
        report(".targets", "is empty; list at least one, or write \"*\" for all".to_owned());
    }
    let mut everything = false;
    let mut targets = BTreeSet::new();
    for (index, name) in list.iter().enumerate() {
        if name == "*" {
            everything = true;
        } else if known.contains(name) {
            targets.insert(name.clone());
        } else {
            let near = did_you_mean(name, known.iter().map(String::as_str));
            let near = if near.is_empty() { ";".to_owned() } else { near };
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let rest = match known.as_slice() {
                [] => "spec.targets is empty: add it there".to_owned(),
                known => format!("Targets of this policy: {}", known.join(", ")),
            };
            report(&format!(".targets[{index}]"), format!("no target is called `{name}`{near} {rest}"));
        }
    }
    match (everything, written.action) {
        // A `Deny` of everything reaches targets of other policies too.
        (true, RuleAction::Deny) => None,
        (true, RuleAction::Allow) => Some(known.clone()),
        (false, _) => Some(targets),
    }
}

fn mask(document: &Document<GatewayPolicy>, written: &MaskSpec, at: &str, problems: &mut Vec<Problem>) -> Mask {
    let Document { label, content } = document;
    let mut report = reporter(problems, label, at);
    if let Err(message) = units::name(&written.name) {
        report(".name", message);
    }
    if written.kubernetes.secrets == SecretMask::Off && written.except_for.is_some() {
        report(".exceptFor", "has no meaning with `secrets: Off`; remove it, or write `secrets: Values`".to_owned());
    }
    let providers = &content.spec.identity.providers;
    let except_for = written.except_for.as_ref().map(|subjects| {
        Subjects::new(subjects, providers, content.metadata.namespace(), &mut |path, message| {
            report(&format!(".exceptFor{path}"), message);
        })
    });
    Mask { secrets: written.kubernetes.secrets, except_for }
}

fn check_limits(content: &GatewayPolicy, report: &mut impl FnMut(&str, String)) {
    let limits = &content.spec.limits;
    for (field, value) in
        [("commandsPerMinute", limits.commands_per_minute), ("concurrentSessions", limits.concurrent_sessions)]
    {
        if value == Some(0) {
            report(&format!("spec.limits.{field}"), "`0` would stop everything; write at least 1".to_owned());
        }
    }
    if let Some(Err(message)) = limits.response_bytes.as_ref().map(units::bytes) {
        report("spec.limits.responseBytes", message);
    }
    match content.spec.max_policy_age.as_deref().map(units::duration) {
        Some(Err(message)) => report("spec.maxPolicyAge", message),
        Some(Ok(age)) if age.is_zero() => {
            report("spec.maxPolicyAge", "`0` would stop everything; write a time such as 24h".to_owned());
        }
        _ => {}
    }
}
