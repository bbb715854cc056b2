//! Which requests to a Kubernetes API server a rule is about.

use sluice_core::kubernetes::{Patch, Request, Resource, Scope};

use crate::nearest::{did_you_mean, one_of};
use crate::spec::{KubernetesRule, RuleAction};
use crate::tri::Answer;
use crate::units::glob;
use crate::wellknown;

/// Verbs of requests about resources.
pub(crate) const RESOURCE_VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
/// Verbs of requests about other paths: their methods.
pub(crate) const PATH_VERBS: [&str; 7] = ["get", "head", "post", "put", "patch", "delete", "options"];
/// Entries of one list.
const MAX_ENTRIES: usize = 1024;

/// A checked matcher. An absent list stands for everything, which only a
/// `Deny` may leave absent.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    verbs: Option<Vec<String>>,
    resources: Option<Vec<Pattern>>,
    namespaces: Option<Vec<String>>,
    names: Option<Vec<String>>,
    paths: Option<Vec<String>>,
}

/// How much of a request must fit: an `Allow` covers all of it, a `Deny`
/// touches some of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Cover,
    Touch,
}

impl From<RuleAction> for Quantifier {
    fn from(action: RuleAction) -> Self {
        match action {
            RuleAction::Allow => Self::Cover,
            RuleAction::Deny => Self::Touch,
        }
    }
}

/// One part of a matcher, as explanations name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Verbs,
    Resources,
    Namespaces,
    Names,
    Paths,
}

impl Part {
    /// The field of the rule.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Verbs => "verbs",
            Self::Resources => "resources",
            Self::Namespaces => "namespaces",
            Self::Names => "names",
            Self::Paths => "nonResourceURLs",
        }
    }
}

impl Matcher {
    /// Checks what was written. `report` takes a path below the matcher, and
    /// what is wrong; `warn` what is merely suspicious.
    pub(crate) fn new(
        written: &KubernetesRule,
        action: RuleAction,
        report: &mut impl FnMut(&str, String),
        warn: &mut impl FnMut(&str, String),
    ) -> Self {
        check_presence(written, action, report);
        for (field, list) in [
            ("verbs", &written.verbs),
            ("resources", &written.resources),
            ("namespaces", &written.namespaces),
            ("names", &written.names),
            ("nonResourceURLs", &written.non_resource_urls),
        ] {
            let Some(list) = list else { continue };
            if list.is_empty() {
                report(&format!(".{field}"), "is empty; list at least one, or write \"*\" for all".to_owned());
            }
            if list.len() > MAX_ENTRIES {
                report(&format!(".{field}"), format!("has {} entries; write at most {MAX_ENTRIES}", list.len()));
            }
        }
        check_verbs(written, report);
        check_words(written, report);
        let mut resources = Vec::new();
        for (index, text) in written.resources.iter().flatten().enumerate() {
            let at = format!(".resources[{index}]");
            match Pattern::parse(text) {
                Ok((pattern, warning)) => {
                    resources.push(pattern);
                    if let Some(warning) = warning {
                        warn(&at, warning);
                    }
                }
                Err(message) => report(&at, message),
            }
        }
        Self {
            verbs: written.verbs.clone(),
            resources: written.resources.as_ref().map(|_| resources),
            namespaces: written.namespaces.clone(),
            names: written.names.clone(),
            paths: written.non_resource_urls.clone(),
        }
    }

    /// Whether this part of the rule fits the request.
    pub(crate) fn part(&self, part: Part, request: &Request, quantifier: Quantifier) -> Answer {
        match (part, &request.scope) {
            (Part::Verbs, _) => self.verbs.as_ref().map_or(Answer::Yes, |list| verb_fits(list, request, quantifier)),
            (Part::Resources, Scope::Resource(resource)) => Answer::from_bool(match &self.resources {
                Some(list) => list.iter().any(|pattern| pattern.fits(resource)),
                None => self.paths.is_none(),
            }),
            (Part::Namespaces, Scope::Resource(resource)) => match &self.namespaces {
                Some(list) => Answer::from_bool(namespace_fits(list, request, resource, quantifier)),
                None => Answer::Yes,
            },
            (Part::Names, Scope::Resource(resource)) => match &self.names {
                Some(list) => name_fits(list, request, resource, quantifier),
                None => Answer::Yes,
            },
            (Part::Paths, Scope::NonResource(path)) => Answer::from_bool(match &self.paths {
                Some(list) => list.iter().any(|pattern| glob(pattern, path)),
                None => self.resources.is_none() && self.namespaces.is_none() && self.names.is_none(),
            }),
            (Part::Paths, Scope::Resource(_))
            | (Part::Resources | Part::Namespaces | Part::Names, Scope::NonResource(_)) => Answer::Yes,
        }
    }

