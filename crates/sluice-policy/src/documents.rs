use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::nearest::{all_of, did_you_mean};
use crate::spec::{API_VERSION, ClusterGatewayPolicy, GatewayPolicy, IdentityProvider};
use crate::{Problem, yaml};

/// Bytes of one source; more is refused unread.
pub const MAX_SOURCE_BYTES: usize = 1024 * 1024;
/// Kinds that are read.
const KINDS: [&str; 3] = ["GatewayPolicy", "ClusterGatewayPolicy", "IdentityProvider"];
/// Documents over all sources.
pub const MAX_DOCUMENTS: usize = 256;

/// Policies and providers, read from YAML and well-formed. What they mean is
/// checked by [`compile`](crate::compile).
#[derive(Debug, Clone, Default)]
pub struct Documents {
    pub(crate) policies: Vec<Document<GatewayPolicy>>,
    pub(crate) cluster_policies: Vec<Document<ClusterGatewayPolicy>>,
    pub(crate) providers: Vec<Document<IdentityProvider>>,
    /// Folder with the bundles of ConfigMaps, in a cluster.
    pub(crate) bundles: Option<PathBuf>,
}

/// One document, and what to call it in a [`Problem`].
#[derive(Debug, Clone)]
pub(crate) struct Document<T> {
    pub(crate) label: String,
    pub(crate) content: T,
}

impl Documents {
    /// Reads sources: `(name, text)`, the text being YAML (or JSON) of any
    /// number of documents.
    ///
    /// # Errors
    /// Everything that is wrong, each with its document and field. Nothing is
    /// kept of sources that are partly right.
    pub fn parse(sources: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let mut documents = Self::default();
        let mut problems = Vec::new();
        for (name, text) in sources {
            if text.len() > MAX_SOURCE_BYTES {
                problems.push(Problem {
                    document: name.clone(),
                    path: String::new(),
                    message: format!("has {} bytes; at most {MAX_SOURCE_BYTES} are read: split it", text.len()),
                });
                continue;
            }
            if let Some(why) = yaml::too_costly(text) {
                problems.push(problem(name, "", why));
                continue;
            }
            for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
                let label = format!("{name}#{}", index + 1);
                if index >= MAX_DOCUMENTS {
                    problems.push(problem(&label, "", format!("more than {MAX_DOCUMENTS} documents: split them")));
                    break;
                }
                // A deserializer that failed yields the rest of its text over
                // and over: stop at the first failure.
                match read_yaml(document) {
                    Ok(Value::Null) => {}
                    Ok(value) => {
                        if let Err(problem) = documents.take(&label, value) {
                            problems.push(problem);
                        }
                    }
                    Err(message) => {
                        problems.push(problem(&label, "", message));
                        break;
                    }
                }
            }
        }
        documents.refuse_same_names(&mut problems);
        if documents.len() > MAX_DOCUMENTS {
            problems.push(problem("all files", "", format!("hold more than {MAX_DOCUMENTS} documents: remove some")));
        }
        if problems.is_empty() { Ok(documents) } else { Err(problems) }
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.policies.len() + self.cluster_policies.len() + self.providers.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&mut self, label: &str, value: Value) -> Result<(), Problem> {
        let Value::Object(fields) = &value else {
            return Err(problem(label, "", "is not a mapping; write `apiVersion`, `kind`, `metadata` and `spec`"));
        };
        let text = |field: &str| fields.get(field).and_then(Value::as_str);
        let Some(kind) = text("kind") else {
            return Err(problem(label, "kind", "is missing; write `GatewayPolicy` or `IdentityProvider`"));
        };
        let name = fields.get("metadata").and_then(|m| m.get("name")).and_then(Value::as_str).unwrap_or("?");
        let label = format!("{label} {kind}/{name}");
        if !KINDS.contains(&kind) {
            let near = did_you_mean(kind, KINDS);
            let near = if near.is_empty() { ";".to_owned() } else { near };
            let known = all_of(&KINDS.map(|kind| format!("`{kind}`")));
            let message = format!("`{kind}` is unknown{near} Known are {known}");
            return Err(problem(&label, "kind", message));
        }
        match text("apiVersion") {
            Some(API_VERSION) => {}
            Some(other) => {
                return Err(problem(&label, "apiVersion", format!("`{other}` is unknown; write `{API_VERSION}`")));
            }
            None => return Err(problem(&label, "apiVersion", format!("is missing; write `{API_VERSION}`"))),
        }
        match kind {
            "GatewayPolicy" => {
                let content = typed(&label, value)?;
                self.policies.push(Document { label, content });
            }
            "ClusterGatewayPolicy" => {
                let content = typed(&label, value)?;
                self.cluster_policies.push(Document { label, content });
            }
            _ => {
                let content = typed(&label, value)?;
                self.providers.push(Document { label, content });
            }
        }
        Ok(())
    }

    fn refuse_same_names(&self, problems: &mut Vec<Problem>) {
        let mut seen = BTreeSet::new();
        for Document { label, content } in &self.policies {
            if !seen.insert((content.metadata.namespace(), content.metadata.name.as_str())) {
                problems.push(problem(label, "metadata.name", taken("policy", &content.metadata.name)));
            }
        }
        let mut seen = BTreeSet::new();
        for Document { label, content } in &self.cluster_policies {
            if !seen.insert(content.metadata.name.as_str()) {
                problems.push(problem(label, "metadata.name", taken("cluster policy", &content.metadata.name)));
            }
        }
        let mut seen = BTreeSet::new();
        for Document { label, content } in &self.providers {
            if !seen.insert(content.metadata.name.as_str()) {
                problems.push(problem(label, "metadata.name", taken("provider", &content.metadata.name)));
            }
        }
    }
}

