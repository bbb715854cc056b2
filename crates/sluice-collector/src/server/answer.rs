use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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

/// An answer whose body comes piece by piece. Whoever takes no piece for some
/// minutes loses it, and with it what is held to make it.
pub fn stream(kind: &'static str, pieces: Lines) -> Answer {
    with(StatusCode::OK, kind, taken_within(PATIENCE, pieces))
}

fn taken_within(patience: Duration, mut pieces: Lines) -> Reply {
    let (out, taken) = mpsc::channel(1);
    let late = Arc::new(AtomicBool::new(false));
    let lost = late.clone();
    tokio::spawn(async move {
        loop {
            let piece = tokio::select! {
                piece = pieces.recv() => piece,
                () = out.closed() => return,
            };
            let Some(piece) = piece else { return };
            match tokio::time::timeout(patience, out.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => return lost.store(true, Ordering::Release),
            }
        }
    });
    let frames = unfold((taken, late), |(mut taken, late)| async move {
        let piece: io::Result<Bytes> = match taken.recv().await {
            Some(piece) => piece,
            None if late.swap(false, Ordering::AcqRel) => Err(io::ErrorKind::TimedOut.into()),
            None => return None,
        };
        Some((piece.map(Frame::data), (taken, late)))
    });
    StreamBody::new(frames).boxed_unsync()
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

/// How long nothing of an answer may be taken: people read in a pager.
const PATIENCE: Duration = Duration::from_secs(300);

fn with(status: StatusCode, kind: &'static str, body: Reply) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Generous: nothing here depends on how fast the machine is.
    const WAIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn whoever_takes_nothing_loses_the_answer_and_is_not_told_that_it_is_whole() {
        let (pieces, lines) = mpsc::channel(1);
        let mut body = taken_within(Duration::from_millis(10), lines);
        let sent = async { while pieces.send(Ok(Bytes::from_static(b"piece"))).await.is_ok() {} };
        tokio::time::timeout(WAIT, sent).await.expect("it is given up");
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "piece");
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_comes_whole() {
        let (pieces, lines) = mpsc::channel(4);
        for _ in 0..4 {
            pieces.send(Ok(Bytes::from_static(b"piece"))).await.unwrap();
        }
        drop(pieces);
        let body = taken_within(WAIT, lines).collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), 4 * 5);
    }

    #[tokio::test]
    async fn who_hangs_up_is_noticed() {
        let (pieces, lines) = mpsc::channel::<io::Result<Bytes>>(1);
        drop(taken_within(WAIT, lines));
        tokio::time::timeout(WAIT, pieces.closed()).await.expect("nobody listens");
    }
}
