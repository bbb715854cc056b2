//! Whether one object is fine by itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sluice_core::Workload;
use sluice_policy::{Documents, Problem, compile};

/// What `sluice-policy` reads of an object: kind, name, namespace and spec.
pub fn document(object: &Value) -> Value {
    let metadata = object.get("metadata");
    let mut kept = Map::new();
    for field in ["name", "namespace"] {
        if let Some(value) = metadata.and_then(|metadata| metadata.get(field)).filter(|value| !value.is_null()) {
            kept.insert(field.to_owned(), value.clone());
        }
    }
    json!({
        "apiVersion": sluice_policy::spec::API_VERSION,
        "kind": object.get("kind"),
        "metadata": kept,
        "spec": object.get("spec"),
    })
}

/// Checks one policy or provider as an API server stores it. Providers that it
/// names are taken to exist. Gives what is suspicious.
///
/// # Errors
/// What is wrong, one a line: path and message.
pub fn check(object: &Value) -> Result<Vec<String>, Vec<String>> {
    let words = |problems: Vec<Problem>| -> Vec<String> {
        let shown = |problem: &Problem| match problem.path.as_str() {
            "" => problem.message.clone(),
            path => format!("{path}: {}", problem.message),
        };
        problems.iter().map(shown).collect()
    };
    let mut document = document(object);
    // A name is made up later.
    if let Some(Value::Object(metadata)) = document.get_mut("metadata") {
        let prefix = object.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default();
        metadata.entry("name").or_insert_with(|| json!(format!("{prefix}x")));
    }
    let mut sources = vec![("object".to_owned(), document.to_string())];
    for (index, name) in providers(&document).iter().enumerate() {
        let stub = json!({
            "apiVersion": sluice_policy::spec::API_VERSION, "kind": "IdentityProvider", "metadata": {"name": name},
            "spec": {"issuers": [format!("https://provider-{index}.invalid")]},
        });
        sources.push((name.clone(), stub.to_string()));
    }
    let documents = Documents::parse(&sources).map_err(words)?.in_cluster("/");
    let workload = Workload {
        namespace: object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default").to_owned(),
        ..Workload::default()
    };
    let compiled = compile(&documents, &workload).map_err(words)?;
    // Whom it selects is not known here.
    let about_itself = |warning: &&Problem| warning.path.starts_with("spec.") && warning.path != "spec.selector";
    Ok(words(compiled.warnings().iter().filter(about_itself).cloned().collect()))
}

/// Names of providers that the document refers to.
fn providers(document: &Value) -> BTreeSet<String> {
    let spec = document.get("spec").unwrap_or(&Value::Null);
    let texts = |list: Option<&Value>| -> Vec<String> {
        list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    if document.get("kind") != Some(&json!("ClusterGatewayPolicy")) {
        let listed = texts(spec.pointer("/identity/providers"));
        return listed.into_iter().filter(|name| is_name(name)).collect();
    }
    let parts = [("rules", "subjects"), ("masks", "exceptFor")];
    let subjects = parts.into_iter().flat_map(|(list, field)| {
        spec.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(move |one| one.get(field))
    });
    let qualified = subjects.flat_map(|subjects| ["groups", "roles", "users"].map(|field| texts(subjects.get(field))));
    qualified
        .flatten()
        .filter_map(|text| text.split_once(':').map(|(provider, _)| provider.to_owned()))
        .filter(|name| is_name(name))
        .collect()
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(plain)
}
