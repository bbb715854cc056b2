//! The body of a request: whether there is one to read, and what it says.

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use sluice_core::Fact;
use sluice_core::kubernetes::{Patch, Request};

use super::attributes::connects;
use super::reject::{Reject, shown};
use super::{json, protobuf, yaml};

/// The most that a request may carry, in bytes; the API server's own limit.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// What to do with the body of a request, before it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// A body is not allowed: one that is there and not empty is refused by
    /// [`unexpected`].
    Empty,
    /// Collect it whole, at most [`LIMIT`] bytes (else [`too_large`]), and
    /// call [`decode`].
    Read,
    /// It goes to something behind the API server: decide without it, forward
    /// it as it comes.
    Stream,
}

/// The plan for a request, from its head.
pub fn plan(request: &Request) -> Plan {
    if matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS") {
        return Plan::Empty;
    }
    match request.resource() {
        Some(resource) if !connects(resource) && !request.upgrades => Plan::Read,
        _ => Plan::Stream,
    }
}

/// The refusal of a body where [`Plan::Empty`] allows none.
pub fn unexpected(request: &Request) -> Reject {
    Reject::bad(
        format!("the {} request has a body, and the Kubernetes API reads none there", request.method),
        "Send it without a body.",
    )
}

/// The refusal of a body over [`LIMIT`].
pub fn too_large() -> Reject {
    Reject::with(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {LIMIT} bytes, which the Kubernetes API does not take"),
        "Send a smaller object.",
    )
}

/// Reads `body` into `request.object`, and into `request.dry_run` for a delete.
///
/// # Errors
/// [`Reject`] where the form of the body is ambiguous (two content types, a
/// content coding) or the API server would not take it. A body that cannot be
/// read within its form is no error but [`Fact::Unknown`]: only rules that look
/// into it need it.
pub fn decode(request: &mut Request, headers: &HeaderMap, body: &[u8]) -> Result<(), Reject> {
    if body.len() > LIMIT {
        return Err(too_large());
    }
    if let Some(coding) = headers.get(header::CONTENT_ENCODING).filter(|coding| coding.as_bytes() != b"identity") {
        return Err(Reject::with(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "the Content-Encoding is {}, which the Kubernetes API does not decode",
                shown(&String::from_utf8_lossy(coding.as_bytes()))
            ),
            "Send the body as it is.",
        ));
    }
    let form = Form::of(request, headers)?;
    let deletes = matches!(request.verb.as_str(), "delete" | "deletecollection");
    request.object = if body.is_empty() {
        Fact::Known(None)
    } else if deletes {
        form.delete_options(body).map(Some)
    } else {
        form.object(body).map(Some)
    };
    // A body of options replaces the options in the query.
    if deletes && !body.is_empty() {
        request.dry_run = match &request.object {
            Fact::Known(Some(options)) => body_dry_run(options)?,
            _ => false,
        };
    }
    Ok(())
}

/// The one Content-Type header, empty if there is none.
pub(super) fn content_type(headers: &HeaderMap) -> Result<&str, Reject> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Reject::bad("the header Content-Type is there more than once", "Send it once."));
    }
    match first {
        None => Ok(""),
        Some(value) => value.to_str().map_err(|_| {
            Reject::bad(
                "the header Content-Type has bytes that are not ASCII",
                "Send a media type, such as application/json.",
            )
        }),
    }
}

/// How the API server reads the bytes of a body.
enum Form {
    Json,
    Yaml,
    Protobuf,
    Cbor,
}

impl Form {
    fn of(request: &Request, headers: &HeaderMap) -> Result<Self, Reject> {
        let kind = content_type(headers)?;
        if let Some(patch) = request.patch {
            return Ok(match patch {
                Patch::Apply if kind.starts_with("application/apply-patch+cbor") => Self::Cbor,
                Patch::Apply => Self::Yaml,
                Patch::Json | Patch::Merge | Patch::Strategic => Self::Json,
            });
        }
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "" | "application/json" => Ok(Self::Json),
            "application/yaml" => Ok(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(Self::Protobuf),
            "application/cbor" => Ok(Self::Cbor),
            _ => Err(Reject::with(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("the Content-Type {} is none that the Kubernetes API takes", shown(kind)),
                "Send application/json, application/yaml or application/vnd.kubernetes.protobuf.",
            )),
        }
    }

    fn object(&self, body: &[u8]) -> Fact<Value> {
        match self {
            Self::Json => json::read(body),
            Self::Yaml => yaml::read(body),
            Self::Protobuf => Fact::unknown("the body is protobuf, which is not decoded"),
            Self::Cbor => Fact::unknown("the body is CBOR, which is not decoded"),
        }
    }

    fn delete_options(&self, body: &[u8]) -> Fact<Value> {
        match self {
            Self::Protobuf => protobuf::delete_options(body),
            _ => self.object(body),
        }
    }
}

fn body_dry_run(options: &Value) -> Result<bool, Reject> {
    let refused = |value: &Value| {
        Reject::bad(
            format!("the field dryRun of the body is {}", shown(&value.to_string())),
            "Send dryRun: [\"All\"], or leave it out.",
        )
    };
    match options.get("dryRun") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Array(values)) if values.iter().all(|value| value == "All") => Ok(!values.is_empty()),
        Some(other) => Err(refused(other)),
    }
}

#[cfg(test)]
mod tests;
