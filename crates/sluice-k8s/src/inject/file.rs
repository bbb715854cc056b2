//! Files of any number of objects, as people keep them.

use serde::Deserialize;
use serde_json::Value;

use super::{Folders, InjectionSettings, Placement, Refusal, asks, inject};
use crate::yaml::to_yaml;

/// A file with its pods injected.
#[derive(Debug, Clone, PartialEq)]
pub struct InjectedFile {
    /// All objects, in their order.
    pub objects: Vec<Value>,
    /// The same as YAML.
    pub yaml: String,
    /// `Deployment/coder`: whose pods were injected.
    pub injected: Vec<String>,
    /// Whose pods do not ask, and were left alone.
    pub left: Vec<String>,
}

/// Why a file has no injected form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotInjected {
    /// It is no YAML: which document, and where.
    Unreadable(String),
    /// All that is refused, each path behind the object that it is in.
    Refused(Vec<Refusal>),
}

/// Injects the pods of a file: of `Pod`, of everything that has a template of
/// one, and of `List`s of these. Pods that do not ask are left alone, unless
/// `required`. Other objects stay as they are.
///
/// # Errors
/// Everything that is refused; or a text that is no YAML.
pub fn inject_file(text: &str, required: bool, settings: &InjectionSettings) -> Result<InjectedFile, NotInjected> {
    let placement = Placement { required, folders: Folders::AsWritten, kubernetes_minor: None };
    let mut work = Work { placement, settings, injected: Vec::new(), left: Vec::new(), refusals: Vec::new() };
    let (mut objects, mut yaml) = (Vec::new(), String::new());
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let mut object = Value::deserialize(document)
            .map_err(|error| NotInjected::Unreadable(format!("document {} is not YAML: {error}", index + 1)))?;
        if object.is_null() {
            continue;
        }
        work.object(&mut object);
        if !yaml.is_empty() {
            yaml.push_str("---\n");
        }
        yaml.push_str(&to_yaml(&object));
        objects.push(object);
    }
    if work.refusals.is_empty() {
        Ok(InjectedFile { objects, yaml, injected: work.injected, left: work.left })
    } else {
        Err(NotInjected::Refused(work.refusals))
    }
}

struct Work<'a> {
    placement: Placement,
    settings: &'a InjectionSettings,
    injected: Vec<String>,
    left: Vec<String>,
    refusals: Vec<Refusal>,
}

impl Work<'_> {
    fn object(&mut self, object: &mut Value) {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let metadata = object.get("metadata");
        let text = |field: &str| metadata.and_then(|metadata| metadata.get(field)).and_then(Value::as_str);
        let name = text("name").or_else(|| text("generateName")).unwrap_or("?");
        let who = format!("{kind}/{name}");
        let place = match kind.as_str() {
            "Pod" => "",
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
                "/spec/template"
            }
            "CronJob" => "/spec/jobTemplate/spec/template",
            "PodTemplate" => "/template",
            "List" => {
                let items = object.get_mut("items").and_then(Value::as_array_mut);
                items.into_iter().flatten().for_each(|item| self.object(item));
                return;
            }
            _ => return,
        };
        let Some(pod) = object.pointer_mut(place) else {
            self.refusals.push(Refusal { path: who, message: "has no pod template; add one".to_owned() });
            return;
        };
        if !(self.placement.required || asks(pod)) {
            self.left.push(who);
            return;
        }
        match inject(pod, self.placement, self.settings) {
            Ok(injected) => {
                *pod = injected;
                self.injected.push(who);
            }
            Err(refusals) => {
                let steps = place.trim_start_matches('/').replace('/', ".");
                let within = if steps.is_empty() { who } else { format!("{who}: {steps}") };
                self.refusals.extend(refusals.into_iter().map(|refusal| Refusal {
                    path: match refusal.path.as_str() {
                        "" => within.clone(),
                        path if steps.is_empty() => format!("{within}: {path}"),
                        path => format!("{within}.{path}"),
                    },
                    ..refusal
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {switch: 'off'}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coder}
spec:
  template:
    metadata: {annotations: {sluice.dev/inject: enabled}}
    spec: {containers: [{name: agent, image: i}]}
---
apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: CronJob
  metadata: {name: nightly}
  spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: agent, image: i}]}}}}}
";

    #[test]
    fn pods_that_ask_are_injected_wherever_they_are() {
        let settings = InjectionSettings::default();
        let file = inject_file(FILE, false, &settings).expect("injected");
        assert_eq!(file.injected, ["Deployment/coder"]);
        assert_eq!(file.left, ["CronJob/nightly"]);
        assert!(file.yaml.contains("switch: \"off\"\n"), "{}", file.yaml);
        assert_eq!(inject_file(&file.yaml, false, &settings).map(|again| again.yaml), Ok(file.yaml));

        let all = inject_file(FILE, true, &settings).expect("injected");
        assert_eq!(all.injected, ["Deployment/coder", "CronJob/nightly"]);
    }

    #[test]
    fn refusals_say_where() {
        let text = FILE.replace("spec: {containers", "spec: {hostNetwork: true, containers");
        let Err(NotInjected::Refused(refusals)) = inject_file(&text, true, &InjectionSettings::default()) else {
            panic!("not refused")
        };
        let paths: Vec<&str> = refusals.iter().map(|refusal| refusal.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "Deployment/coder: spec.template.spec.hostNetwork",
                "CronJob/nightly: spec.jobTemplate.spec.template.spec.hostNetwork",
            ]
        );
        let broken = inject_file("a: 1\n---\na: [", false, &InjectionSettings::default());
        assert!(
            matches!(&broken, Err(NotInjected::Unreadable(why)) if why.starts_with("document 2 is not YAML")),
            "{broken:?}"
        );
    }
}
