//! The injection: a pod, as JSON, with the gateway put into it.
//!
//! The input stays raw JSON, so that fields we never heard of survive; a typed
//! reading of it is only looked at, to refuse what would get around the
//! gateway. What an earlier run put in is taken out and put in anew: a pod that
//! was injected before comes out the same, and nothing is believed because an
//! annotation says so.

mod agent;
mod file;
mod ours;
mod probes;
mod refuse;
mod settings;
mod size;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

use crate::names;

pub use file::{InjectedFile, Misplaced, NotInjected, inject_file, misplaced, template_of};
pub(crate) use refuse::VOLUME_KINDS;
pub use settings::InjectionSettings;
pub use size::{Size, SizeError};

/// What is wrong with a pod, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `spec.containers[0].securityContext.privileged`.
    pub path: String,
    /// Names the value and the fix.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

/// What is known of a pod beside its own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placement {
    /// Its namespace demands injection: there is no opting out.
    pub required: bool,
    /// Where the agent's service account folder comes from.
    pub folders: Folders,
    /// Minor version of the Kubernetes 1.x that it will run on, where known.
    pub kubernetes_minor: Option<u32>,
}

/// Which containers get the service account folder that the gateway fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Folders {
    /// Those in which the API server mounted its own: what a webhook sees.
    #[default]
    AsMounted,
    /// All, unless `automountServiceAccountToken` is false: what a file says.
    AsWritten,
}

/// The pod with the gateway in it. `pod` is a pod, or anything with `metadata`
/// and the `spec` of one, such as a pod template.
///
/// # Errors
/// Everything that would get around the gateway, or that it could not work
/// beside, each with what to change.
pub fn inject(pod: &Value, placement: Placement, settings: &InjectionSettings) -> Result<Value, Vec<Refusal>> {
    let mut pod = probes::restored(pod);
    let typed = read(&pod).map_err(|refusal| vec![refusal])?;
    let refusals = refuse::refusals(&typed, &pod, placement, settings);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    mark(&mut pod, settings);
    let spec = typed.spec.as_ref();
    let automount = spec.and_then(|spec| spec.automount_service_account_token) != Some(false);
    let group = spec.and_then(|spec| spec.security_context.as_ref()?.run_as_group);
    let rewriting = Rewriting { folders: placement.folders, automount, named_group: group.is_some(), settings };
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        rewriting.apply(spec);
    }
    Ok(pod)
}

/// Whether a pod asks for injection by its annotation.
pub fn asks(pod: &Value) -> bool {
    annotation(pod, names::INJECT) == Some(names::ENABLED)
}

pub(crate) fn annotation<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// The typed reading. A pod in an AdmissionReview, and a template, may leave
/// `apiVersion` and `kind` out, on which the type insists.
fn read(pod: &Value) -> Result<Pod, Refusal> {
    let part = |name: &str| pod.get(name).cloned().unwrap_or(Value::Null);
    let whole = json!({"apiVersion": "v1", "kind": "Pod", "metadata": part("metadata"), "spec": part("spec")});
    let pod: Pod = serde_path_to_error::deserialize(whole).map_err(|error| Refusal {
        path: error.path().to_string(),
        message: format!("is not what a pod has there: {}", error.into_inner()),
    })?;
    if pod.spec.as_ref().is_none_or(|spec| spec.containers.is_empty()) {
        return Err(Refusal {
            path: "spec.containers".to_owned(),
            message: "is empty; a pod has at least one container".to_owned(),
        });
    }
    Ok(pod)
}

fn mark(pod: &mut Value, settings: &InjectionSettings) {
    let Some(pod) = pod.as_object_mut() else { return };
    let metadata = object(pod, "metadata");
    object(metadata, "annotations").insert(names::INJECTED.to_owned(), json!(settings.version));
    object(metadata, "labels").insert(names::INJECTED.to_owned(), json!("true"));
}

struct Rewriting<'a> {
    folders: Folders,
    /// The pod does not say that it wants no service account folder.
    automount: bool,
    /// The pod names a group for all its containers.
    named_group: bool,
    settings: &'a InjectionSettings,
}

impl Rewriting<'_> {
    fn apply(&self, spec: &mut Map<String, Value>) {
        let mut init = taken(spec, "initContainers");
        init.retain(|container| !is_ours(container));
        let mut containers = taken(spec, "containers");
        let mut probes = Map::new();
        for container in init.iter_mut().chain(&mut containers).filter_map(Value::as_object_mut) {
            self.agent(container);
            probes::rewrite(container, &mut probes);
        }
        let mut volumes = taken(spec, "volumes");
        volumes.retain(|volume| !is_ours(volume) && !is_left_over(volume, init.iter().chain(&containers)));
        volumes.extend(ours::volumes(self.settings));

        let mut all = vec![ours::init(self.settings), ours::gateway(self.settings, &probes)];
        all.append(&mut init);
        spec.insert("initContainers".to_owned(), Value::Array(all));
        spec.insert("containers".to_owned(), Value::Array(containers));
        spec.insert("volumes".to_owned(), Value::Array(volumes));
        // A Service called `kubernetes` in the pod's namespace would be the API
        // server to the gateway. Agents reach no Service by its address anyway.
        spec.insert("enableServiceLinks".to_owned(), Value::Bool(false));
    }

    fn agent(&self, container: &mut Map<String, Value>) {
        agent::confine(container, (!self.named_group).then_some(self.settings.agent_group));
        let folder = match self.folders {
            Folders::AsMounted => agent::has_folder(container),
            Folders::AsWritten => self.automount,
        };
        agent::mounts(container, folder);
        agent::environment(container, self.settings.java_trust_store);
    }
}

/// Whether a container or volume, which was not refused, is of our names.
fn is_ours(named: &Value) -> bool {
    named.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with(names::RESERVED))
}

/// The API server's own service account volume, once nothing mounts it.
fn is_left_over<'a>(volume: &Value, containers: impl Iterator<Item = &'a Value>) -> bool {
    let Some(name) = volume.get("name").and_then(Value::as_str) else { return false };
    let mut mounts = containers.flat_map(|container| list(container, "volumeMounts"));
    name.starts_with("kube-api-access-")
        && volume.get("projected").is_some()
        && !mounts.any(|mount| mount.get("name").and_then(Value::as_str) == Some(name))
}

/// A list of a JSON object; empty where there is none.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn taken(fields: &mut Map<String, Value>, field: &str) -> Vec<Value> {
    match fields.remove(field) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// A field as an object, made where it is absent or null.
fn object<'a>(fields: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let value = fields.entry(field.to_owned()).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("made an object above"),
    }
}

#[cfg(test)]
mod tests;
