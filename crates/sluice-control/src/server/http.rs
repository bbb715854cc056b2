use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sluice_wire::{Code, Identity, Refusal};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::tls::Credentials;
use crate::certificates::identity_of;
use crate::shutdown::Shutdown;

/// The body of an answer.
pub type Reply = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;
/// An answer.
pub type Answer = Response<Reply>;

/// Who is at the other end.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Whom its certificate speaks for; `None`: it showed none, or one that is
    /// nobody's of ours.
    pub identity: Option<Identity>,
}

/// Connections at a time.
const MAX_CONNECTIONS: usize = 4096;
/// For a handshake, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what is under way when the process is to end.
const DRAIN: Duration = Duration::from_secs(8);
/// Requests at a time on one connection.
const MAX_STREAMS: u32 = 64;

/// Serves TLS until `shutdown`, then lets what is under way finish.
pub async fn serve<S, F>(listener: TcpListener, credentials: Arc<Credentials>, shutdown: Shutdown, service: S)
where
    S: Fn(Peer, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    accept(listener, shutdown.clone(), move |stream| {
        let (credentials, shutdown, service) = (credentials.clone(), shutdown.clone(), service.clone());
        async move {
            let Some(config) = credentials.current() else {
                debug!("a connection before the first certificate");
                return;
            };
            let stream = match tokio::time::timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(cause)) => return debug!(%cause, "no TLS"),
                Err(_) => return debug!("no TLS in time"),
            };
            let (_, session) = stream.get_ref();
            let h2 = session.alpn_protocol() == Some(b"h2");
            let identity = session.peer_certificates().and_then(|chain| identity_of(chain.first()?));
            connection(stream, h2, Peer { identity }, shutdown, service).await;
        }
    })
    .await;
}

/// Serves plain HTTP/1.1 until `shutdown`: health and metrics.
pub async fn serve_plain<S, F>(listener: TcpListener, shutdown: Shutdown, service: S)
where
    S: Fn(Peer, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    accept(listener, shutdown.clone(), move |stream| {
        connection(stream, false, Peer::default(), shutdown.clone(), service.clone())
    })
    .await;
}

async fn accept<C, F>(listener: TcpListener, shutdown: Shutdown, connection: C)
where
    C: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let served = connection(stream);
                tokio::spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(cause) => {
                // Out of descriptors, most likely: others must end first.
                warn!(%cause, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(DRAIN, places.acquire_many(all)).await;
}

async fn connection<T, S, F>(stream: T, h2: bool, peer: Peer, shutdown: Shutdown, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Peer, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = service(peer.clone(), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let io = TokioIo::new(stream);
    // The two protocols have no type in common.
    macro_rules! run {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = shutdown.requested() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(cause) = ended {
                debug!(%cause, "a connection ended early");
            }
        }};
    }
    if h2 {
        run!(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(PATIENCE)
                .serve_connection(io, service)
        );
    } else {
        run!(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(io, service)
        );
    }
}

/// The body of a request, at most `limit` bytes of it.
///
/// # Errors
/// When it is longer, or does not arrive.
pub async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, io::Error> {
    let read = async { Limited::new(body, limit).collect().await };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(cause)) => Err(io::Error::other(format!("the body cannot be read ({cause}); at most {limit} bytes"))),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the body did not arrive in time")),
    }
}

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
