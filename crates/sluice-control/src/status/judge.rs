use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use sluice_core::Workload;
use sluice_policy::{Documents, Problem, compile};
use sluice_wire::{Config, Report};

use super::draft::{Draft, Finding};
use crate::world::{Pod, Read, Scope, World, config_for};

/// Pods that a message names.
const NAMED: usize = 3;
/// Problems that a message says.
const SAID: usize = 4;

/// Judges every document of the world. `reports`: the last report of each pod,
/// by UID. Gives a draft by the name of the document.
pub fn judge(world: &World, reports: &BTreeMap<String, Report>) -> BTreeMap<String, Draft> {
    let configs: BTreeMap<&str, Config> =
        world.pods.keys().filter_map(|uid| Some((uid.as_str(), config_for(world, uid)?))).collect();
    let together = together(world, &configs);
    let about = about(&configs);
    world
        .documents
        .iter()
        .map(|(name, document)| {
            let pods = about.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
            let problems = if document.problems.is_empty() { alone(world, document) } else { Vec::new() };
            let (reference, own): (Vec<Problem>, Vec<Problem>) = problems.into_iter().partition(is_reference);
            let accepted = accepted(world, document, &reference);
            let compiled = match (own.as_slice(), together.get(name.as_str())) {
                _ if !accepted.holds => Finding::no(accepted.reason, accepted.message.clone()),
                ([], None) => Finding::yes("Compiled", "It compiles."),
                ([], Some(conflicts)) => Finding::no("Conflict", say(conflicts)),
                (own, _) => Finding::no("Invalid", say(own)),
            };
            let (programmed, count) = programmed(world, &configs, reports, pods, compiled.holds);
            let mut revision = hex::encode(digest(&SHA256, document.text.as_bytes()).as_ref());
            revision.truncate(16);
            let draft = Draft {
                generation: document.generation,
                accepted,
                compiled,
                programmed,
                matched: i32::try_from(pods.len()).unwrap_or(i32::MAX),
                pods: count,
                revision,
            };
            (name.clone(), draft)
        })
        .collect()
}

/// UIDs of the pods that each document is about.
fn about<'a>(configs: &'a BTreeMap<&'a str, Config>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut about: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (uid, config) in configs {
        for document in &config.documents {
            about.entry(document.name.as_str()).or_default().push(uid);
        }
    }
    about
}

fn accepted(world: &World, document: &Read, reference: &[Problem]) -> Finding {
    if !document.problems.is_empty() {
        return Finding::no("Invalid", say(&document.problems));
    }
    if !reference.is_empty() {
        return Finding::no("ProviderNotFound", say(reference));
    }
    let missing: Vec<&str> =
        document.bundles.iter().map(String::as_str).filter(|name| !world.bundles.contains_key(*name)).collect();
    if missing.is_empty() {
        return Finding::yes("Accepted", "It is read, and what it refers to is there.");
    }
    Finding::no(
        "BundleNotFound",
        format!(
            "caBundleRef: there is no {} (namespace/ConfigMap/key; `_control` is the control plane's namespace); \
             make it, or correct the reference",
            missing.join(", ")
        ),
    )
}

/// A reference to a provider that is not there: the object itself may be fine.
fn is_reference(problem: &Problem) -> bool {
    problem.path.starts_with("spec.identity.providers")
}

/// What is wrong with one document, given the providers.
fn alone(world: &World, document: &Read) -> Vec<Problem> {
    let providers = world
        .documents
        .values()
        .filter(|one| one.scope == Scope::Provider && one.problems.is_empty() && one.name != document.name);
    let sources = providers.map(|one| one.as_ref()).chain([document]);
    let namespace = match &document.scope {
        Scope::Namespace { namespace, .. } => namespace.clone(),
        Scope::Provider | Scope::Cluster { .. } => "default".to_owned(),
    };
    of_document(compile_all(sources, &Workload { namespace, ..Workload::default() }), &document.name)
}

