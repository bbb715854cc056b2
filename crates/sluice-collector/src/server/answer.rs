use std::io;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use sluice_wire::{Code, Refusal};
use tokio::sync::mpsc;

/// The body of an answer. An error in it ends the connection's stream, so that
/// what is half is not taken for whole.
pub type Reply = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;
/// An answer.
pub type Answer = Response<Reply>;
/// What a body is made of, piece by piece.
pub type Lines = mpsc::Receiver<io::Result<Bytes>>;

/// An answer with a body that is there already.
pub fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let full = Full::new(body.into()).map_err(|never| match never {});
    with(status, kind, full.boxed_unsync())
}

/// An answer whose body comes piece by piece.
pub fn stream(kind: &'static str, pieces: Lines) -> Answer {
    let frames = unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece.map(Frame::data), pieces))
    });
    with(StatusCode::OK, kind, StreamBody::new(frames).boxed_unsync())
}

/// A refusal as an answer.
pub fn refuse(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = text(status, "application/json", serde_json::to_vec(refusal).unwrap_or_default());
    if refusal.code == Code::Unavailable {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

fn with(status: StatusCode, kind: &'static str, body: Reply) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
