//! What changes in the agent's containers and init containers.

use serde_json::{Map, Value, json};

use super::object;
use crate::{java, names};

/// Variables that agents get, beside Java's. A pod that sets one otherwise is
/// refused: none of them takes a second file.
pub(super) const VARIABLES: [(&str, &str); 10] = [
    ("SSL_CERT_FILE", names::BUNDLE_FILE),
    ("REQUESTS_CA_BUNDLE", names::BUNDLE_FILE),
    ("CURL_CA_BUNDLE", names::BUNDLE_FILE),
    ("GIT_SSL_CAINFO", names::BUNDLE_FILE),
    ("PIP_CERT", names::BUNDLE_FILE),
    ("DENO_CERT", names::BUNDLE_FILE),
    ("CARGO_HTTP_CAINFO", names::BUNDLE_FILE),
    ("AWS_CA_BUNDLE", names::BUNDLE_FILE),
    ("NODE_EXTRA_CA_CERTS", names::CA_FILE),
    ("KUBERNETES_SERVICE_HOST", names::IN_CLUSTER_SERVER),
];

/// Set where the agent sets none.
const KUBECONFIG: &str = "KUBECONFIG";

/// Capabilities that an agent may keep.
pub(super) const CAPABILITIES: [&str; 1] = ["NET_BIND_SERVICE"];

/// No capability but an allowed one, no way to gain others, and a group that
/// the image does not choose: `group`, where neither container nor pod name one.
pub(super) fn confine(container: &mut Map<String, Value>, group: Option<i64>) {
    let context = object(container, "securityContext");
    context.insert("allowPrivilegeEscalation".to_owned(), json!(false));
    object(context, "capabilities").insert("drop".to_owned(), json!(["ALL"]));
    if let Some(group) = group.filter(|_| context.get("runAsGroup").is_none_or(Value::is_null)) {
        context.insert("runAsGroup".to_owned(), json!(group));
    }
}

/// Whether something is mounted where the service account is.
pub(super) fn has_folder(container: &Map<String, Value>) -> bool {
    mounts_of(container).any(at_folder)
}

/// What the agent trusts, and with `folder` its service account.
pub(super) fn mounts(container: &mut Map<String, Value>, folder: bool) {
    let mut mounts: Vec<Value> =
        mounts_of(container).filter(|mount| !at_folder(mount) && !of_ours(mount)).cloned().collect();
    mounts.push(json!({"name": names::TRUST, "mountPath": names::TRUST_PATH, "readOnly": true}));
    if folder {
        mounts
            .push(json!({"name": names::SERVICE_ACCOUNT, "mountPath": names::SERVICE_ACCOUNT_PATH, "readOnly": true}));
    }
    container.insert("volumeMounts".to_owned(), Value::Array(mounts));
}

/// Variables by which programs find the pod's CA and the API server.
pub(super) fn environment(container: &mut Map<String, Value>, java_trust_store: bool) {
    let mut env = match container.remove("env") {
        Some(Value::Array(env)) => env,
        _ => Vec::new(),
    };
    env.retain(|variable| !VARIABLES.iter().any(|(name, _)| named(variable, name)) && !is_own_kubeconfig(variable));
    env.extend(VARIABLES.iter().map(|(name, value)| json!({"name": name, "value": value})));
    if !env.iter().any(|variable| named(variable, KUBECONFIG)) {
        env.push(json!({"name": KUBECONFIG, "value": names::KUBECONFIG_FILE}));
    }
    if java_trust_store {
        add_java(&mut env);
    }
    container.insert("env".to_owned(), Value::Array(env));
}

/// Appends our options where the agent sets some, and in that place: variables
/// after it may refer to it.
fn add_java(env: &mut Vec<Value>) {
    let ours = java::options(names::JAVA_FILE);
    let with_ours = |variable: &Value| java::appended(value(variable).unwrap_or_default(), &ours);
    env.retain(|variable| !named(variable, java::VARIABLE) || with_ours(variable) != ours);
    match env.iter_mut().rfind(|variable| named(variable, java::VARIABLE)) {
        Some(variable) => *variable = json!({"name": java::VARIABLE, "value": with_ours(variable)}),
        None => env.push(json!({"name": java::VARIABLE, "value": ours})),
    }
}

/// A path without doubled, trailing and `.` parts; `..` goes up.
pub(super) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn mounts_of(container: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    container.get("volumeMounts").and_then(Value::as_array).into_iter().flatten()
}

fn at_folder(mount: &Value) -> bool {
    mount.get("mountPath").and_then(Value::as_str).is_some_and(|path| normal(path) == names::SERVICE_ACCOUNT_PATH)
}

fn of_ours(mount: &Value) -> bool {
    mount.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with(names::RESERVED))
}

fn named(variable: &Value, name: &str) -> bool {
    variable.get("name").and_then(Value::as_str) == Some(name)
}

fn value(variable: &Value) -> Option<&str> {
    variable.get("value").and_then(Value::as_str)
}

fn is_own_kubeconfig(variable: &Value) -> bool {
    named(variable, KUBECONFIG) && value(variable) == Some(names::KUBECONFIG_FILE)
}
