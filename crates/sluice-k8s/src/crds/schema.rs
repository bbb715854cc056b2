//! From the JSON schema that schemars makes to the structural schema that an
//! API server takes.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Structural schema of a type.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    structural(&mut schema);
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("title");
    }
    schema
}

/// Rewrites a schema in place, and all below it.
fn structural(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    nullable(fields);
    choices(fields);
    // Not taken, or taken with a warning; defaults are said in words, so that
    // what is stored is what was written.
    for unknown in ["$schema", "default"] {
        fields.remove(unknown);
    }
    if let Some(format) = fields.get("format").and_then(Value::as_str) {
        match format {
            "uint64" | "uint" | "int64" => fields.insert("format".to_owned(), json!("int64")),
            "uint32" => {
                // One more bit than `int32` has.
                fields.entry("maximum").or_insert(json!(u32::MAX));
                fields.insert("format".to_owned(), json!("int64"))
            }
            format if format.starts_with("uint") || format.starts_with("int") => {
                fields.insert("format".to_owned(), json!("int32"))
            }
            _ => None,
        };
    }
    if let Some(Value::String(description)) = fields.get_mut("description") {
        *description = one_line(description);
    }
    match fields.get_mut("additionalProperties") {
        // Unknown fields: see `keep_unknown`.
        Some(Value::Bool(false)) => {
            fields.remove("additionalProperties");
        }
        Some(Value::Bool(true)) => {
            fields.remove("additionalProperties");
            fields.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
        }
        Some(below) => structural(below),
        None => {}
    }
    if let Some(items) = fields.get_mut("items") {
        structural(items);
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(structural);
    }
}

/// `null` stands for absent: the API server drops it by itself.
fn nullable(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = fields.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            fields.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(options)) = fields.get_mut("enum") {
        options.retain(|one| !one.is_null());
    }
    let Some(Value::Array(options)) = fields.get_mut("anyOf") else { return };
    options.retain(|option| option.get("type") != Some(&json!("null")));
    if let [Value::Object(only)] = options.as_slice() {
        let only = only.clone();
        fields.remove("anyOf");
        for (key, value) in only {
            fields.entry(key).or_insert(value);
        }
        nullable(fields);
    }
}

/// Words to choose from, each with what it means; a number or a text.
fn choices(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(options)) = fields.get("oneOf") {
        let words: Vec<Value> = options.iter().filter_map(|option| option.get("const").cloned()).collect();
        if words.len() == options.len() {
            let meanings: Vec<String> = options
                .iter()
                .filter_map(|option| {
                    let meaning = option.get("description")?.as_str()?.trim().trim_end_matches('.');
                    let mut letters = meaning.chars();
                    let first = letters.next()?.to_lowercase();
                    Some(format!("`{}`: {first}{}", option.get("const")?.as_str()?, one_line(letters.as_str())))
                })
                .collect();
            let said = fields.get("description").and_then(Value::as_str).unwrap_or_default();
            let explained = ["`: ", "` (it ", "(default): "].iter().any(|sign| said.contains(sign));
            let said = one_line(said);
            let description = if explained { said } else { format!("{said} {}.", meanings.join("; ")) };
            fields.remove("oneOf");
            fields.insert("type".to_owned(), json!("string"));
            fields.insert("enum".to_owned(), Value::Array(words));
            fields.insert("description".to_owned(), json!(description.trim()));
        }
    }
    if let Some(Value::Array(options)) = fields.get("anyOf") {
        let kinds: Vec<_> = options.iter().filter_map(|option| option.get("type")?.as_str()).collect();
        if kinds == ["integer", "string"] {
            fields.remove("anyOf");
            fields.insert("x-kubernetes-int-or-string".to_owned(), json!(true));
        }
    }
}

/// Fields that nobody knows are kept, so that an admission policy (and the
/// control plane, which reads as strictly) can refuse them: were they dropped,
/// an `Allow` with a misspelt `when` would become wider.
pub(crate) fn keep_unknown(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(keep_unknown);
        fields.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
    }
    if let Some(items) = fields.get_mut("items") {
        keep_unknown(items);
    }
}

/// Lines of a comment as one; an empty line stays a break.
fn one_line(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n")
}
