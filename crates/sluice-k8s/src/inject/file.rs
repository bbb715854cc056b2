//! Files of any number of objects, as people keep them.

use serde::Deserialize;
use serde_json::Value;

use super::{Folders, InjectionSettings, Placement, Refusal, asks, inject};
use crate::names;
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
        if kind == "List" {
            let items = object.get_mut("items").and_then(Value::as_array_mut);
            items.into_iter().flatten().for_each(|item| self.object(item));
            return;
        }
        let Some(place) = template_of(&kind) else { return };
        let misplaced = misplaced(object, place);
        let Some(pod) = object.pointer_mut(place) else {
            self.refusals.push(Refusal { path: who, message: "has no pod template; add one".to_owned() });
            return;
        };
        if !(self.placement.required || asks(pod)) {
            match misplaced {
                Some(Misplaced { from, to }) => self.refusals.push(Refusal {
                    path: format!("{who}: {from}"),
                    message: format!("has {}, which is read from {to} alone; move it there", names::INJECT),
                }),
                None => self.left.push(who),
            }
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

/// Where the pod is in an object of a kind, as a JSON Pointer.
pub fn template_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Pod" => "",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        "PodTemplate" => "/template",
        _ => return None,
    })
}

/// A request for the gateway where nobody reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// Where it is: `metadata.labels`.
    pub from: String,
    /// Where it is read: `spec.template.metadata.annotations`.
    pub to: String,
}

/// Looks for the request beside the annotations of the pod at `place`, where
/// these do not have it.
pub fn misplaced(object: &Value, place: &str) -> Option<Misplaced> {
    let read = format!("{place}/metadata/annotations");
    let value = |at: &str| object.pointer(at)?.get(names::INJECT)?.as_str();
    if value(&read).is_some() {
        return None;
    }
    let labels = format!("{place}/metadata/labels");
    let elsewhere = [
        "/metadata/annotations",
        "/metadata/labels",
        "/spec/jobTemplate/metadata/annotations",
        "/spec/jobTemplate/metadata/labels",
        labels.as_str(),
    ]
    .into_iter()
    .find(|at| value(at).is_some_and(|word| word != names::DISABLED))?;
    let dotted = |at: &str| at.trim_start_matches('/').replace('/', ".");
    Some(Misplaced { from: dotted(elsewhere), to: dotted(&read) })
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

    #[test]
    fn a_request_where_nobody_reads_it_says_where_to_move_it() {
        let here = "spec.template.metadata.annotations";
        for (at, from, to) in [
            ("metadata: {annotations: {X}}", "metadata.annotations", here),
            ("metadata: {labels: {X}}", "metadata.labels", here),
            ("spec: {template: {metadata: {labels: {X}}}}", "spec.template.metadata.labels", here),
        ] {
            let text = format!("kind: Deployment\n{}", at.replace('X', "sluice.dev/inject: enabled"));
            let object: Value = serde_norway::from_str(&text).expect("YAML");
            let expected = Misplaced { from: from.to_owned(), to: to.to_owned() };
            assert_eq!(misplaced(&object, "/spec/template"), Some(expected), "{text}");
        }
        let text = FILE.replace("{name: nightly}", "{name: nightly, labels: {sluice.dev/inject: 'true'}}");
        let settings = InjectionSettings::default();
        let Err(NotInjected::Refused(refusals)) = inject_file(&text, false, &settings) else { panic!("not refused") };
        let said: Vec<String> = refusals.iter().map(Refusal::to_string).collect();
        assert_eq!(
            said,
            ["CronJob/nightly: metadata.labels: has sluice.dev/inject, which is read from \
              spec.jobTemplate.spec.template.metadata.annotations alone; move it there"]
        );
        assert!(inject_file(&text, true, &settings).is_ok(), "a namespace that demands it asks nobody");
        let disabled = text.replace("'true'", "disabled");
        assert!(inject_file(&disabled, false, &settings).is_ok());
        let both = FILE.replace("{name: coder}", "{name: coder, annotations: {sluice.dev/inject: enabled}}");
        assert!(inject_file(&both, false, &settings).is_ok());
    }
}
