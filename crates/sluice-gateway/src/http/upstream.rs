//! The upstream side of one client connection: one connection, dialled again
//! when it is gone, that speaks the protocol the client was offered.
//!
//! A request is sent a second time only where that cannot do its work twice:
//! it never left, the server said that it did not look at it, or it reads and
//! has no body.

use std::error::Error as _;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::client::TlsStream;

use super::body::Upward;
use super::head::{MAX_FIELDS, MAX_HEAD_BYTES};
use crate::dial::DialError;
use crate::tls::Alpn;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// There is no connection: the request was not sent.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server stopped speaking the protocol that the client was offered.
    #[error("the server no longer speaks {offered:?}: open a new connection")]
    Protocol { offered: Alpn },
    /// The request was sent, at least in part.
    #[error("the connection to the server broke before it answered: {}", chain(.0))]
    Broken(hyper::Error),
}

/// Makes connections to one server.
pub(crate) trait Dial: Send + Sync {
    /// Dials and completes TLS, offering `alpn` alone.
    fn dial(&self, alpn: Alpn) -> impl Future<Output = Result<TlsStream<TcpStream>, DialError>> + Send;
}

/// The upstream side.
pub(crate) struct Upstream<D> {
    dial: D,
    alpn: Alpn,
    /// The connection in use. Held over a dial, so that streams that find it
    /// gone wait for one dial.
    sender: Mutex<Option<Sender>>,
}

enum Sender {
    Http1(http1::SendRequest<Upward>),
    Http2(http2::SendRequest<Upward>),
}

/// A request that is ready to leave.
pub(crate) struct Outgoing {
    pub(crate) head: http::request::Parts,
    pub(crate) body: OutgoingBody,
    /// Sending it twice does no more than sending it once.
    pub(crate) repeatable: bool,
}

pub(crate) enum OutgoingBody {
    Whole(Bytes),
    Stream(Incoming),
}

impl<D: Dial> Upstream<D> {
    /// Starts with a connection that was made already, if there is one.
    pub(crate) async fn new(dial: D, alpn: Alpn, first: Option<TlsStream<TcpStream>>) -> Self {
        let sender = match first {
            Some(stream) => handshake(stream, alpn).await.ok(),
            None => None,
        };
        Self { dial, alpn, sender: Mutex::new(sender) }
    }

    /// Sends the request and waits for the head of the response.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<Response<Incoming>, UpstreamError> {
        let Outgoing { head, body, repeatable } = outgoing;
        let whole = match body {
            OutgoingBody::Whole(bytes) => bytes,
            // What streams cannot be sent again once it was begun.
            OutgoingBody::Stream(body) => {
                let request = Request::from_parts(head, Upward::Stream(body));
                return match self.try_send(request, false).await {
                    Ok(response) => Ok(response),
                    Err(Failed { back: Some(request), .. }) => {
                        self.try_send(*request, true).await.map_err(|failed| failed.error)
                    }
                    Err(failed) => Err(failed.error),
                };
            }
        };
        let request = |head| Request::from_parts(head, Upward::Whole(Full::new(whole.clone())));
        // What never left comes back; only HTTP/2 says of more that it was not looked at.
        let kept = (repeatable || self.alpn == Alpn::Http2).then(|| head.clone());
        match self.try_send(request(head), false).await {
            Ok(response) => Ok(response),
            Err(failed) if failed.dialled => Err(failed.error),
            Err(Failed { back: Some(request), .. }) => {
                self.try_send(*request, true).await.map_err(|failed| failed.error)
            }
            Err(failed) => match kept.filter(|_| failed.unprocessed || repeatable) {
                Some(head) => self.try_send(request(head), true).await.map_err(|failed| failed.error),
                None => Err(failed.error),
            },
        }
    }

    /// Sends on the connection at hand, or on a `fresh` one.
    async fn try_send(&self, request: Request<Upward>, fresh: bool) -> Result<Response<Incoming>, Failed> {
        let mut held = self.sender.lock().await;
        if fresh {
            *held = None;
        }
        let dialled = match held.as_mut() {
            Some(sender) => !sender.ready().await,
            None => true,
        };
        if dialled {
            *held = Some(self.connect().await.map_err(|error| Failed {
                back: None,
                unprocessed: false,
                dialled,
                error,
            })?);
        }
        let Some(sender) = held.as_mut() else {
            return Err(Failed {
                back: None,
                unprocessed: false,
                dialled,
                error: UpstreamError::Protocol { offered: self.alpn },
            });
        };
        // The answer is awaited without the lock.
        let answer = sender.send(request);
        drop(held);
        answer.await.map_err(|(error, back)| Failed {
            back: back.map(Box::new),
            unprocessed: was_not_processed(&error),
            dialled,
            error: UpstreamError::Broken(error),
        })
    }

    async fn connect(&self) -> Result<Sender, UpstreamError> {
        let stream = self.dial.dial(self.alpn).await?;
        if Alpn::of(stream.get_ref().1.alpn_protocol()) != self.alpn {
            return Err(UpstreamError::Protocol { offered: self.alpn });
        }
        handshake(stream, self.alpn).await.map_err(UpstreamError::Broken)
    }
}