    /// Why a part does not fit, in words.
    pub(crate) fn lacks(&self, part: Part, request: &Request) -> String {
        let (asked, list) = match (part, &request.scope) {
            (Part::Verbs, _) if may_create(request) => {
                (format!("verb `{}` of what may not be there yet, so `create` too,", request.verb), self.verbs.clone())
            }
            (Part::Verbs, _) => (format!("verb `{}`", request.verb), self.verbs.clone()),
            (Part::Resources, Scope::Resource(resource)) => (
                format!("resource `{}`", resource.qualified()),
                self.resources.as_ref().map(|list| list.iter().map(|pattern| pattern.text.clone()).collect()),
            ),
            (Part::Namespaces, Scope::Resource(resource)) => (
                match &resource.namespace {
                    Some(namespace) => format!("namespace `{namespace}`"),
                    None if cluster_wide(request, resource) => "a cluster-scoped resource".to_owned(),
                    None => "all namespaces".to_owned(),
                },
                self.namespaces.clone(),
            ),
            (Part::Names, Scope::Resource(resource)) => (
                match &resource.name {
                    Some(name) => format!("name `{name}`"),
                    None if request.verb == "create" => "a new object whose name is not known to fit".to_owned(),
                    None => "a whole collection".to_owned(),
                },
                self.names.clone(),
            ),
            (_, Scope::NonResource(path)) => (format!("path `{path}`"), self.paths.clone()),
            (Part::Paths, Scope::Resource(_)) => ("a resource".to_owned(), self.paths.clone()),
        };
        match list {
            Some(list) => format!("{asked} is not covered by {}: {}", part.field(), short_list(&list)),
            None => format!("{asked} is not what the rule is about"),
        }
    }
}

fn short_list(list: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut words: Vec<String> = list.iter().take(SHOWN).cloned().collect();
    if list.len() > SHOWN {
        words.push(format!("{} more", list.len() - SHOWN));
    }
    words.join(", ")
}

/// Whether the request is about an object, or a collection, outside
/// namespaces. A collection of an unknown resource is not known to be.
fn cluster_wide(request: &Request, resource: &Resource) -> bool {
    resource.namespace.is_none()
        && (resource.name.is_some()
            || !matches!(request.verb.as_str(), "list" | "watch" | "deletecollection")
            || wellknown::cluster_scoped(&resource.group, &resource.resource))
}

fn verb_fits(list: &[String], request: &Request, quantifier: Quantifier) -> Answer {
    let lists = |verb: &str| list.iter().any(|listed| listed == "*" || listed == verb);
    match (lists(&request.verb), may_create(request)) {
        (true, true) if quantifier == Quantifier::Cover => Answer::from_bool(lists("create")),
        (true, _) => Answer::Yes,
        (false, true) if quantifier == Quantifier::Touch && lists("create") => Answer::Unknown,
        (false, _) => Answer::No,
    }
}

/// Whether it makes the object where there is none, for which the API server
/// wants `create` as well: a server-side apply, and a `PUT` of some resources.
/// An object with a `metadata.uid` is only ever changed.
fn may_create(request: &Request) -> bool {
    let Scope::Resource(resource) = &request.scope else { return false };
    let may = match request.verb.as_str() {
        "patch" => request.patch == Some(Patch::Apply),
        "update" => wellknown::made_by_update(&resource.group, &resource.resource),
        _ => false,
    };
    let uid = || request.object.known()?.as_ref()?.pointer("/metadata/uid")?.as_str();
    may && resource.subresource.is_none() && uid().is_none_or(str::is_empty)
}