fn taken(what: &str, name: &str) -> String {
    format!("another {what} is called `{name}` already; rename or remove one")
}

fn problem(document: &str, path: &str, message: impl Into<String>) -> Problem {
    Problem { document: document.to_owned(), path: path.to_owned(), message: message.into() }
}

fn read_yaml(document: serde_norway::Deserializer<'_>) -> Result<Value, String> {
    let value = serde_norway::Value::deserialize(document).map_err(|error| {
        let error = error.to_string();
        if error.contains("duplicate entry") {
            format!("has a key twice: {error}; remove one of the two")
        } else {
            format!("is not YAML: {error}; correct it there")
        }
    })?;
    to_json(value)
}

/// YAML that JSON can say; the rest has no meaning in a policy.
fn to_json(value: serde_norway::Value) -> Result<Value, String> {
    use serde_norway::Value as Yaml;
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::Number(number) => {
            if let Some(value) = number.as_i64() {
                value.into()
            } else if let Some(value) = number.as_u64() {
                value.into()
            } else {
                number
                    .as_f64()
                    .and_then(serde_json::Number::from_f64)
                    .map(Value::Number)
                    .ok_or_else(|| format!("holds the number `{number}`; write a finite one"))?
            }
        }
        Yaml::String(value) => Value::String(value),
        Yaml::Sequence(items) => Value::Array(items.into_iter().map(to_json).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let mut fields = serde_json::Map::new();
            for (key, value) in entries {
                let Yaml::String(key) = key else {
                    return Err(format!("has the key `{}`, which is no text; quote it", key_text(&key)));
                };
                fields.insert(key, to_json(value)?);
            }
            Value::Object(fields)
        }
        Yaml::Tagged(tagged) => return Err(format!("has the YAML tag `{}`; remove it", tagged.tag)),
    })
}

fn key_text(key: &serde_norway::Value) -> String {
    serde_norway::to_string(key).map(|text| text.trim().to_owned()).unwrap_or_else(|_| "?".to_owned())
}

/// The one document of a text that is no policy.
pub(crate) fn read_one<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Problem> {
    if text.len() > MAX_SOURCE_BYTES {
        return Err(problem(name, "", format!("has {} bytes; at most {MAX_SOURCE_BYTES} are read", text.len())));
    }
    if let Some(why) = yaml::too_costly(text) {
        return Err(problem(name, "", why));
    }
    let value = read_yaml(serde_norway::Deserializer::from_str(text)).map_err(|message| problem(name, "", message))?;
    typed(name, value)
}

fn typed<T: DeserializeOwned>(label: &str, value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        let message = error.into_inner().to_string();
        match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            Some(field) if path.is_empty() => problem(label, field, "is missing; add it"),
            Some(field) => problem(label, &format!("{path}.{field}"), "is missing; add it"),
            None => problem(label, &path, reworded(&message)),
        }
    })
}

/// The words of serde, with what to do.
fn reworded(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let first = quoted.next().unwrap_or("");
    let known: Vec<&str> = quoted.collect();
    let listed: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
    let near = did_you_mean(first, known.iter().copied());
    let near = if near.is_empty() { ";".to_owned() } else { near };
    if message.starts_with("unknown field") {
        return format!("the field `{first}` is unknown{near} Known here: {}", all_of(&listed));
    }
    if message.starts_with("unknown variant") {
        return format!("`{first}` is unknown{near} Known here: {}", all_of(&listed));
    }
    let invalid = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, wanted)) = invalid.and_then(|rest| rest.split_once(", expected ")) else {
        return message.to_owned();
    };
    let wanted = match wanted {
        // What serde says of an enum of plain words.
        "string or map" | "a string" => "a text",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        other => other.strip_prefix("struct ").map_or(other, |_| "a mapping"),
    };
    let found = match found.split_once(' ') {
        _ if found == "map" => "a mapping".to_owned(),
        _ if found == "sequence" => "a list".to_owned(),
        _ if found == "null" => "empty".to_owned(),
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer" | "floating point", number)) => format!("the number {number}"),
        Some(("boolean", word)) => word.to_owned(),
        _ => found.to_owned(),
    };
    format!("is {found}; write {wanted}")
}