struct Failed {
    /// The request, if nothing of it left.
    back: Option<Box<Request<Upward>>>,
    /// The server said that it did not look at it.
    unprocessed: bool,
    /// The connection was made for this request.
    dialled: bool,
    error: UpstreamError,
}

type Answer =
    std::pin::Pin<Box<dyn Future<Output = Result<Response<Incoming>, (hyper::Error, Option<Request<Upward>>)>> + Send>>;

impl Sender {
    /// Waits until a request can be sent; false when the connection is gone.
    async fn ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    fn send(&mut self, mut request: Request<Upward>) -> Answer {
        fn split(
            mut error: hyper::client::conn::TrySendError<Request<Upward>>,
        ) -> (hyper::Error, Option<Request<Upward>>) {
            let back = error.take_message();
            (error.into_error(), back)
        }
        match self {
            Self::Http1(sender) => {
                let answer = sender.try_send_request(request);
                Box::pin(async move { answer.await.map_err(split) })
            }
            Self::Http2(sender) => {
                *request.version_mut() = http::Version::HTTP_2;
                let answer = sender.try_send_request(request);
                Box::pin(async move { answer.await.map_err(split) })
            }
        }
    }
}

async fn handshake(stream: TlsStream<TcpStream>, alpn: Alpn) -> hyper::Result<Sender> {
    let io = TokioIo::new(stream);
    match alpn {
        Alpn::Http1 => {
            let (sender, connection) = http1::Builder::new()
                .max_buf_size(MAX_HEAD_BYTES * 2)
                .max_headers(MAX_FIELDS)
                .preserve_header_case(true)
                .handshake(io)
                .await?;
            spawn(connection);
            Ok(Sender::Http1(sender))
        }
        Alpn::Http2 => {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(256 * 1024)
                .initial_connection_window_size(4 * 1024 * 1024)
                .max_header_list_size(MAX_HEAD_BYTES as u32)
                .max_send_buf_size(256 * 1024)
                .keep_alive_interval(std::time::Duration::from_secs(30))
                .keep_alive_timeout(std::time::Duration::from_secs(15))
                .handshake(io)
                .await?;
            spawn(connection);
            Ok(Sender::Http2(sender))
        }
    }
}

/// Drives a connection; it ends when its last sender and response are gone.
fn spawn(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the server ended");
        }
    });
}

/// Whether the server said that it did not look at the request (RFC 9113
/// section 8.7).
fn was_not_processed(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.is_remote() && error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let going_away = error.is_remote() && error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            return refused || going_away;
        }
        cause = error.source();
    }
    false
}

/// An error and its causes in one line.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Shares a dialler.
impl<D: Dial> Dial for Arc<D> {
    fn dial(&self, alpn: Alpn) -> impl Future<Output = Result<TlsStream<TcpStream>, DialError>> + Send {
        (**self).dial(alpn)
    }
}