/// What is wrong with documents that are about the same pods, by name: only
/// where each by itself can be read. Equal sets are compiled once.
fn together<'a>(world: &'a World, configs: &BTreeMap<&str, Config>) -> BTreeMap<&'a str, Vec<Problem>> {
    let mut done = BTreeSet::new();
    let mut found: BTreeMap<&str, Vec<Problem>> = BTreeMap::new();
    for (uid, config) in configs {
        let Some(pod) = world.pods.get(*uid) else { continue };
        let set: Vec<&Arc<Read>> =
            config.documents.iter().filter_map(|document| world.documents.get(&document.name)).collect();
        let key: Vec<&str> = set.iter().map(|one| one.name.as_str()).collect();
        if !done.insert(key) || set.iter().any(|one| !one.problems.is_empty()) {
            continue;
        }
        let problems = compile_all(set.iter().map(|one| one.as_ref()), &workload(pod));
        for one in set {
            let own = of_document(problems.clone(), &one.name);
            let named = world.documents.get_key_value(&one.name).map(|(name, _)| name.as_str());
            if let (false, Some(name)) = (own.is_empty(), named) {
                found.entry(name).or_insert(own);
            }
        }
    }
    found
}

fn workload(pod: &Pod) -> Workload {
    Workload {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        service_account: pod.service_account.clone(),
        labels: pod.labels.clone(),
        ..Workload::default()
    }
}

fn compile_all<'a>(documents: impl Iterator<Item = &'a Read>, workload: &Workload) -> Vec<Problem> {
    let sources: Vec<(String, String)> = documents.map(|one| (one.name.clone(), one.text.clone())).collect();
    match Documents::parse(&sources) {
        // Whether bundles are there is judged apart: no file is read here.
        Ok(documents) => compile(&documents.in_cluster("/"), workload).err().unwrap_or_default(),
        Err(problems) => problems,
    }
}

/// Problems are named after their source, `NAME#1 …`.
fn of_document(problems: Vec<Problem>, name: &str) -> Vec<Problem> {
    let is_own = |problem: &Problem| problem.document.strip_prefix(name).is_some_and(|rest| rest.starts_with('#'));
    problems.into_iter().filter(is_own).collect()
}

fn programmed(
    world: &World,
    configs: &BTreeMap<&str, Config>,
    reports: &BTreeMap<String, Report>,
    pods: &[&str],
    compiles: bool,
) -> (Finding, i32) {
    let mut count = 0;
    let mut waiting = Vec::new();
    let mut refused = Vec::new();
    for uid in pods {
        let (Some(pod), Some(config)) = (world.pods.get(*uid), configs.get(*uid)) else { continue };
        let name = format!("{}/{}", pod.namespace, pod.name);
        match reports.get(*uid).filter(|report| report.revision == config.revision) {
            Some(report) if report.in_force() => count += 1,
            Some(report) => {
                let first = report.problems.first();
                let why = first.map_or("it gives no reason", |problem| problem.message.as_str());
                let place = first.map_or("", |problem| problem.document.as_str());
                refused.push(format!("{name}: {place} {why}"));
            }
            None => waiting.push(name),
        }
    }
    let shown = |names: &[String]| {
        let more = names.len().saturating_sub(NAMED);
        let listed = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{listed} and {more} more") } else { listed }
    };
    let of = format!("{count} of {} pods decide by it", pods.len());
    let finding = if !compiles {
        Finding::no("NotCompiled", "Pods keep the last policy that compiled; put it right first.")
    } else if pods.is_empty() {
        Finding::no(
            "NoPods",
            "It is about no injected pod that runs; check `selector`, and whether pods are annotated.",
        )
    } else if !refused.is_empty() {
        Finding::no("Refused", format!("{of}; refused by {}", shown(&refused)))
    } else if !waiting.is_empty() {
        Finding::no("Waiting", format!("{of}; not yet heard of {}", shown(&waiting)))
    } else {
        Finding::yes("Programmed", format!("{of}."))
    };
    (finding, count)
}

fn say(problems: &[Problem]) -> String {
    let more = problems.len().saturating_sub(SAID);
    let shown = |problem: &Problem| match problem.path.as_str() {
        "" => problem.message.clone(),
        path => format!("{path}: {}", problem.message),
    };
    let mut said = problems.iter().take(SAID).map(shown).collect::<Vec<_>>().join("; ");
    if more > 0 {
        said.push_str(&format!("; and {more} more"));
    }
    said
}

#[cfg(test)]
mod tests;
