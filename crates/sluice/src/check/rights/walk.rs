use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};

use super::super::facts::Grants;
use super::Around;
use super::known::AKS_LOCAL_ACCOUNTS;
use super::list::{Place, RIGHTS, Right};

/// Somebody who may hold rights.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

/// A right, and how it came to be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// Place in [`RIGHTS`]; `None`: all of them, and everything else.
    pub(super) right: Option<usize>,
    /// `everywhere`, or `in NAMESPACE`.
    pub(super) scope: String,
    /// `ClusterRoleBinding x`
    pub(super) binding: String,
}

/// Everybody who holds some of the rights.
pub(super) fn holders(grants: &Grants, around: &Around<'_>) -> BTreeMap<Holder, Vec<Held>> {
    let mut holders: BTreeMap<Holder, Vec<Held>> = BTreeMap::new();
    let mut add = |subjects: Option<&Vec<Subject>>, rules: &[PolicyRule], namespace: Option<&str>, binding: String| {
        let rights = rights(rules, namespace, around);
        let scope = namespace.map_or_else(|| "everywhere".to_owned(), |namespace| format!("in {namespace}"));
        if rights.is_empty() {
            return;
        }
        for holder in subjects.into_iter().flatten().filter_map(|subject| Holder::of(subject, namespace)) {
            let held = holders.entry(holder).or_default();
            held.extend(rights.iter().map(|right| Held {
                right: *right,
                scope: scope.clone(),
                binding: binding.clone(),
            }));
        }
    };
    for binding in &grants.cluster_bindings {
        let name = format!("ClusterRoleBinding {}", binding.metadata.name.as_deref().unwrap_or_default());
        add(binding.subjects.as_ref(), rules(grants, &binding.role_ref, None), None, name);
    }
    for binding in &grants.bindings {
        let namespace = binding.metadata.namespace.as_deref().unwrap_or_default();
        let name = format!("RoleBinding {namespace}/{}", binding.metadata.name.as_deref().unwrap_or_default());
        add(binding.subjects.as_ref(), rules(grants, &binding.role_ref, Some(namespace)), Some(namespace), name);
    }
    holders
}

fn rules<'a>(grants: &'a Grants, of: &RoleRef, namespace: Option<&str>) -> &'a [PolicyRule] {
    let found = match of.kind.as_str() {
        "ClusterRole" => grants
            .cluster_roles
            .iter()
            .find(|role| role.metadata.name.as_deref() == Some(&of.name))
            .and_then(|role| role.rules.as_deref()),
        "Role" => grants
            .roles
            .iter()
            .find(|role| {
                role.metadata.name.as_deref() == Some(&of.name) && role.metadata.namespace.as_deref() == namespace
            })
            .and_then(|role| role.rules.as_deref()),
        _ => None,
    };
    found.unwrap_or_default()
}

/// Which of the rights these rules give, held in one namespace or everywhere.
fn rights(rules: &[PolicyRule], namespace: Option<&str>, around: &Around<'_>) -> Vec<Option<usize>> {
    let everything = |rule: &PolicyRule| {
        let all = |list: Option<&[String]>| list.unwrap_or_default().iter().any(|one| one == "*");
        all(Some(&rule.verbs))
            && all(rule.api_groups.as_deref())
            && all(rule.resources.as_deref())
            && rule.resource_names.is_none()
    };
    if namespace.is_none() && rules.iter().any(everything) {
        return vec![None];
    }
    let held = RIGHTS
        .iter()
        .enumerate()
        .filter(|(_, right)| right.matters(namespace, around) && rules.iter().any(|rule| right.is_given_by(rule)));
    held.map(|(index, _)| Some(index)).collect()
}

impl Right {
    fn matters(&self, namespace: Option<&str>, around: &Around<'_>) -> bool {
        let Some(namespace) = namespace else { return true };
        let (ours, agents) = (namespace == around.namespace, around.agents.contains(namespace));
        match self.place {
            Place::Cluster => false,
            Place::Agents => agents,
            Place::Ours => ours,
            Place::Either => ours || agents,
        }
    }

    fn is_given_by(&self, rule: &PolicyRule) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
        let resources = rule.resources.as_deref().unwrap_or_default();
        let resource = |wanted: &&str| {
            // `*/sub` is that subresource of everything.
            let sub = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            has(resources, wanted) || sub.is_some_and(|sub| resources.contains(&sub))
        };
        let names = rule.resource_names.as_deref().unwrap_or_default();
        // Creation cannot be limited to names: a rule with names does not give it.
        let verb = |verb: &&str| {
            has(&rule.verbs, verb) && (names.is_empty() || !matches!(*verb, "create" | "deletecollection"))
        };
        has(rule.api_groups.as_deref().unwrap_or_default(), self.group)
            && self.resources.iter().any(resource)
            && self.verbs.iter().any(verb)
            && (names.is_empty()
                || self.named.is_empty()
                || names.iter().any(|name| self.named.contains(&name.as_str())))
    }
}

impl Holder {
    fn of(subject: &Subject, namespace: Option<&str>) -> Option<Self> {
        let name = subject.name.clone();
        match subject.kind.as_str() {
            "User" => Some(Self::User(name)),
            "Group" => Some(Self::Group(name)),
            "ServiceAccount" => {
                let namespace = subject.namespace.as_deref().or(namespace)?.to_owned();
                Some(Self::ServiceAccount { namespace, name })
            }
            _ => None,
        }
    }

    /// What `az aks get-credentials` gives, where it is not switched off.
    pub(super) fn is_aks_local_account(&self) -> bool {
        matches!(self, Self::User(name) if AKS_LOCAL_ACCOUNTS.contains(&name.as_str()))
    }

    /// Groups that everybody, or every pod, is in; and nobody's user.
    pub(super) fn is_everybody(&self) -> bool {
        match self {
            Self::Group(name) => {
                matches!(name.as_str(), "system:authenticated" | "system:unauthenticated" | "system:serviceaccounts")
            }
            Self::User(name) => name == "system:anonymous",
            Self::ServiceAccount { .. } => false,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "User {name}"),
            Self::Group(name) => write!(f, "Group {name}"),
            Self::ServiceAccount { namespace, name } => write!(f, "ServiceAccount {namespace}/{name}"),
        }
    }
}
