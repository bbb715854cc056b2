//! The files that are made from this crate.

use serde::Serialize;
use serde_json::{Value, json};

use crate::yaml::to_yaml;
use crate::{crds, policies, webhooks};

/// All files: path from the top of the project, and content.
///
/// # Errors
/// When something has no JSON form.
pub fn files() -> Result<Vec<(String, String)>, serde_json::Error> {
    let mut files = Vec::new();
    for definition in crds::definitions() {
        let text = text(&[object(&definition)?]);
        for folder in ["manifests/crds", "charts/sluice/files/crds"] {
            files.push((format!("{folder}/{}.yaml", definition.spec.names.plural), text.clone()));
        }
    }
    for asserted in policies::all() {
        let name = asserted.policy.metadata.name.clone().unwrap_or_default();
        let text = text(&[object(&asserted.policy)?, object(&asserted.binding)?]);
        files.push((format!("charts/sluice/files/policies/{name}.yaml"), text));
    }
    let webhooks = [object(&webhooks::mutating())?, object(&webhooks::validating())?];
    files.push(("charts/sluice/files/webhooks.yaml".to_owned(), text(&webhooks)));
    Ok(files)
}

fn text(documents: &[Value]) -> String {
    let mut text = "# Generated from crates/sluice-k8s by `make generate`; do not edit.\n".to_owned();
    for document in documents {
        text.push_str("---\n");
        text.push_str(&to_yaml(document));
    }
    text
}

fn object<T: Serialize>(object: &T) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(object)?;
    whole_numbers(&mut value);
    Ok(value)
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
