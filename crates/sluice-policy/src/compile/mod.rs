//! From documents to a policy that decides.

mod cluster;
mod combine;
mod policy;
mod provider;
mod selector;

use std::collections::{BTreeMap, BTreeSet};

use sluice_core::Workload;

use crate::documents::Document;
use crate::nearest::did_you_mean;
use crate::spec::GatewayPolicy;
use crate::{Audit, Documents, Egress, Limits, Problem, Provider, Target};

pub(crate) use policy::{Policy, Rule, Standing};

/// Policy for one workload, ready to decide.
#[derive(Debug)]
pub struct Compiled {
    pub(crate) revision: String,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) targets: Vec<Target>,
    pub(crate) providers: Vec<Provider>,
    pub(crate) egress: Egress,
    pub(crate) limits: Limits,
    pub(crate) audit: Audit,
    /// Those that select the workload, by name.
    pub(crate) policies: Vec<Policy>,
}

/// Compiles the documents for one workload: policies of its namespace whose
/// selector matches its labels.
///
/// # Errors
/// Everything that is wrong in any policy, of this workload or another.
/// A policy that does not select the workload is a warning.
pub fn compile(documents: &Documents, workload: &Workload) -> Result<Compiled, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();

    let mut providers: Vec<Provider> =
        documents.providers.iter().map(|document| provider::provider(documents, document, &mut problems)).collect();
    provider::refuse_shared_issuers(&documents.providers, &mut problems);
    let known: BTreeSet<&str> = documents.providers.iter().map(|d| d.content.metadata.name.as_str()).collect();

    let names: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
    let guards: Vec<Document<GatewayPolicy>> =
        documents.cluster_policies.iter().map(|document| cluster::as_policy(document, &names, &mut problems)).collect();
    let mut selected = Vec::new();
    for (written, document) in documents.cluster_policies.iter().zip(&guards) {
        let policy = policy::policy(document, Standing::Guard, &mut problems, &mut warnings);
        let spec = &written.content.spec;
        if cluster::may_select(spec.namespace_selector.as_ref(), &workload.namespace)
            && selector::selects(spec.selector.as_ref(), &workload.labels)
        {
            selected.push((document, policy));
        }
    }
    for document in &documents.policies {
        check_providers(document, &known, &mut problems);
        let policy = policy::policy(document, Standing::Namespaced, &mut problems, &mut warnings);
        match not_selected(&document.content, workload) {
            None => selected.push((document, policy)),
            Some((path, message)) => {
                warnings.push(Problem { document: document.label.clone(), path: path.to_owned(), message });
            }
        }
    }
    selected.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));

    let targets = combine::targets(&selected, documents.bundles.as_deref(), &mut problems);
    let egress = combine::egress(&selected, &targets, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    if selected.iter().all(|(_, policy)| policy.standing == Standing::Guard) {
        warnings.push(no_policy(documents, workload));
    }
    let used: BTreeSet<&str> = selected
        .iter()
        .filter(|(_, policy)| policy.standing == Standing::Namespaced)
        .flat_map(|(_, policy)| &policy.providers)
        .map(String::as_str)
        .collect();
    providers.retain(|provider| used.contains(provider.name.as_str()));
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Compiled {
        revision: documents.revision(),
        warnings,
        targets,
        providers,
        egress,
        limits: combine::limits(&selected),
        audit: combine::audit(&selected),
        policies: selected.into_iter().map(|(_, policy)| policy).collect(),
    })
}

impl Compiled {
    /// Names this policy: the first 16 hex digits of SHA-256 over the
    /// documents in canonical form. Equal for equal documents in any order.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// What is suspicious, such as a policy that selects nothing here.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Services that the workload may be let to.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Providers that a policy of this workload refers to.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// Whether a workload without a token may act as itself towards `target`
    /// (the name of one).
    pub fn workload_allowed(&self, target: &str) -> bool {
        self.policies.iter().any(|policy| policy.workload && policy.targets.contains(target))
    }

    /// Destinations that are no target.
    pub fn egress(&self) -> &Egress {
        &self.egress
    }

    /// Upper bounds: the smallest of all policies.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How to record: the strictest of all policies.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }
}

fn check_providers(document: &Document<GatewayPolicy>, known: &BTreeSet<&str>, problems: &mut Vec<Problem>) {
    let listed = &document.content.spec.identity.providers;
    for (index, name) in listed.iter().enumerate() {
        if known.contains(name.as_str()) {
            continue;
        }
        let near = did_you_mean(name, known.iter().copied());
        let known: Vec<&str> = known.iter().copied().collect();
        let rest = match known.as_slice() {
            [] => " No IdentityProvider was read: add one".to_owned(),
            known => format!(" Known are {}", known.join(", ")),
        };
        let near = if near.is_empty() { ";".to_owned() } else { near };
        problems.push(Problem {
            document: document.label.clone(),
            path: format!("spec.identity.providers[{index}]"),
            message: format!("no IdentityProvider is called `{name}`{near}{rest}"),
        });
    }
}

/// Why a policy is not about this workload: field and words.
fn not_selected(policy: &GatewayPolicy, workload: &Workload) -> Option<(&'static str, String)> {
    let namespace = policy.metadata.namespace();
    if namespace != workload.namespace {
        let message = format!(
            "the policy is about namespace `{namespace}`, the workload runs in `{}`: it does not count here",
            workload.namespace
        );
        return Some(("metadata.namespace", message));
    }
    let selector = policy.spec.selector.as_ref()?;
    if selector::selects(Some(selector), &workload.labels) {
        return None;
    }
    let message = format!(
        "selects {}, the workload's labels are {}: it does not count here",
        selector::describe(selector),
        labels(&workload.labels)
    );
    Some(("spec.selector", message))
}

fn no_policy(documents: &Documents, workload: &Workload) -> Problem {
    let read = match documents.policies.len() {
        0 => "No GatewayPolicy was read".to_owned(),
        1 => "The only GatewayPolicy that was read is about others".to_owned(),
        many => format!("All {many} GatewayPolicies that were read are about others"),
    };
    Problem {
        document: "all documents".to_owned(),
        path: String::new(),
        message: format!(
            "no policy is about this workload (namespace `{}`, labels {}), so everything is denied. {read}: add one, \
             or change its namespace or selector",
            workload.namespace,
            labels(&workload.labels)
        ),
    }
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "none".to_owned();
    }
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}
