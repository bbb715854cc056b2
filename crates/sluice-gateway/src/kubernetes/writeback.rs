//! Masked values must not be written back, and writes must not tell what was
//! masked.

use bytes::Bytes;
use serde_json::Value;
use sluice_core::kubernetes::{Patch, Request};
use sluice_mask::{PACKED_BUDGET, contains_marker, packed_marker};
use sluice_policy::{Reason, code};

use super::carries_secrets;

/// Checks a write against what the subject cannot have seen. `masked`: whether
/// masks of Secrets apply to it. `request` carries its decoded body, `body` is
/// the body as sent.
///
/// # Errors
/// The [`Reason`] to deny with: the body holds a marker (for every resource,
/// whoever sends it); or, where masks apply, it replaces a Secret as a whole or
/// asks the API server about values of one.
pub fn check(request: &Request, body: &[u8], masked: bool) -> Result<(), Box<Reason>> {
    if !matches!(request.verb.as_str(), "create" | "update" | "patch") {
        return Ok(());
    }
    let object = request.object.known().and_then(Option::as_ref);
    if contains_marker(body) || object.is_some_and(|object| holds_packed_marker(object, &mut { PACKED_BUDGET })) {
        return Err(deny(
            code::MASK_MARKER,
            "the body holds the marker of a masked value (sluice-masked:…), and writing it would destroy the real one",
            "Leave masked fields out: patch only the fields that change, with kubectl patch.",
        ));
    }
    if !masked || !carries_secrets(request) {
        return Ok(());
    }
    match (request.verb.as_str(), request.patch) {
        ("create", _) => Ok(()),
        ("patch", Some(Patch::Merge)) => secret_patch(request, merge_patch),
        ("patch", Some(Patch::Strategic)) => secret_patch(request, strategic_patch),
        ("patch", Some(Patch::Json)) => secret_patch(request, json_patch),
        ("patch", Some(Patch::Apply)) => {
            Err(whole("a server-side apply replaces what its field manager owns in the Secret"))
        }
        _ => Err(whole("a PUT replaces the whole Secret")),
    }
}

