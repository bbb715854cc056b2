//! The decision (in the words of its rules: `Deny` wins, an `Allow` covers
//! all, unknown fails closed, shadows and `Audit` policies do not count).

use sluice_core::kubernetes::{Request, Scope};
use sluice_core::{Action, Command, SubjectKind};

use crate::compile::{Policy, Rule, Standing};
use crate::evaluate::{Condition, Question};
use crate::spec::{Mode, RuleAction, SecretMask};
use crate::tri::Answer;
use crate::{Compiled, Decision, Durability, Obligations, Permit, Reason, RuleRef, Shadow, Verdict, builtin, code};

/// Near misses that a denial names.
const NEAR_MISSES: usize = 3;

/// What the counted rules say to one request.
enum Outcome<'a> {
    Denied(&'a Rule, Answer),
    Allowed(&'a Rule),
    Discovery,
    Nothing,
}

/// Which policies' rules count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    Enforced,
    All,
}

impl Compiled {
    /// Decides a command: the strictest verdict of its actions. Never fails:
    /// what cannot be decided is denied.
    pub fn decide(&self, command: &Command) -> Decision {
        let mut shadows = Vec::new();
        let mut would_deny = None;
        let mut allowed_by = None;
        for action in &command.actions {
            match self.decide_action(command, action, &mut shadows, &mut would_deny) {
                Ok(rule) => {
                    allowed_by.get_or_insert(rule);
                }
                Err(reason) => return self.denied(*reason, shadows),
            }
        }
        match allowed_by {
            Some(rule) => self.allowed(command, rule, shadows, would_deny),
            None => self.denied(not_understood("the command holds no action"), shadows),
        }
    }

    /// The rule that allows one action, or why it is denied.
    fn decide_action(
        &self,
        command: &Command,
        action: &Action,
        shadows: &mut Vec<Shadow>,
        would_deny: &mut Option<Reason>,
    ) -> Result<RuleRef, Box<Reason>> {
        let request = match action {
            Action::Kubernetes(request) => request.as_ref(),
            // Denied in every mode: what is not understood cannot be masked.
            Action::Unknown(why) => return Err(Box::new(not_understood(why))),
        };
        if let Some(reason) = builtin::denial(command, request) {
            return Err(Box::new(reason));
        }
        self.check_target(command)?;
        let question = Question { command, request };
        self.collect_shadows(question, shadows);
        let enforced = self.enforced(&command.target.name);
        if enforced || self.denied_elsewhere(question) {
            let rule = self.verdict(self.judge(question, Counted::Enforced), question)?;
            let audited = self.policies.iter().any(|policy| policy.mode == Mode::Audit);
            if audited && would_deny.is_none() {
                *would_deny = self.verdict(self.judge(question, Counted::All), question).err().map(|reason| *reason);
            }
            return Ok(rule);
        }
        match self.verdict(self.judge(question, Counted::All), question) {
            Ok(rule) => Ok(rule),
            Err(reason) => {
                would_deny.get_or_insert(*reason);
                let policy = self.naming(&command.target.name).next().map_or("builtin", |policy| &policy.name);
                Ok(RuleRef { policy: policy.to_owned(), rule: "mode-audit".to_owned() })
            }
        }
    }

    /// The command goes to a target, and some policy of it identifies the
    /// subject.
    fn check_target(&self, command: &Command) -> Result<(), Box<Reason>> {
        let asked = &command.target;
        let known = self
            .targets
            .iter()
            .any(|target| target.name == asked.name && target.host == asked.host && target.ports.contains(&asked.port));
        if !known {
            return Err(Box::new(Reason {
                code: code::NO_TARGET,
                rule: None,
                message: format!("{}:{} is no target of policy.", asked.host, asked.port),
                fix: "Add it under spec.targets of a GatewayPolicy of this namespace.".to_owned(),
                near_misses: Vec::new(),
            }));
        }
        if self.naming(&asked.name).any(|policy| policy.identifies(command)) {
            return Ok(());
        }
        let (message, fix) = match command.subject.kind {
            SubjectKind::Workload => (
                format!("no policy lets a workload without a token act at target {}.", asked.name),
                "Present a token, or write `workload: Allowed` under spec.identity.".to_owned(),
            ),
            SubjectKind::Token => (
                format!(
                    "no policy accepts subjects of provider `{}` at target {}.",
                    command.subject.provider, asked.name
                ),
                "Use a token of a provider under spec.identity.providers, or add this one there.".to_owned(),
            ),
        };
        Err(Box::new(Reason { code: code::NOT_VOUCHED, rule: None, message, fix, near_misses: Vec::new() }))
    }

