use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;
use sluice_core::kubernetes::{Patch, Request};
use sluice_core::{Action, Command, CommandTarget, Fact, Subject, SubjectKind, Workload};

/// A value while a condition runs.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    Time(Timestamp),
    Span(SignedDuration),
    List(Vec<Value<'a>>),
    Labels(&'a BTreeMap<String, String>),
    /// An array or an object; scalars have their own variants.
    Json(&'a Json),
    Subject(&'a Subject),
    Target(&'a CommandTarget),
    Pod(&'a Workload),
    Request(&'a Request),
    Command(&'a Command),
}

/// A value, or why it is not known.
pub(super) type Known<'a> = Result<Value<'a>, String>;

impl<'a> Value<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub(super) fn from_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::Double(value),
                (None, None) => Self::Double(f64::NAN),
            },
            Json::String(text) => Self::text(text),
            Json::Array(_) | Json::Object(_) => Self::Json(json),
        }
    }

    /// A field: `Ok(None)` where it is known not to be there.
    pub(super) fn field(&self, name: &str) -> Result<Option<Self>, String> {
        match self {
            Self::Labels(labels) => Ok(labels.get(name).map(|text| Self::text(text))),
            Self::Json(json) => Ok(json.as_object().and_then(|fields| fields.get(name)).map(Self::from_json)),
            Self::Subject(subject) => subject_field(subject, name),
            Self::Target(target) => Ok(match name {
                "name" => Some(Self::text(&target.name)),
                "host" => Some(Self::text(&target.host)),
                "port" => Some(Self::Int(i64::from(target.port))),
                _ => None,
            }),
            Self::Pod(pod) => Ok(match name {
                "namespace" => Some(Self::text(&pod.namespace)),
                "name" => Some(Self::text(&pod.pod)),
                "uid" => Some(Self::text(&pod.uid)),
                "serviceAccount" => Some(Self::text(&pod.service_account)),
                "labels" => Some(Self::Labels(&pod.labels)),
                _ => None,
            }),
            Self::Request(request) => request_field(request, name),
            Self::Command(command) => match name {
                "actions" => {
                    command.actions.iter().map(action).collect::<Result<_, _>>().map(|all| Some(Self::List(all)))
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Whether `has` finds something in a field that is there.
    pub(super) fn is_present(&self) -> bool {
        !matches!(self, Self::Text(text) if text.is_empty()) && !matches!(self, Self::Null)
    }

    /// What kind of value it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) | Self::Double(_) => "a number",
            Self::Text(_) => "a string",
            Self::Time(_) => "a timestamp",
            Self::Span(_) => "a duration",
            Self::List(_) => "a list",
            Self::Labels(_) => "a map",
            Self::Json(Json::Array(_)) => "a list",
            Self::Json(_) => "an object",
            Self::Subject(_) | Self::Target(_) | Self::Pod(_) | Self::Request(_) | Self::Command(_) => "a record",
        }
    }

    /// The items of a list, or the keys of a map.
    pub(super) fn items(self) -> Result<Vec<Self>, String> {
        match self {
            Self::List(items) => Ok(items),
            Self::Labels(labels) => Ok(labels.keys().map(|key| Self::text(key)).collect()),
            Self::Json(Json::Array(items)) => Ok(items.iter().map(Self::from_json).collect()),
            Self::Json(Json::Object(fields)) => Ok(fields.keys().map(|key| Self::text(key)).collect()),
            other => Err(format!("{} is no list", other.kind())),
        }
    }

    /// Whether the two are equal. Values of different kinds are not known to
    /// be different: somebody reads one as the other.
    pub(super) fn equals(&self, other: &Self) -> Result<bool, String> {
        match (self, other) {
            (Self::Null, Self::Null) => Ok(true),
            (Self::Null, _) | (_, Self::Null) => Ok(false),
            (Self::Bool(a), Self::Bool(b)) => Ok(a == b),
            (Self::Text(a), Self::Text(b)) => Ok(a == b),
            (Self::Json(a), Self::Json(b)) => Ok(a == b),
            (Self::Labels(a), Self::Labels(b)) => Ok(a == b),
            (Self::List(_) | Self::Json(Json::Array(_)), Self::List(_) | Self::Json(Json::Array(_))) => {
                let (a, b) = (self.clone().items()?, other.clone().items()?);
                if a.len() != b.len() {
                    return Ok(false);
                }
                let mut unknown = None;
                for (a, b) in a.iter().zip(&b) {
                    match a.equals(b) {
                        Ok(true) => {}
                        Ok(false) => return Ok(false),
                        Err(why) => unknown = Some(why),
                    }
                }
                unknown.map_or(Ok(true), Err)
            }
            _ => self.order(other).map(|order| order == Ordering::Equal),
        }
    }

    /// Which of the two comes first.
    pub(super) fn order(&self, other: &Self) -> Result<Ordering, String> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Ok(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Ok(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Ok(a.cmp(b)),
            (Self::Span(a), Self::Span(b)) => Ok(a.cmp(b)),
            (Self::Int(_) | Self::Double(_), Self::Int(_) | Self::Double(_)) => {
                let number = |value: &Self| match value {
                    Self::Int(value) => *value as f64,
                    Self::Double(value) => *value,
                    _ => f64::NAN,
                };
                number(self).partial_cmp(&number(other)).ok_or_else(|| "a number is none".to_owned())
            }
            (a, b) => Err(format!("{} is compared with {}", a.kind(), b.kind())),
        }
    }
}

fn action(action: &Action) -> Known<'_> {
    match action {
        Action::Kubernetes(request) => Ok(Value::Request(request)),
        Action::Unknown(why) => Err(format!("an action is not understood: {why}")),
    }
}

fn subject_field<'a>(subject: &'a Subject, name: &str) -> Result<Option<Value<'a>>, String> {
    Ok(Some(match name {
        "kind" => Value::text(match subject.kind {
            SubjectKind::Token => "Token",
            SubjectKind::Workload => "Workload",
        }),
        "provider" => Value::text(&subject.provider),
        "issuer" => Value::text(&subject.issuer),
        "id" => Value::text(&subject.id),
        "kubernetesUser" => Value::text(subject.kubernetes_user.as_deref().unwrap_or("")),
        "groups" => qualified(subject, &subject.groups)?,
        "roles" => qualified(subject, &subject.roles)?,
        // A workload does not expire.
        "expires" => return Ok(subject.expires.map(Value::Time)),
        _ => return Ok(None),
    }))
}

/// As rules write them: `entra:developers`.
fn qualified<'a>(subject: &Subject, names: &Fact<BTreeSet<String>>) -> Known<'a> {
    match names {
        Fact::Known(names) => Ok(Value::List(
            names.iter().map(|name| Value::Text(Cow::Owned(format!("{}:{name}", subject.provider)))).collect(),
        )),
        Fact::Unknown(why) => Err(why.clone()),
    }
}

fn request_field<'a>(request: &'a Request, name: &str) -> Result<Option<Value<'a>>, String> {
    let optional = |text: &'a Option<String>| Value::text(text.as_deref().unwrap_or(""));
    let resource = request.resource();
    let of_resource = |text: fn(&'a sluice_core::kubernetes::Resource) -> Option<&'a str>| {
        Value::text(resource.and_then(text).unwrap_or(""))
    };
    Ok(Some(match name {
        "verb" => Value::text(&request.verb),
        "group" => of_resource(|resource| Some(&resource.group)),
        "version" => of_resource(|resource| Some(&resource.version)),
        "resource" => of_resource(|resource| Some(&resource.resource)),
        "subresource" => of_resource(|resource| resource.subresource.as_deref()),
        "namespace" => of_resource(|resource| resource.namespace.as_deref()),
        "name" => of_resource(|resource| resource.name.as_deref()),
        "method" => Value::text(&request.method),
        "path" => Value::text(&request.path),
        "labelSelector" => optional(&request.label_selector),
        "fieldSelector" => optional(&request.field_selector),
        "dryRun" => Value::Bool(request.dry_run),
        "fieldManager" => optional(&request.field_manager),
        "userAgent" => optional(&request.user_agent),
        "kubectlCommand" => optional(&request.kubectl_command),
        "object" if request.verb == "patch" => {
            return Err("a patch does not show the object that comes of it".to_owned());
        }
        "patch" if request.verb != "patch" => Value::Null,
        "object" | "patch" => match &request.object {
            Fact::Known(Some(body)) => Value::from_json(body),
            Fact::Known(None) => Value::Null,
            Fact::Unknown(why) => return Err(why.clone()),
        },
        "patchType" => Value::text(match request.patch {
            Some(Patch::Json) => "Json",
            Some(Patch::Merge) => "Merge",
            Some(Patch::Strategic) => "Strategic",
            Some(Patch::Apply) => "Apply",
            None => "",
        }),
        _ => return Ok(None),
    }))
}
