//! Golden refusals: what is said of each wrong document, word for word.
//!
//! `UPDATE_GOLDEN=1 cargo test -p sluice-policy --test refusals` writes
//! `messages.txt` anew; read the difference before you commit it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use sluice_core::Workload;
use sluice_policy::{Documents, Problem, compile};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    text: Option<String>,
    policy: Option<Value>,
    provider: Option<Value>,
    rule: Option<Value>,
    target: Option<Value>,
    guard: Option<Value>,
}

#[test]
fn every_wrong_document_is_refused_in_these_words() {
    let cases: Vec<Case> = serde_norway::from_str(&read("cases.yaml")).expect("the cases");
    assert!(cases.len() >= 50, "only {} cases were found", cases.len());
    let mut said = String::new();
    let mut accepted = Vec::new();
    for case in &cases {
        writeln!(said, "== {}", case.name).expect("a string takes it");
        match problems(case) {
            Ok(()) => accepted.push(case.name.as_str()),
            Err(problems) => {
                for Problem { path, message, .. } in problems {
                    writeln!(said, "{path}: {message}").expect("a string takes it");
                }
            }
        }
    }
    assert!(accepted.is_empty(), "these were accepted: {}", accepted.join(", "));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(folder().join("messages.txt"), &said).expect("messages.txt");
    }
    let expected = read("messages.txt");
    let differences: Vec<String> = expected
        .lines()
        .zip(said.lines())
        .filter(|(expected, said)| expected != said)
        .map(|(expected, said)| format!("expected: {expected}\n    said: {said}"))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(expected.lines().count(), said.lines().count(), "more or fewer lines are said");
}

#[test]
fn the_base_of_the_cases_is_fine() {
    let sources = [("base.yaml".to_owned(), read("base.yaml"))];
    let compiled = compile(&Documents::parse(&sources).expect("documents"), &workload()).expect("policy");
    assert_eq!(compiled.warnings(), []);
}

fn problems(case: &Case) -> Result<(), Vec<Problem>> {
    let text = match &case.text {
        Some(text) => text.clone(),
        None => changed(case),
    };
    compile(&Documents::parse(&[("case.yaml".to_owned(), text)])?, &workload()).map(drop)
}

fn changed(case: &Case) -> String {
    let mut documents: Vec<Value> = serde_norway::Deserializer::from_str(&read("base.yaml"))
        .map(|document| Value::deserialize(document).expect("a base document"))
        .collect();
    let [policy, provider] = documents.as_mut_slice() else { panic!("the base has a policy and a provider") };
    merge(policy, case.policy.as_ref().unwrap_or(&json!({})));
    if let Some(patch) = &case.rule {
        merge(&mut policy["spec"]["rules"][0], patch);
    }
    if let Some(patch) = &case.target {
        merge(&mut policy["spec"]["targets"][0], patch);
    }
    merge(provider, case.provider.as_ref().unwrap_or(&json!({})));
    if let Some(spec) = &case.guard {
        documents.push(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "ClusterGatewayPolicy", "metadata": {"name": "rails"}, "spec": spec,
        }));
    }
    // JSON documents are YAML documents.
    documents.iter().map(|document| format!("---\n{document}\n")).collect()
}

fn merge(base: &mut Value, patch: &Value) {
    let (Value::Object(base), Value::Object(patch)) = (&mut *base, patch) else {
        *base = patch.clone();
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            base.remove(key);
        } else {
            merge(base.entry(key.clone()).or_insert_with(|| json!({})), value);
        }
    }
}

fn workload() -> Workload {
    Workload { namespace: "agents".to_owned(), ..Workload::default() }
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/refusals")
}
