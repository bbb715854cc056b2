//! The policy reference, written from the JSON schemas.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

const HEAD: &str = "<!-- Generated from crates/sluice-policy by `cargo run -p xtask`; do not edit. -->

# Policy reference

Every field of every document that Sluice reads. A field that is not here is refused, with its path and the nearest \
name that is known. What the fields mean together, and examples, are under `manifests/samples`; the JSON schemas are \
under `docs/schema`, for editors.

";

const CONDITIONS: &str = "## Conditions

`when` is CEL: a checked subset, whose types are known before it runs and whose evaluation has a budget. An answer that \
cannot be known (a body that could not be read, a field that is not there, values of different kinds compared) lets an \
`Allow` not match and a `Deny` match. `has(a.b.c)` is false where any step is known not to be there. A text that was \
not sent is `\"\"`. Groups and roles are qualified: `\"entra:developers\" in subject.groups`. `request.object` is the \
body of a create or update; what comes of a patch is not known from it, `request.patch` is the patch itself.

";

/// A page about some kinds of documents: name and schema.
pub(crate) fn page(kinds: &[(&str, &Value)]) -> String {
    let mut page = HEAD.to_owned();
    for (kind, schema) in kinds {
        section(&mut page, kind, schema);
    }
    conditions(&mut page);
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// What `when` may say.
fn conditions(page: &mut String) {
    add(page, CONDITIONS);
    add(page, "| Variable | Type |\n| --- | --- |\n");
    for (name, kind) in sluice_policy::condition_variables() {
        add(page, &format!("| `{name}` | {kind} |\n"));
    }
    let functions: Vec<String> = sluice_policy::condition_functions().iter().map(|name| format!("`{name}`")).collect();
    add(page, &format!("\nFunctions and macros: {}.\n", functions.join(", ")));
}

/// One kind: its own fields, then those of every type below it.
fn section(page: &mut String, kind: &str, schema: &Value) {
    add(page, &format!("## {kind}\n\n{}\n\n", description(schema)));
    let mut waiting = vec![(String::new(), schema)];
    let mut seen = BTreeSet::new();
    while !waiting.is_empty() {
        let (path, object) = waiting.remove(0);
        if !path.is_empty() {
            add(page, &format!("### {kind}: {path}\n\n{}\n\n", description(object)));
        }
        add(page, "| Field | Type | Meaning |\n| --- | --- | --- |\n");
        for (name, field) in object["properties"].as_object().into_iter().flatten() {
            let required = object["required"].as_array().is_some_and(|list| list.iter().any(|one| one == name));
            let mark = if required { " (required)" } else { "" };
            let text = meaning(schema, field);
            add(page, &format!("| `{name}`{mark} | {} | {text} |\n", type_name(schema, field)));
            let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if let Some((suffix, below)) = below(schema, field)
                && seen.insert(format!("{at}{suffix}"))
            {
                waiting.push((format!("{at}{suffix}"), below));
            }
        }
        add(page, "\n");
    }
}

/// The object type in a field, if it is one or a list of them.
fn below<'a>(root: &'a Value, field: &'a Value) -> Option<(&'static str, &'a Value)> {
    let field = resolved(root, field);
    if field["properties"].is_object() {
        return Some(("", field));
    }
    let items = resolved(root, &field["items"]);
    items["properties"].is_object().then_some(("[]", items))
}

/// Follows `$ref`, and the one type in an optional field.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return resolved(root, &root["$defs"][name]);
    }
    let choices = schema["anyOf"].as_array();
    let only = choices.and_then(|list| match list.as_slice() {
        [only, null] if null["type"] == "null" => Some(only),
        _ => None,
    });
    only.map_or(schema, |only| resolved(root, only))
}

fn type_name(root: &Value, field: &Value) -> String {
    let field = resolved(root, field);
    if let Some(words) = words(field) {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
    }
    if field["anyOf"].is_array() || field["oneOf"].is_array() {
        return "text or number".to_owned();
    }
    let kind = match &field["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("any"),
        _ => "any",
    };
    match kind {
        "array" => format!("list of {}", type_name(root, &field["items"])),
        "string" => "text".to_owned(),
        "integer" | "number" => "number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "object" if field["properties"].is_object() => "object".to_owned(),
        "object" => "map".to_owned(),
        other => other.to_owned(),
    }
}

/// The words of an enumeration.
fn words(field: &Value) -> Option<Vec<&str>> {
    if let Some(words) = field["enum"].as_array() {
        return words.iter().map(Value::as_str).collect();
    }
    field["oneOf"].as_array()?.iter().map(|one| one["const"].as_str()).collect()
}

fn meaning(root: &Value, field: &Value) -> String {
    let own = description(field);
    let text = if own.is_empty() { description(resolved(root, field)) } else { own };
    let text = if text.is_empty() { "(not described)".to_owned() } else { text };
    text.replace('|', "\\|")
}

/// A description on one line.
fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn add(page: &mut String, text: &str) {
    // Writing to a String does not fail.
    let _ = page.write_str(text);
}
