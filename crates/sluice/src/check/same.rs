//! Whether an object is still what it was made as.

use serde::Serialize;
use serde_json::Value;
use sluice_k8s::patch::{Operation, difference};

/// Where `actual` differs from `expected`, as paths; empty: nowhere. What the
/// API server fills in by itself is no difference.
pub(super) fn differences(expected: &impl Serialize, actual: &impl Serialize) -> Vec<String> {
    let [Ok(expected), Ok(actual)] = [serde_json::to_value(expected), serde_json::to_value(actual)] else {
        return vec!["it cannot be compared".to_owned()];
    };
    let operations = difference(&normal(expected), &normal(actual));
    operations.iter().map(|operation| path(operation).trim_start_matches('/').replace('/', ".")).collect()
}

/// Up to three of them in words.
pub(super) fn named(differences: &[String]) -> String {
    let mut text = differences.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    if differences.len() > 3 {
        text.push_str(&format!(" and {} more", differences.len() - 3));
    }
    text
}

fn path(operation: &Operation) -> &str {
    match operation {
        Operation::Add { path, .. } | Operation::Replace { path, .. } | Operation::Remove { path } => path,
    }
}

/// Without what means the same as nothing: empty selectors and lists, and
/// defaults of `admissionregistration.k8s.io/v1`.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| {
                    let value = normal(value);
                    (name, value)
                })
                .filter(|(name, value)| !is_default(name, value))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(normal).collect()),
        Value::Number(number) => match number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15) {
            Some(whole) => Value::from(whole as i64),
            None => Value::Number(number),
        },
        other => other,
    }
}

fn is_default(name: &str, value: &Value) -> bool {
    let empty = match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    };
    let text = value.as_str().unwrap_or_default();
    empty
        || matches!((name, text), ("matchPolicy", "Equivalent") | ("scope", "*") | ("parameterNotFoundAction", "Deny"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_no_difference_and_exceptions_are() {
        let made = json!({"matchConstraints": {"resourceRules": [{"resources": ["pods"]}]}, "validations": [{"expression": "a"}]});
        let mut stored = made.clone();
        stored["matchConstraints"]["matchPolicy"] = json!("Equivalent");
        stored["matchConstraints"]["namespaceSelector"] = json!({});
        stored["matchConstraints"]["resourceRules"][0]["scope"] = json!("*");
        assert_eq!(differences(&made, &stored), Vec::<String>::new());
        stored["matchConstraints"]["namespaceSelector"] = json!({"matchLabels": {"a": "b"}});
        assert_eq!(differences(&made, &stored), ["matchConstraints.namespaceSelector"]);
        stored["validations"][0]["expression"] = json!("true");
        assert!(named(&differences(&made, &stored)).contains("validations.0.expression"));
    }
}
