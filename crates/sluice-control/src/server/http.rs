use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use sluice_wire::{Code, Refusal};

/// The body of an answer.
pub type Reply = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;
/// An answer.
pub type Answer = Response<Reply>;

/// An answer with a body that is there already.
pub fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A refusal as an answer.
pub fn refuse(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = serde_json::to_vec(refusal).unwrap_or_default();
    let mut answer = text(status, "application/json", body);
    if refusal.code == Code::UnknownPod || refusal.code == Code::Unavailable {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}