    /// Any matching `Deny` wins; else an `Allow` that covers everything.
    fn judge<'a>(&'a self, question: Question<'_>, counted: Counted) -> Outcome<'a> {
        let mut allowed = None;
        let mut denied: Option<(&Rule, Answer)> = None;
        for (policy, rule) in self.rules(question.command, counted) {
            match (rule.action, rule.matches(question)) {
                // A certain denial explains better than a possible one.
                (RuleAction::Deny, answer @ (Answer::Yes | Answer::Unknown))
                    if denied.is_none_or(|(_, earlier)| earlier == Answer::Unknown && answer == Answer::Yes) =>
                {
                    denied = Some((rule, answer));
                }
                (RuleAction::Allow, Answer::Yes) if policy.grants(question.command) => {
                    allowed.get_or_insert(rule);
                }
                _ => {}
            }
        }
        match (denied, allowed) {
            (Some((rule, answer)), _) => Outcome::Denied(rule, answer),
            (None, Some(rule)) => Outcome::Allowed(rule),
            (None, None) if self.may_discover(question, counted) => Outcome::Discovery,
            (None, None) => Outcome::Nothing,
        }
    }

    /// Whoever some `Allow` is about may read what the API server offers.
    fn may_discover(&self, question: Question<'_>, counted: Counted) -> bool {
        builtin::is_discovery(question.request)
            && self.rules(question.command, counted).any(|(policy, rule)| {
                rule.action == RuleAction::Allow
                    && policy.grants(question.command)
                    && rule.holds(Condition::Targets, question) == Answer::Yes
                    && rule.holds(Condition::Subjects, question) == Answer::Yes
            })
    }

    fn verdict(&self, outcome: Outcome<'_>, question: Question<'_>) -> Result<RuleRef, Box<Reason>> {
        let asked = || describe(question.request);
        let reason = match outcome {
            Outcome::Allowed(rule) => return Ok(rule.reference.clone()),
            Outcome::Discovery => return Ok(builtin::discovery()),
            Outcome::Denied(rule, Answer::Unknown) => {
                let unknown = Condition::ALL
                    .into_iter()
                    .find(|condition| rule.holds(*condition, question) == Answer::Unknown)
                    .map(|condition| rule.lacks(condition, question))
                    .unwrap_or_default();
                Reason {
                    code: code::UNKNOWN,
                    rule: Some(rule.reference.clone()),
                    message: format!("rule {} may deny {}: {unknown}.", rule.reference, asked()),
                    fix: rule.message.clone().unwrap_or_else(|| {
                        "What is not known counts as denied; ask in a form that shows it.".to_owned()
                    }),
                    near_misses: Vec::new(),
                }
            }
            Outcome::Denied(rule, _) => Reason {
                code: code::RULE_DENIED,
                rule: Some(rule.reference.clone()),
                message: format!("rule {} denies {}.", rule.reference, asked()),
                fix: rule.message.clone().unwrap_or_else(|| {
                    format!("Ask whoever keeps policy {}: no Allow outweighs it.", rule.reference.policy)
                }),
                near_misses: Vec::new(),
            },
            Outcome::Nothing => Reason {
                code: code::NO_RULE,
                rule: None,
                message: format!("no rule allows {} at target {}.", asked(), question.command.target.name),
                fix: self.whom_to_ask(&question.command.target.name),
                near_misses: self.near_misses(question),
            },
        };
        Err(Box::new(reason))
    }

