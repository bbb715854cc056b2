//! Every refusal as a `Status` of `meta/v1`, in JSON: clients read that by its
//! content type, whatever they asked for.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use sluice_core::kubernetes::{Request, Scope};
use sluice_policy::Reason;

use super::Reject;

/// An answer that `kubectl` prints as `Error from server (REASON): MESSAGE`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: String,
    reason: &'static str,
    #[serde(skip_serializing_if = "Details::is_empty")]
    details: Details,
    code: u16,
    #[serde(skip)]
    http: StatusCode,
}

#[derive(Debug, Clone, Serialize)]
struct Empty {}

#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u32>,
}

impl Details {
    fn is_empty(&self) -> bool {
        self.kind.is_empty() && self.causes.is_empty() && self.retry_after_seconds.is_none()
    }
}

#[derive(Debug, Clone, Serialize)]
struct Cause {
    reason: &'static str,
    message: String,
}

impl Status {
    /// A status with this code; its reason is the API's word for the code.
    pub fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: message.into(),
            reason: reason(code),
            details: Details::default(),
            code: code.as_u16(),
            http: code,
        }
    }

    /// 403 for a command that policy denies: what, which rule, why, and what
    /// to do next.
    pub fn denied(request: &Request, reason: &Reason) -> Self {
        let mut message = format!("sluice denies {}", described(request));
        if let Some(rule) = &reason.rule {
            message.push_str(&format!(" by rule \"{}\" of policy \"{}\"", rule.rule, rule.policy));
        }
        message.push_str(&format!(": {}", sentence(&reason.message)));
        if !reason.fix.is_empty() {
            message.push_str(&format!(" {}", sentence(&reason.fix)));
        }
        let mut status = Self::new(StatusCode::FORBIDDEN, message).about(request).cause("SluiceCode", reason.code);
        if let Some(rule) = &reason.rule {
            status = status.cause("SluicePolicy", &*rule.policy).cause("SluiceRule", &*rule.rule);
        }
        if !reason.fix.is_empty() {
            status = status.cause("SluiceFix", &*reason.fix);
        }
        for near_miss in &reason.near_misses {
            status = status.cause("SluiceNearMiss", &**near_miss);
        }
        status
    }

    /// An answer of the API server that cannot be masked and is not shown.
    /// An error keeps its code; a success becomes 502 and says that the
    /// request was carried out.
    pub fn withheld(request: &Request, answered: StatusCode, why: &str) -> Self {
        let (code, effect) = if answered.is_client_error() || answered.is_server_error() {
            (answered, "the API server refused it")
        } else if request.changes_state() {
            (StatusCode::BAD_GATEWAY, "the API server carried it out")
        } else {
            (StatusCode::BAD_GATEWAY, "the API server answered it")
        };
        let message = format!(
            "sluice withholds the answer to {}: {effect} with {}, but {why}, so that Secrets in it could not be masked.",
            described(request),
            answered.as_u16(),
        );
        Self::new(code, message).about(request).cause("SluiceCode", "Withheld")
    }

    /// Names what the request was about in `details`.
    #[must_use]
    pub fn about(mut self, request: &Request) -> Self {
        if let Some(resource) = request.resource() {
            self.details.name.clone_from(&resource.name);
            self.details.group.clone_from(&resource.group);
            self.details.kind.clone_from(&resource.resource);
        }
        self
    }

    /// Adds a cause, for programs.
    #[must_use]
    pub fn cause(mut self, reason: &'static str, message: impl Into<String>) -> Self {
        self.details.causes.push(Cause { reason, message: message.into() });
        self
    }

    /// Asks the client to come back; also as a header.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.retry_after_seconds = Some(seconds);
        self
    }

    /// HTTP status code.
    pub fn code(&self) -> StatusCode {
        self.http
    }

    /// What people read.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The whole answer, with `Content-Type` and `Content-Length`.
    pub fn response(&self) -> Response<Bytes> {
        // A struct of strings and numbers always serialises.
        let body = Bytes::from(serde_json::to_vec(self).unwrap_or_default());
        let length = HeaderValue::from(body.len());
        let mut response = Response::new(body);
        *response.status_mut() = self.http;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, length);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        if let Some(seconds) = self.details.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.http == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sluice\""));
        }
        if matches!(self.http, StatusCode::UNAUTHORIZED | StatusCode::SERVICE_UNAVAILABLE)
            && let Ok(warning) = HeaderValue::try_from(warning(&self.message))
        {
            headers.insert(header::WARNING, warning);
        }
        response
    }
}

impl From<&Reject> for Status {
    fn from(reject: &Reject) -> Self {
        let message =
            format!("sluice refuses the request: {}. {}", reject.message.trim_end_matches('.'), sentence(&reject.fix));
        Self::new(reject.code, message).cause("SluiceCode", "Unreadable").cause("SluiceFix", &*reject.fix)
    }
}

/// `delete deployments.apps "web" in namespace "prod"`, or `get /version`.
pub fn described(request: &Request) -> String {
    match &request.scope {
        Scope::NonResource(path) => format!("{} {path}", request.verb),
        Scope::Resource(resource) => {
            let mut text = format!("{} {}", request.verb, resource.qualified());
            if let Some(name) = &resource.name {
                text.push_str(&format!(" \"{name}\""));
            }
            match &resource.namespace {
                Some(namespace) if resource.resource != "namespaces" => {
                    text.push_str(&format!(" in namespace \"{namespace}\""))
                }
                _ => {}
            }
            text
        }
    }
}

/// What kubectl prints as `Warning: TEXT`, once. Its first question is what the
/// server can do, and of these codes in the answer to that it has words of its
/// own, which name no fix. RFC 7234 5.5; 299 is the one code that client-go reads.
fn warning(message: &str) -> String {
    let plain = |letter: char| if matches!(letter, ' '..='~') { letter } else { '?' };
    let text: String = message.chars().map(plain).take(MAX_WARNING).collect();
    format!("299 - \"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// Letters of a warning.
const MAX_WARNING: usize = 1024;

fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?', ':']) { text.to_owned() } else { format!("{text}.") }
}

/// `StatusReason` of `k8s.io/apimachinery/pkg/apis/meta/v1`.
fn reason(code: StatusCode) -> &'static str {
    match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Gone",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 | 502 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
