//! One connection of a client, as HTTP/1.1 or HTTP/2, request by request.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::body::{Downward, With};
use super::head::{Authorities, MAX_FIELDS, MAX_HEAD_BYTES, Unreadable};
use super::strict::{Refusal, SENTINEL_PATH, Strict, UnderWay};

/// Streams of one HTTP/2 connection at one time.
pub(crate) const MAX_STREAMS: u32 = 64;

/// What was asked, or why it cannot be read.
pub(crate) type Asked = Result<Request<Incoming>, Unreadable>;

/// Answers the requests of an HTTP/1.1 connection until it ends, or until
/// `drain` turns true and the request under way is answered.
pub(crate) async fn http1<T, S, F>(
    stream: T,
    authorities: Arc<Authorities>,
    service: S,
    mut drain: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Asked) -> F,
    F: Future<Output = Response<Downward>> + Send,
{
    let refusal = Refusal::default();
    let under_way = UnderWay::default();
    let strict = Strict::new(stream, authorities, refusal.clone(), under_way.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let asked = match refusal.get() {
            Some(refused) if request.uri().path() == SENTINEL_PATH => Err(refused),
            _ => Ok(request),
        };
        let one = under_way.one();
        let answer = service(asked);
        // The library wants a future that can be moved.
        Box::pin(async move { Ok::<_, Infallible>(answer.await.map(|body| With { body, _kept: one })) })
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES + 4096)
        .max_headers(MAX_FIELDS)
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(strict), service);
    let mut draining = pin!(drain.wait_for(|draining| *draining));
    let mut told = false;
    let ended = poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            std::pin::Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx)
    })
    .await;
    if let Err(error) = &ended {
        tracing::debug!(%error, "connection ended");
    }
    linger(connection.into_parts().io.into_inner().into_inner()).await;
}

/// Closes so that the last answer arrives: a socket closed with unread bytes
/// resets the connection and takes the answer with it.
pub(crate) async fn linger<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T) {
    const MOST: usize = 8 * 1024 * 1024;
    const LONGEST: Duration = Duration::from_secs(2);
    let _ = tokio::time::timeout(LONGEST, async {
        stream.shutdown().await?;
        let mut space = [0; 4096];
        let mut seen = 0;
        while seen < MOST {
            match stream.read(&mut space).await? {
                0 => break,
                count => seen += count,
            }
        }
        Ok::<_, std::io::Error>(())
    })
    .await;
}

/// Answers the requests of an HTTP/2 connection until it ends, or until
/// `drain` turns true and every stream is answered.
pub(crate) async fn http2<T, S, F>(
    stream: T,
    authorities: Arc<Authorities>,
    service: S,
    mut drain: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Asked) -> F,
    F: Future<Output = Response<Downward>> + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let asked = checked(request, &authorities);
        let answer = service(asked);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut draining = pin!(drain.wait_for(|draining| *draining));
    let mut told = false;
    let ended = poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// What the HTTP/2 library leaves to us (RFC 9113 section 8.3.1): which target
/// is named, and how.
fn checked(request: Request<Incoming>, authorities: &Authorities) -> Asked {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let mut hosts = request.headers().get_all(http::header::HOST).iter();
    let host = hosts.next().map(|host| host.to_str().unwrap_or("").to_owned());
    if hosts.next().is_some() {
        return Err(Unreadable::bad("more than one host field"));
    }
    if request.method() == http::Method::CONNECT || !request.uri().path().starts_with('/') {
        return Err(Unreadable::bad("CONNECT and requests without a path are for proxies"));
    }
    if request.uri().scheme_str().is_some_and(|scheme| scheme != "https") {
        return Err(Unreadable::bad(":scheme is something other than `https`"));
    }
    if request.headers().len() > MAX_FIELDS {
        return Err(Unreadable::too_large(format!("more than {MAX_FIELDS} header fields")));
    }
    if request.headers().get_all(http::header::CONTENT_LENGTH).iter().count() > 1 {
        return Err(Unreadable::bad("more than one content-length field"));
    }
    for name in authority.iter().chain(&host) {
        if !authorities.accepts(name) {
            return Err(Unreadable::misdirected(name, authorities));
        }
    }
    if authority.is_none() && host.is_none() {
        return Err(Unreadable::bad("neither :authority nor host"));
    }
    if let (Some(authority), Some(host)) = (&authority, &host)
        && !authority.eq_ignore_ascii_case(host)
    {
        return Err(Unreadable::bad(":authority and host name two hosts"));
    }
    Ok(request)
}