    fn whom_to_ask(&self, target: &str) -> String {
        let names: Vec<&str> = self.naming(target).map(|policy| policy.name.as_str()).collect();
        format!("Ask for an Allow in policy {}.", crate::nearest::one_of(&names))
    }

    /// The `Allow` rules that lack the fewest conditions, and which.
    fn near_misses(&self, question: Question<'_>) -> Vec<String> {
        let mut misses: Vec<(usize, String)> = self
            .rules(question.command, Counted::All)
            .filter(|(policy, rule)| rule.action == RuleAction::Allow && policy.grants(question.command))
            .map(|(_, rule)| {
                let lacking: Vec<String> = Condition::ALL
                    .into_iter()
                    .filter(|condition| rule.holds(*condition, question) != Answer::Yes)
                    .map(|condition| rule.lacks(condition, question))
                    .collect();
                (lacking.len(), format!("{}: {}", rule.reference, lacking.join("; ")))
            })
            .filter(|(lacking, _)| *lacking > 0)
            .collect();
        misses.sort_by_key(|(lacking, _)| *lacking);
        let fewest = misses.first().map_or(0, |(lacking, _)| *lacking);
        misses
            .into_iter()
            .take_while(|(lacking, _)| *lacking == fewest)
            .take(NEAR_MISSES)
            .map(|(_, text)| text)
            .collect()
    }

    /// Rules that match and do not count: shadows, and those of `Audit`
    /// policies beside an `Enforce` policy.
    fn collect_shadows(&self, question: Question<'_>, shadows: &mut Vec<Shadow>) {
        let enforced = self.enforced(&question.command.target.name);
        for policy in &self.policies {
            for rule in &policy.rules {
                let idle = rule.shadow || (policy.mode == Mode::Audit && enforced);
                if !idle || !policy.hears(question.command, rule.action) {
                    continue;
                }
                let matched = match (rule.action, rule.matches(question)) {
                    (RuleAction::Allow, answer) => answer == Answer::Yes,
                    (RuleAction::Deny, answer) => answer != Answer::No,
                };
                let shadow = Shadow { rule: rule.reference.clone(), action: rule.action };
                if matched && !shadows.contains(&shadow) {
                    shadows.push(shadow);
                }
            }
        }
    }

    /// Why a rule has no effect on a command, whatever it says.
    pub(crate) fn why_ignored(&self, policy: &Policy, rule: &Rule, command: &Command) -> Option<&'static str> {
        if rule.shadow {
            Some("mode: Audit of the rule")
        } else if !policy.hears(command, rule.action) {
            Some("its policy does not identify the subject")
        } else if rule.action == RuleAction::Allow && !policy.grants(command) {
            Some("its policy does not name the target")
        } else if policy.mode == Mode::Audit && self.enforced(&command.target.name) {
            Some("mode: Audit of the policy, beside one that is Enforce")
        } else {
            None
        }
    }

    /// An `Enforce` policy that does not name the target denies there all the
    /// same where its `Deny` is about every target.
    fn denied_elsewhere(&self, question: Question<'_>) -> bool {
        matches!(self.judge(question, Counted::Enforced), Outcome::Denied(..))
    }

    /// Rules that count, with their policies.
    fn rules<'a, 'c>(
        &'a self,
        command: &'c Command,
        counted: Counted,
    ) -> impl Iterator<Item = (&'a Policy, &'a Rule)> + use<'a, 'c> {
        self.policies
            .iter()
            .filter(move |policy| counted == Counted::All || policy.mode == Mode::Enforce)
            .flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)))
            .filter(move |(policy, rule)| !rule.shadow && policy.hears(command, rule.action))
    }

    /// Policies that name the target.
    fn naming<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a Policy> {
        self.policies.iter().filter(move |policy| policy.targets.contains(target))
    }

    fn enforced(&self, target: &str) -> bool {
        self.naming(target).any(|policy| policy.mode == Mode::Enforce)
    }

    fn obligations(&self, command: &Command) -> Obligations {
        let changes = command.actions.iter().any(|action| match action {
            Action::Kubernetes(request) => request.changes_state(),
            Action::Unknown(_) => true,
        });
        let durability = match self.audit.durability {
            Durability::Auto if changes => Durability::Disk,
            Durability::Auto => Durability::Process,
            asked => asked,
        };
        // On, unless every policy that names the target says otherwise and no
        // guard insists.
        let mut guards = self.policies.iter().filter(|policy| policy.standing == Standing::Guard);
        let mask_secrets = self.naming(&command.target.name).any(|policy| policy.masks_secrets(command))
            || self.naming(&command.target.name).next().is_none()
            || guards.any(|guard| !guard.masks.is_empty() && guard.masks_secrets(command));
        let collector_where_there_is_one = changes && self.audit.durability == Durability::Auto;
        Obligations { mask_secrets, durability, collector_where_there_is_one }
    }

    fn allowed(&self, command: &Command, rule: RuleRef, shadows: Vec<Shadow>, would_deny: Option<Reason>) -> Decision {
        let mut explanation = format!("allowed by {rule}, revision {}", self.revision);
        if let Some(reason) = &would_deny {
            explanation.push_str(&format!("; would be denied in Enforce: {}", reason.message));
        }
        Decision {
            rule: Some(rule.clone()),
            verdict: Verdict::Allow(Permit::new(self.obligations(command), rule)),
            would_deny,
            shadows,
            explanation,
        }
    }

    fn denied(&self, reason: Reason, shadows: Vec<Shadow>) -> Decision {
        Decision {
            rule: reason.rule.clone(),
            explanation: format!("denied ({}), revision {}: {}", reason.code, self.revision, reason.message),
            verdict: Verdict::Deny(reason),
            would_deny: None,
            shadows,
        }
    }
}

