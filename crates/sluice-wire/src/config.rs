use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bounds::{self, OutOfBounds};

/// Seconds between lines when nothing changes. A stream that is silent for
/// three times as long is dead: open another.
pub const HEARTBEAT_SECONDS: u64 = 15;

const MAX_WORD: usize = 128;
const MAX_DOCUMENTS: usize = 256;
const MAX_NAME: usize = 1024;
const MAX_YAML: usize = 1024 * 1024;
const MAX_BUNDLES: usize = 256;
const MAX_BUNDLE: usize = 1024 * 1024;
const MAX_LABELS: usize = 1024;

/// One line of the config stream: a policy as a whole, or `{}` to show that the
/// stream lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawLine", into = "RawLine")]
pub enum ConfigLine {
    /// This is in force from now on, if it compiles.
    Config(Config),
    /// Nothing changed.
    Heartbeat,
}

/// Everything that a sidecar decides by. The sidecar compiles it itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Config {
    /// Names what follows; equal for equal content. A report repeats it.
    pub revision: String,
    /// Policies that select the pod, guard rails of its namespace, providers.
    pub documents: Vec<Document>,
    /// PEM of the CA bundles that the documents name, by
    /// `NAMESPACE/CONFIGMAP/KEY`; `_control` in place of the namespace for those
    /// of providers.
    pub bundles: BTreeMap<String, String>,
    /// The pod's labels by which policies were selected.
    pub labels: BTreeMap<String, String>,
}

/// One policy or provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// `Kind/namespace/name`, or `Kind/name`: what problems are reported under.
    pub name: String,
    /// YAML, or JSON, which is YAML too.
    pub yaml: String,
}

/// As it is written. Half a config is no heartbeat.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    documents: Option<Vec<Document>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    bundles: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    selector_labels: BTreeMap<String, String>,
}

impl TryFrom<RawLine> for ConfigLine {
    type Error = OutOfBounds;

    fn try_from(raw: RawLine) -> Result<Self, OutOfBounds> {
        let empty = raw.bundles.is_empty() && raw.selector_labels.is_empty();
        let (revision, documents) = match (raw.revision, raw.documents) {
            (Some(revision), Some(documents)) => (revision, documents),
            (None, None) if empty => return Ok(Self::Heartbeat),
            (None, _) => return Err(OutOfBounds::Form { field: "revision", what: "is missing" }),
            (Some(_), None) => return Err(OutOfBounds::Form { field: "documents", what: "is missing" }),
        };
        bounds::word("revision", &revision, MAX_WORD)?;
        bounds::entries("documents", documents.len(), MAX_DOCUMENTS)?;
        for document in &documents {
            bounds::bytes("documents[].name", &document.name, MAX_NAME)?;
            bounds::bytes("documents[].yaml", &document.yaml, MAX_YAML)?;
        }
        bounds::entries("bundles", raw.bundles.len(), MAX_BUNDLES)?;
        for (name, pem) in &raw.bundles {
            bundle_name(name)?;
            bounds::bytes("bundles[]", pem, MAX_BUNDLE)?;
        }
        bounds::entries("selectorLabels", raw.selector_labels.len(), MAX_LABELS)?;
        for (key, value) in &raw.selector_labels {
            bounds::bytes("selectorLabels", key, MAX_NAME)?;
            bounds::bytes("selectorLabels", value, MAX_NAME)?;
        }
        Ok(Self::Config(Config { revision, documents, bundles: raw.bundles, labels: raw.selector_labels }))
    }
}

impl From<ConfigLine> for RawLine {
    fn from(line: ConfigLine) -> Self {
        match line {
            ConfigLine::Heartbeat => {
                Self { revision: None, documents: None, bundles: BTreeMap::new(), selector_labels: BTreeMap::new() }
            }
            ConfigLine::Config(config) => Self {
                revision: Some(config.revision),
                documents: Some(config.documents),
                bundles: config.bundles,
                selector_labels: config.labels,
            },
        }
    }
}

/// A bundle's name becomes a path below a folder: three plain parts, none of
/// which leads elsewhere.
fn bundle_name(name: &str) -> Result<(), OutOfBounds> {
    bounds::bytes("bundles", name, MAX_NAME)?;
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    if name.split('/').count() == 3 && name.split('/').all(plain) {
        Ok(())
    } else {
        Err(OutOfBounds::Form { field: "bundles", what: "has a name that is not NAMESPACE/CONFIGMAP/KEY" })
    }
}