fn namespace_fits(list: &[String], request: &Request, resource: &Resource, quantifier: Quantifier) -> bool {
    match (&resource.namespace, quantifier) {
        (Some(namespace), _) => list.iter().any(|pattern| glob(pattern, namespace)),
        // Everything outside namespaces, and all of them at once.
        (None, Quantifier::Cover) => list.iter().any(|pattern| pattern == "*"),
        (None, Quantifier::Touch) => list.iter().any(|pattern| pattern == "*") || !cluster_wide(request, resource),
    }
}

fn name_fits(list: &[String], request: &Request, resource: &Resource, quantifier: Quantifier) -> Answer {
    if list.iter().any(|pattern| pattern == "*") {
        return Answer::Yes;
    }
    let fits = |name: &str| Answer::from_bool(list.iter().any(|pattern| glob(pattern, name)));
    match &resource.name {
        Some(name) => fits(name),
        None if request.verb == "create" => {
            let object = request.object.known().and_then(Option::as_ref);
            match object.and_then(|object| object.pointer("/metadata/name")).and_then(|name| name.as_str()) {
                Some(name) if !name.is_empty() => fits(name),
                _ => Answer::Unknown,
            }
        }
        None => Answer::from_bool(quantifier == Quantifier::Touch),
    }
}

fn check_presence(written: &KubernetesRule, action: RuleAction, report: &mut impl FnMut(&str, String)) {
    if written.resources.is_none() && written.non_resource_urls.is_some() {
        for (field, list) in [("namespaces", &written.namespaces), ("names", &written.names)] {
            if list.is_some() {
                report(
                    &format!(".{field}"),
                    "has no meaning for nonResourceURLs; remove it, or add `resources`".to_owned(),
                );
            }
        }
    }
    if action == RuleAction::Deny {
        return;
    }
    if written.verbs.is_none() {
        report(
            ".verbs",
            "is missing; an Allow spells out what it covers: list verbs such as get, or write \"*\" for all".to_owned(),
        );
    }
    if written.resources.is_none() && written.non_resource_urls.is_none() {
        report(
            ".resources",
            "is missing; an Allow spells out what it covers: list resources such as pods, or write \"*\" for all"
                .to_owned(),
        );
    }
    if written.resources.is_some() && written.namespaces.is_none() {
        report(
            ".namespaces",
            "is missing; an Allow spells out what it covers: list namespaces, or write \"*\" for all".to_owned(),
        );
    }
}

fn check_verbs(written: &KubernetesRule, report: &mut impl FnMut(&str, String)) {
    let mut known: Vec<&str> = Vec::new();
    let about_paths = written.non_resource_urls.is_some();
    if written.resources.is_some() || !about_paths {
        known.extend(RESOURCE_VERBS);
    }
    if about_paths {
        known.extend(PATH_VERBS.iter().filter(|verb| !RESOURCE_VERBS.contains(verb) || written.resources.is_none()));
    }
    for (index, verb) in written.verbs.iter().flatten().enumerate() {
        if verb == "*" || known.contains(&verb.as_str()) {
            continue;
        }
        let near = match verb.to_lowercase().as_str() {
            "read" => "; did you mean `get`?".to_owned(),
            "write" | "edit" | "replace" => "; did you mean `update`?".to_owned(),
            "apply" => "; did you mean `patch`?".to_owned(),
            "remove" => "; did you mean `delete`?".to_owned(),
            "exec" => "; did you mean `create` on `pods/exec`?".to_owned(),
            other => did_you_mean(other, known.iter().copied()),
        };
        let near = if near.is_empty() { ";".to_owned() } else { near };
        report(
            &format!(".verbs[{index}]"),
            format!("the verb `{verb}` is unknown{near} Known here: {} and \"*\"", known.join(", ")),
        );
    }
}

