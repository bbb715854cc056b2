//! Policies that tests write.

use anyhow::Result;
use serde_json::Value;
use sluice_testkit::{Cluster, eventually};

use crate::kube::{self, Namespace};

/// Developers by their token, and the pod as itself, may do everything.
pub(crate) const EVERYTHING: &str = r#"
  - name: developers
    subjects: {groups: ["entra:developers"]}
    targets: [aks]
    kubernetes: {verbs: ["*"], resources: ["*"], namespaces: ["*"]}
    action: Allow
  - name: itself
    subjects: {serviceAccounts: [default]}
    targets: [own]
    kubernetes: {verbs: ["*"], resources: ["*"], namespaces: ["*"]}
    action: Allow
"#;

/// A policy `name` for pods with the label `app=APP` (of all, where `app` is
/// empty), with both targets. `more` is further YAML of its `spec`.
pub(crate) fn policy(namespace: &Namespace, name: &str, app: &str, rules: &str, more: &str) -> Result<String> {
    let selector = if app.is_empty() { String::new() } else { format!("selector: {{matchLabels: {{app: {app}}}}}") };
    let host = Cluster::get()?.host()?;
    Ok(format!(
        r#"apiVersion: sluice.dev/v1alpha1
kind: GatewayPolicy
metadata: {{name: {name}, namespace: {}}}
spec:
  {selector}
  identity: {{providers: [entra], workload: Allowed}}
  targets:
  - name: aks
    kubernetes: {{server: {host}}}
    caBundleRef: {{configMap: cluster-ca}}
  - name: own
    kubernetes: {{server: kubernetes.default.svc}}
  rules: {rules}
{more}
"#,
        namespace.name
    ))
}

/// Applies a policy and waits until every pod that it selects decides by it.
pub(crate) fn programmed(namespace: &Namespace, name: &str, yaml: &str) -> Result<()> {
    kube::apply(yaml)?;
    until_programmed(namespace, name)
}

/// Waits until every pod that the policy selects decides by its newest form.
pub(crate) fn until_programmed(namespace: &Namespace, name: &str) -> Result<()> {
    eventually(&format!("policy {name} in force"), || {
        let policy = kube::get(&["gatewaypolicy", name, "--namespace", &namespace.name])?;
        let generation = &policy["metadata"]["generation"];
        match condition(&policy, "Programmed") {
            Some(found) if found["status"] == "True" && &policy["status"]["observedGeneration"] == generation => Ok(()),
            found => anyhow::bail!("generation {generation}: {found:?}; all: {}", policy["status"]),
        }
    })
}

/// A condition of an object.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}
