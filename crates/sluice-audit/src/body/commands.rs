//! A command with what names its objects, but without their contents. Nothing
//! of it is copied; what a new field of a request is to be in a record has to
//! be said here.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sluice_core::kubernetes::{Patch, Request, Scope};
use sluice_core::{Action, Command, Fact};

/// Serialises as the command does, but for the bodies.
pub(super) struct WithoutBodies<'a>(pub(super) &'a Command);

impl Serialize for WithoutBodies<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Command { at, subject, workload, target, intents, actions } = self.0;
        let mut fields = serializer.serialize_struct("Command", 6)?;
        fields.serialize_field("actions", &Actions(actions))?;
        fields.serialize_field("at", at)?;
        fields.serialize_field("intents", intents)?;
        fields.serialize_field("subject", subject)?;
        fields.serialize_field("target", target)?;
        fields.serialize_field("workload", workload)?;
        fields.end()
    }
}

struct Actions<'a>(&'a [Action]);

impl Serialize for Actions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|action| match action {
            Action::Kubernetes(request) => Named::Kubernetes(NamedRequest::of(request)),
            Action::Unknown(why) => Named::Unknown(why),
        }))
    }
}

/// An [`Action`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Named<'a> {
    Kubernetes(NamedRequest<'a>),
    Unknown(&'a str),
}

/// A [`Request`], its fields in the order in which they are stored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NamedRequest<'a> {
    dry_run: bool,
    field_manager: &'a Option<String>,
    field_selector: &'a Option<String>,
    impersonates: bool,
    kubectl_command: &'a Option<String>,
    label_selector: &'a Option<String>,
    method: &'a str,
    object: NamedFact<'a>,
    patch: Option<Patch>,
    path: &'a str,
    scope: &'a Scope,
    upgrades: bool,
    user_agent: &'a Option<String>,
    verb: &'a str,
}

impl<'a> NamedRequest<'a> {
    fn of(request: &'a Request) -> Self {
        let Request {
            verb,
            scope,
            method,
            path,
            label_selector,
            field_selector,
            dry_run,
            field_manager,
            user_agent,
            kubectl_command,
            impersonates,
            upgrades,
            patch,
            object,
        } = request;
        Self {
            dry_run: *dry_run,
            field_manager,
            field_selector,
            impersonates: *impersonates,
            kubectl_command,
            label_selector,
            method,
            object: match object {
                Fact::Known(object) => NamedFact::Known(object.as_ref().map(NamedObject::of)),
                Fact::Unknown(why) => NamedFact::Unknown(why),
            },
            patch: *patch,
            path,
            scope,
            upgrades: *upgrades,
            user_agent,
            verb,
        }
    }
}

/// A [`Fact`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum NamedFact<'a> {
    Known(Option<NamedObject<'a>>),
    Unknown(&'a str),
}

/// `apiVersion`, `kind` and the metadata that names an object, as far as they
/// are texts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NamedObject<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    generate_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
}

impl<'a> NamedObject<'a> {
    fn of(object: &'a Value) -> Self {
        let text = |of: Option<&'a Value>, field: &str| of.and_then(|of| of.get(field)).and_then(Value::as_str);
        let metadata = object.get("metadata");
        Self {
            api_version: text(Some(object), "apiVersion"),
            kind: text(Some(object), "kind"),
            metadata: Metadata {
                generate_name: text(metadata, "generateName"),
                name: text(metadata, "name"),
                namespace: text(metadata, "namespace"),
            },
        }
    }
}

impl Metadata<'_> {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.generate_name.is_none() && self.namespace.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;
    use sluice_core::kubernetes::Resource;
    use sluice_core::{CommandTarget, Subject, Workload};

    use super::*;

    fn command(object: Fact<Option<Value>>) -> Command {
        let workload = Workload { namespace: "agents".into(), ..Workload::default() };
        let mut subject = Subject::workload(&workload);
        subject.groups = Fact::Known(BTreeSet::from(["b".to_owned(), "a".to_owned()]));
        Command {
            at: "2026-12-01T04:00:00.5Z".parse().unwrap(),
            subject,
            workload,
            target: CommandTarget { name: "aks".into(), host: "api.example".into(), port: 443 },
            intents: Vec::new(),
            actions: vec![
                Action::Kubernetes(Box::new(Request {
                    verb: "create".into(),
                    scope: Scope::Resource(Resource { resource: "secrets".into(), ..Resource::default() }),
                    method: "POST".into(),
                    path: "/api/v1/secrets?x=\"1\"".into(),
                    label_selector: None,
                    field_selector: Some("a=b".into()),
                    dry_run: true,
                    field_manager: Some("kubectl".into()),
                    user_agent: Some("é\n".into()),
                    kubectl_command: None,
                    impersonates: false,
                    upgrades: false,
                    patch: Some(Patch::Merge),
                    object,
                })),
                Action::Unknown("odd".into()),
            ],
        }
    }

    /// The command's own form, with the object in its place.
    fn expected(command: &Command, object: Value) -> Value {
        let mut value = serde_json::to_value(command).unwrap();
        value["actions"][0]["kubernetes"]["object"] = object;
        value
    }

    #[test]
    fn contents_of_objects_are_left_out_and_nothing_else() {
        for (object, named) in [
            (Fact::Known(None), json!({ "known": null })),
            (Fact::unknown("why"), json!({ "unknown": "why" })),
            (Fact::Known(Some(json!([1, 2]))), json!({ "known": {} })),
            (Fact::Known(Some(json!({ "data": { "a": "secret" }, "metadata": 5 }))), json!({ "known": {} })),
            (
                Fact::Known(Some(json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "data": { "a": "secret" },
                    "metadata": { "name": "n", "generateName": 7, "namespace": "x", "labels": { "a": "b" } },
                }))),
                json!({ "known": { "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "n", "namespace": "x" } } }),
            ),
        ] {
            let command = command(object);
            let written = serde_json::to_value(WithoutBodies(&command)).unwrap();
            assert_eq!(written, expected(&command, named));
        }
    }
}
