use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1;
use serde_json::Value;
use sluice_policy::spec::Selector;
use sluice_policy::{Documents, Problem};

/// One document of the cluster, read as far as selecting needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// `Kind/namespace/name`, or `Kind/name`.
    pub name: String,
    /// The object's UID and generation: when to read it again.
    pub uid: String,
    /// Generation of its spec.
    pub generation: Option<i64>,
    /// As `sluice-policy` reads it.
    pub text: String,
    /// Whom it is about.
    pub scope: Scope,
    /// CA bundles that it names.
    pub bundles: BTreeSet<String>,
    /// Why it cannot be read at all.
    pub problems: Vec<Problem>,
}

/// Whom a document is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Scope {
    /// A provider: everyone who may need it.
    Provider,
    /// A policy: pods of this namespace.
    Namespace {
        /// The namespace.
        namespace: String,
        /// Which pods; `None`: all.
        pods: Option<Selector>,
    },
    /// Guard rails: pods of these namespaces.
    Cluster {
        /// Which namespaces; `None`: all.
        namespaces: Option<Selector>,
        /// Which pods; `None`: all.
        pods: Option<Selector>,
    },
}

/// What of a pod matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Service account.
    pub service_account: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Reads a document: what `sluice_k8s::crds::document` gives, of an object with
/// this UID and generation.
///
/// A selector that cannot be read selects everyone: those whom the document may
/// be about keep what they have until it is put right.
pub fn read(document: &Value, uid: &str, generation: Option<i64>) -> Read {
    let word = |path: &str| document.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (kind, object, namespace) = (word("/kind"), word("/metadata/name"), word("/metadata/namespace"));
    let name = if namespace.is_empty() { format!("{kind}/{object}") } else { format!("{kind}/{namespace}/{object}") };
    let selector = |field: &str| -> Option<Selector> {
        let written = document.get("spec")?.get(field)?;
        serde_json::from_value(written.clone()).ok()
    };
    let scope = match kind {
        "IdentityProvider" => Scope::Provider,
        "ClusterGatewayPolicy" => {
            Scope::Cluster { namespaces: selector("namespaceSelector"), pods: selector("selector") }
        }
        _ => Scope::Namespace { namespace: namespace.to_owned(), pods: selector("selector") },
    };
    let text = document.to_string();
    let parsed = Documents::parse(&[(name.clone(), text.clone())]);
    let (bundles, problems) = match parsed {
        Ok(documents) => (documents.bundle_keys().iter().map(ToString::to_string).collect(), Vec::new()),
        Err(problems) => (BTreeSet::new(), problems),
    };
    Read { name, uid: uid.to_owned(), generation, text, scope, bundles, problems }
}

impl Read {
    /// Whether it is about a pod, given the labels of the pod's namespace.
    pub fn is_about(&self, pod: &Pod, namespace_labels: &BTreeMap<String, String>) -> bool {
        match &self.scope {
            Scope::Provider => true,
            Scope::Namespace { namespace, pods } => {
                *namespace == pod.namespace && super::selects(pods.as_ref(), &pod.labels)
            }
            Scope::Cluster { namespaces, pods } => {
                super::selects(namespaces.as_ref(), namespace_labels) && super::selects(pods.as_ref(), &pod.labels)
            }
        }
    }
}

impl Pod {
    /// What of a pod matters; `None`: it has no UID, or is over.
    pub fn of(pod: &v1::Pod) -> Option<(String, Self)> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if let Some("Succeeded" | "Failed") = phase {
            return None;
        }
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let view = Self {
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            service_account: account.unwrap_or_else(|| "default".to_owned()),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
        };
        Some((pod.metadata.uid.clone()?, view))
    }
}