impl Policy {
    /// Whether it vouches for the subject.
    fn identifies(&self, command: &Command) -> bool {
        match command.subject.kind {
            SubjectKind::Token => self.providers.contains(&command.subject.provider),
            SubjectKind::Workload => self.workload,
        }
    }

    /// Whether its `Allow` rules can count: it names the target, and vouches
    /// for the subject.
    fn grants(&self, command: &Command) -> bool {
        self.targets.contains(&command.target.name) && self.identifies(command)
    }

    /// Whether its rules of this action are about the subject. A workload
    /// cannot get away from a `Deny` by presenting no token.
    fn hears(&self, command: &Command, action: RuleAction) -> bool {
        let everyone = self.standing == Standing::Guard || command.subject.kind == SubjectKind::Workload;
        self.identifies(command) || (action == RuleAction::Deny && everyone)
    }

    /// Whether it wants Secrets masked for this subject: so by default, and
    /// wherever the exception is not certain.
    fn masks_secrets(&self, command: &Command) -> bool {
        if self.masks.is_empty() {
            return true;
        }
        self.masks.iter().any(|mask| {
            let excepted = mask.except_for.as_ref().is_some_and(|subjects| {
                (self.standing == Standing::Guard || self.identifies(command))
                    && subjects.matches(&command.subject) == Answer::Yes
            });
            mask.secrets == SecretMask::Values && !excepted
        })
    }
}

fn not_understood(why: &str) -> Reason {
    Reason {
        code: code::NOT_UNDERSTOOD,
        rule: None,
        message: format!("the request is not understood: {why}."),
        fix: "Ask in a form that the API's documentation describes.".to_owned(),
        near_misses: Vec::new(),
    }
}

/// A request in words: `delete deployments.apps/web in namespace dev`.
pub(crate) fn describe(request: &Request) -> String {
    match &request.scope {
        Scope::NonResource(path) => format!("{} {path}", request.verb),
        Scope::Resource(resource) => {
            let mut text = format!("{} {}", request.verb, resource.qualified());
            if let Some(name) = &resource.name {
                text.push_str(&format!(" `{name}`"));
            }
            if let Some(namespace) = &resource.namespace {
                text.push_str(&format!(" in namespace {namespace}"));
            }
            text
        }
    }
}
