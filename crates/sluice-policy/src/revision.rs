use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use crate::Documents;

impl Documents {
    /// The first 16 hex digits of SHA-256 over the documents: each as JSON
    /// with sorted keys, on a line of its own, the lines sorted.
    pub(crate) fn revision(&self) -> String {
        let policies = self.policies.iter().map(|document| serde_json::to_value(&document.content));
        let cluster = self.cluster_policies.iter().map(|document| serde_json::to_value(&document.content));
        let providers = self.providers.iter().map(|document| serde_json::to_value(&document.content));
        // These types always have a JSON form; one that had none would only
        // be missing from the digest.
        let mut lines: Vec<String> =
            policies.chain(cluster).chain(providers).flatten().map(|value| canonical(&value)).collect();
        lines.sort();
        let digest = digest(&SHA256, lines.join("\n").as_bytes());
        let mut revision = hex::encode(digest.as_ref());
        revision.truncate(16);
        revision
    }
}

/// JSON with sorted keys, however a map is built.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, String> = fields.iter().map(|(key, value)| (key, canonical(value))).collect();
            let fields: Vec<String> =
                sorted.into_iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}