fn check_words(written: &KubernetesRule, report: &mut impl FnMut(&str, String)) {
    for (field, list) in [("namespaces", &written.namespaces), ("names", &written.names)] {
        for (index, text) in list.iter().flatten().enumerate() {
            let plain = text.replace('*', "");
            let fine = text.len() <= 253
                && !text.is_empty()
                && plain.chars().all(|c| {
                    c.is_ascii_lowercase()
                        || c.is_ascii_digit()
                        || c == '-'
                        || c == '.'
                        || (field == "names" && (c.is_ascii_uppercase() || c == ':' || c == '_'))
                });
            if !fine {
                report(
                    &format!(".{field}[{index}]"),
                    format!(
                        "`{}` fits no {}; write a name, in which * stands for any characters",
                        shown(text),
                        &field[..field.len() - 1]
                    ),
                );
            }
        }
    }
    for (index, text) in written.non_resource_urls.iter().flatten().enumerate() {
        let at = format!(".nonResourceURLs[{index}]");
        let star = text.find('*');
        if text != "*" && !text.starts_with('/') {
            report(&at, format!("`{}` does not start with /; write a path such as /metrics", shown(text)));
        } else if star.is_some_and(|at| at + 1 != text.len()) {
            report(&at, format!("`{}` has a * before its end; write it at the end alone", shown(text)));
        } else if text.contains(['?', '#', '%', ' ']) || text.contains("//") || text.contains("/.") {
            report(&at, format!("`{}` is no plain path; write it decoded, without query", shown(text)));
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Which resources: `pods`, `pods/log`, `*.apps`, `deployments.apps/*`, `*`.
#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    everything: bool,
    /// `None`: every resource of the group.
    resource: Option<String>,
    group: String,
    subresource: Sub,
}

#[derive(Debug, Clone)]
enum Sub {
    Itself,
    Any,
    One(String),
}

impl Pattern {
    /// The pattern, and what is suspicious about it.
    fn parse(text: &str) -> Result<(Self, Option<String>), String> {
        if text == "*" {
            let pattern = Self {
                text: text.to_owned(),
                everything: true,
                resource: None,
                group: String::new(),
                subresource: Sub::Any,
            };
            return Ok((pattern, None));
        }
        let (whole, sub) = match text.split_once('/') {
            Some((whole, sub)) => (whole, Some(sub)),
            None => (text, None),
        };
        let (name, group) = whole.split_once('.').unwrap_or((whole, ""));
        let word = |word: &str| {
            !word.is_empty()
                && word.len() <= 253
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        };
        let fine = (name == "*" || word(name))
            && (group.is_empty() != whole.contains('.'))
            && (group.is_empty() || word(group))
            && sub.is_none_or(|sub| sub == "*" || word(sub));
        if !fine {
            return Err(format!(
                "`{}` is no resource; write such as {}",
                shown(text),
                one_of(&["pods", "pods/log", "deployments.apps", "*.apps", "\"*\""])
            ));
        }
        if name == "*" && group.is_empty() {
            return Err(format!("`{}` mixes all and one; write \"*\" for all, or name the resource", shown(text)));
        }
        if name != "*" {
            if let Some(meant) = wellknown::meant(group, name) {
                let meant = match sub {
                    Some(sub) => format!("{meant}/{sub}"),
                    None => meant,
                };
                return Err(format!("the resource `{}` is unknown; did you mean `{meant}`?", shown(text)));
            }
            if name.bytes().any(|b| b.is_ascii_uppercase()) {
                return Err(format!("`{}` has upper case letters; resources are written in lower case", shown(text)));
            }
        }
        let core = wellknown::all().any(|known| known.group.is_empty() && known.plural == name);
        let warning = (group.is_empty() && !core).then(|| {
            format!(
                "`{name}` is no resource of the core group that is known here; for a resource of another group \
                 write `{name}.GROUP`"
            )
        });
        let pattern = Self {
            text: text.to_owned(),
            everything: false,
            resource: (name != "*").then(|| name.to_owned()),
            group: group.to_owned(),
            subresource: match sub {
                None => Sub::Itself,
                Some("*") => Sub::Any,
                Some(sub) => Sub::One(sub.to_owned()),
            },
        };
        Ok((pattern, warning))
    }

    fn fits(&self, asked: &Resource) -> bool {
        self.everything
            || (self.group == asked.group
                && self.resource.as_ref().is_none_or(|resource| *resource == asked.resource)
                && match (&self.subresource, &asked.subresource) {
                    (Sub::Itself, None) | (Sub::Any, Some(_)) => true,
                    (Sub::One(wanted), Some(sub)) => wanted == sub,
                    (Sub::Itself, Some(_)) | (Sub::Any | Sub::One(_), None) => false,
                })
    }
}
