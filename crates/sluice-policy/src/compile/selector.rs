//! Which workloads a policy is about.

use std::collections::BTreeMap;

use crate::spec::{Operator, Selector};

/// Whether the labels fit. An absent selector fits all.
pub(super) fn selects(selector: Option<&Selector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return true };
    let exact = selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value));
    exact
        && selector.match_expressions.iter().all(|expression| {
            let value = labels.get(&expression.key);
            let listed = value.is_some_and(|value| expression.values.contains(value));
            match expression.operator {
                Operator::In => listed,
                Operator::NotIn => !listed,
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
}

/// Reports what is wrong with a selector.
pub(super) fn check(selector: &Selector, report: &mut impl FnMut(&str, String)) {
    for key in selector.match_labels.keys() {
        if key.is_empty() {
            report(".matchLabels", "has an empty label name; write one".to_owned());
        }
    }
    for (index, expression) in selector.match_expressions.iter().enumerate() {
        let at = format!(".matchExpressions[{index}]");
        if expression.key.is_empty() {
            report(&format!("{at}.key"), "is empty; write the name of a label".to_owned());
        }
        let values = format!("{at}.values");
        let operator = expression.operator;
        match operator {
            Operator::In | Operator::NotIn if expression.values.is_empty() => {
                report(&values, format!("is empty; `{operator:?}` needs at least one value"));
            }
            Operator::Exists | Operator::DoesNotExist if !expression.values.is_empty() => {
                report(&values, format!("must be absent with `{operator:?}`; remove it, or write `In`"));
            }
            _ => {}
        }
    }
}

/// The selector in words.
pub(super) fn describe(selector: &Selector) -> String {
    let exact = selector.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    let others = selector.match_expressions.iter().map(|expression| match expression.operator {
        Operator::In => format!("{} in ({})", expression.key, expression.values.join(", ")),
        Operator::NotIn => format!("{} not in ({})", expression.key, expression.values.join(", ")),
        Operator::Exists => expression.key.clone(),
        Operator::DoesNotExist => format!("!{}", expression.key),
    });
    exact.chain(others).collect::<Vec<_>>().join(", ")
}
