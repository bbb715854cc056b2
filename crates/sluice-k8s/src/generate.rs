//! The files that are made from this crate.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{crds, policies, webhooks};

/// A file could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct Unwritable {
    path: String,
    source: serde_norway::Error,
}

/// All files: path from the top of the project, and content.
///
/// # Errors
/// When something has no YAML form.
pub fn files() -> Result<Vec<(String, String)>, Unwritable> {
    let mut files = Vec::new();
    for definition in crds::definitions() {
        let name = format!("{}.yaml", definition.spec.names.plural);
        for folder in ["manifests/crds", "charts/sluice/files/crds"] {
            files.push(file(format!("{folder}/{name}"), &[yaml(&definition)]));
        }
    }
    for asserted in policies::all() {
        let name = asserted.policy.metadata.name.clone().unwrap_or_default();
        let path = format!("charts/sluice/files/policies/{name}.yaml");
        files.push(file(path, &[yaml(&asserted.policy), yaml(&asserted.binding)]));
    }
    files.push(file(
        "charts/sluice/files/webhooks.yaml".to_owned(),
        &[yaml(&webhooks::mutating()), yaml(&webhooks::validating())],
    ));
    files.into_iter().collect()
}

fn yaml<T: Serialize>(object: &T) -> Result<String, serde_norway::Error> {
    let mut value = serde_json::to_value(object).map_err(<serde_norway::Error as serde::ser::Error>::custom)?;
    whole_numbers(&mut value);
    serde_norway::to_string(&value)
}

/// The types know bounds of schemas as floating-point numbers only.
pub(crate) fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15) {
                *value = json!(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

fn file(path: String, documents: &[Result<String, serde_norway::Error>]) -> Result<(String, String), Unwritable> {
    let mut text = "# Generated from crates/sluice-k8s by `cargo run -p xtask -- generate`; do not edit.\n".to_owned();
    for document in documents {
        match document {
            Ok(document) => {
                text.push_str("---\n");
                text.push_str(document);
            }
            Err(error) => {
                let source = <serde_norway::Error as serde::ser::Error>::custom(error);
                return Err(Unwritable { path, source });
            }
        }
    }
    Ok((path, text))
}