/// A Helm release keeps its values packed.
fn holds_packed_marker(value: &Value, budget: &mut u64) -> bool {
    match value {
        Value::String(text) => packed_marker(text, budget),
        Value::Array(values) => values.iter().any(|value| holds_packed_marker(value, budget)),
        Value::Object(members) => members.values().any(|value| holds_packed_marker(value, budget)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn secret_patch(request: &Request, check: fn(&Value) -> Result<(), Box<Reason>>) -> Result<(), Box<Reason>> {
    match request.object.known() {
        Some(Some(patch)) => {
            check(patch)?;
            if sets_values(patch) && sets_immutable(patch) {
                return Err(deny(
                    MASK_PROBE,
                    "together with immutable, the answer to the patch would say whether a value is the one that is there",
                    "Patch the values first, then immutable.",
                ));
            }
            if request.dry_run && sets_values(patch) {
                return Err(deny(
                    MASK_PROBE,
                    "the answer to a dry run says whether a value would change, and so what it is",
                    "Leave data and stringData out of the dry run, or patch the Secret for good.",
                ));
            }
            Ok(())
        }
        // The API server refuses a patch without a body by itself.
        Some(None) => Ok(()),
        None => Err(whole("the patch of the Secret could not be read")),
    }
}

/// The body to send in place of one that [`check`] let pass where masks apply, if
/// it must be another.
///
/// A Secret that is `immutable` refuses a patch with another value and takes one
/// with the same: who may patch it could guess without end. So a patch of values
/// also takes `immutable` away, which the API server refuses for such a Secret
/// whatever the values, and which changes nothing in any other.
pub fn guarded(request: &Request, body: &[u8]) -> Option<Bytes> {
    let patch = request.object.known().and_then(Option::as_ref)?;
    if request.verb != "patch" || !carries_secrets(request) || !sets_values(patch) {
        return None;
    }
    let (bracket, first): (u8, &[u8]) = match request.patch? {
        Patch::Merge | Patch::Strategic => (b'{', br#""immutable":null,"#),
        Patch::Json => (b'[', br#"{"op":"add","path":"/immutable","value":null},"#),
        Patch::Apply => return None,
    };
    // There is a member, or an operation, that sets a value: the comma is right.
    let at = body.iter().position(|byte| *byte == bracket)? + 1;
    let (before, after) = body.split_at(at);
    Some([before, first, after].concat().into())
}

/// Whether a patch of any kind says something of `immutable`.
fn sets_immutable(patch: &Value) -> bool {
    match patch {
        Value::Object(members) => members.keys().any(|key| key.eq_ignore_ascii_case("immutable")),
        Value::Array(operations) => operations.iter().any(|operation| {
            ["path", "from"].iter().filter_map(|key| operation.get(key)?.as_str()).any(|pointer| {
                let pointer = pointer.replace("~1", "/").replace("~0", "~");
                pointer.trim_start_matches('/').eq_ignore_ascii_case("immutable")
            })
        }),
        _ => false,
    }
}

/// Whether a patch of any kind writes values.
fn sets_values(patch: &Value) -> bool {
    match patch {
        Value::Object(members) => members.keys().any(|key| is_values(key)),
        Value::Array(operations) => operations.iter().any(|operation| {
            let path = operation.get("path").and_then(Value::as_str).unwrap_or_default();
            !matches!(Place::of(path), Ok(Place::Annotations | Place::Other))
        }),
        _ => false,
    }
}

/// RFC 7386: `null`, or anything but an object, replaces.
fn merge_patch(patch: &Value) -> Result<(), Box<Reason>> {
    let Value::Object(members) = patch else { return Err(whole("the patch replaces the whole Secret")) };
    for (key, value) in members {
        if is_values(key) && !value.is_object() {
            return Err(whole(&format!("the patch replaces {key} as a whole")));
        }
    }
    Ok(())
}

/// As a merge patch, without directives: they replace, or delete by value.
fn strategic_patch(patch: &Value) -> Result<(), Box<Reason>> {
    merge_patch(patch)?;
    let directive =
        |value: &Value| value.as_object().and_then(|members| members.keys().find(|key| key.starts_with('$')).cloned());
    let nested = ["data", "stringData"].iter().filter_map(|key| patch.get(key));
    match std::iter::once(patch).chain(nested).find_map(directive) {
        Some(directive) => Err(whole(&format!("the patch of the Secret has the directive {directive}"))),
        None => Ok(()),
    }
}

/// RFC 6902. `test`, `copy` and `move` of values would tell what they are.
fn json_patch(patch: &Value) -> Result<(), Box<Reason>> {
    let Value::Array(operations) = patch else {
        return Err(whole("the JSON patch of the Secret is no list of operations"));
    };
    for operation in operations {
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let (Some(kind), Some(path)) = (text("op"), text("path")) else {
            return Err(whole("an operation of the JSON patch has no op or no path"));
        };
        let place = Place::of(path)?;
        match kind {
            "add" | "replace" | "remove" => match place {
                Place::Whole => return Err(whole(&format!("the operation {kind} replaces {path:?} as a whole"))),
                Place::Value | Place::Annotations | Place::Other => {}
            },
            "test" | "copy" | "move" => {
                let from = match kind {
                    "test" => Place::Other,
                    _ => Place::of(text("from").ok_or_else(|| whole("an operation of the JSON patch has no from"))?)?,
                };
                if place != Place::Other || from != Place::Other {
                    return Err(deny(
                        MASK_PROBE,
                        &format!("the operation {kind} of the JSON patch would tell something about masked values"),
                        "Use add, replace and remove on single keys, such as /data/KEY; test only fields outside data and annotations.",
                    ));
                }
            }
            _ => return Err(whole("the JSON patch has an operation that RFC 6902 does not have")),
        }
    }
    Ok(())
}

/// What a JSON pointer points to in a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// All values: the document, `data`, `stringData`, `metadata`.
    Whole,
    /// One value.
    Value,
    /// One annotation, or all: one of them holds a copy of the values.
    Annotations,
    Other,
}

impl Place {
    fn of(pointer: &str) -> Result<Self, Box<Reason>> {
        // Some readers take "x/data" for "/data".
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(whole("a path of the JSON patch does not start with \"/\""));
        }
        let mut tokens = pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"));
        let (first, second) = (tokens.next(), tokens.next());
        Ok(match (first.as_deref(), second.as_deref()) {
            (None, _) => Self::Whole,
            (Some(key), None) if is_values(key) || key == "metadata" => Self::Whole,
            (Some(key), Some(_)) if is_values(key) => Self::Value,
            (Some("metadata"), Some("annotations")) => Self::Annotations,
            _ => Self::Other,
        })
    }
}

fn is_values(key: &str) -> bool {
    key.eq_ignore_ascii_case("data") || key.eq_ignore_ascii_case("stringData")
}

fn whole(what: &str) -> Box<Reason> {
    deny(
        MASK_REPLACE,
        &format!("{what}, whose values are masked for you"),
        "Change single keys instead: kubectl patch secret NAME --type=merge -p '{\"stringData\":{\"KEY\":\"VALUE\"}}'.",
    )
}

fn deny(code: &'static str, message: &str, fix: &str) -> Box<Reason> {
    Box::new(Reason { code, rule: None, message: message.to_owned(), fix: fix.to_owned(), near_misses: Vec::new() })
}

/// A full replacement of something with masked values.
const MASK_REPLACE: &str = "MaskReplace";
/// A question about masked values.
const MASK_PROBE: &str = "MaskProbe";

#[cfg(test)]
mod tests;
