//! Fields that nobody knows. The schemas keep them, so that these policies can
//! refuse them: dropped silently, a misspelt `when` would make an `Allow`
//! wider.

use serde_json::Value;

use super::pods::list;
use super::{Asserted, Draft};
use crate::{crds, names};

pub(super) fn all() -> Vec<Asserted> {
    crds::KINDS.iter().map(kind).collect()
}

fn kind(kind: &crds::Kind) -> Asserted {
    let mut draft =
        Draft::new(format!("sluice-fields-{}", kind.plural), names::GROUP, &[kind.plural], &["CREATE", "UPDATE"]);
    let mut places = Vec::new();
    collect(&kind.spec_schema(), "spec", &["dyn(object)".to_owned(), "spec".to_owned()], &mut places);
    for place in places {
        let known = place.known.join(", ");
        draft = draft
            .demand(place.expression, format!("{} has a field that is not known; known there: {known}", place.shown));
    }
    draft.done()
}

struct Place {
    shown: String,
    expression: String,
    known: Vec<String>,
}

/// Every object of the schema. `steps`: the fields that lead there; a list ends
/// with `[]`.
fn collect(schema: &Value, shown: &str, steps: &[String], places: &mut Vec<Place>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    // The keys of a key set are the provider's own words.
    if schema.get("x-kubernetes-preserve-unknown-fields").is_some() && !shown.ends_with("jwks.keys[]") {
        let known: Vec<String> = properties.keys().cloned().collect();
        let test = format!("k in {}", list(known.iter().map(String::as_str)));
        places.push(Place { shown: shown.to_owned(), expression: expression(steps, &test), known });
    }
    for (name, below) in properties {
        match below.get("items") {
            Some(items) => {
                let steps = [steps, &[format!("{name}[]")]].concat();
                collect(items, &format!("{shown}.{name}[]"), &steps, places);
            }
            None => collect(below, &format!("{shown}.{name}"), &[steps, std::slice::from_ref(name)].concat(), places),
        }
    }
}

/// `test` of every key `k` of every object that `steps` lead to.
fn expression(steps: &[String], test: &str) -> String {
    let mut text = String::new();
    let mut closing = 0;
    let mut first = true;
    for step in steps {
        match step.strip_suffix("[]") {
            _ if first => text.push_str(step),
            Some(name) => {
                let item = char::from(b'a' + closing);
                text.push_str(&format!(".?{name}.orValue([]).all({item}, {item}"));
                closing += 1;
            }
            None => text.push_str(&format!(".?{step}.orValue({{}})")),
        }
        first = false;
    }
    text.push_str(&format!(".all(k, {test})"));
    text.push_str(&")".repeat(usize::from(closing)));
    text
}
