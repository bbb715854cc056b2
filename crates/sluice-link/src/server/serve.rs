use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use sluice_wire::Identity;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::places::Places;
use super::shutdown::Shutdown;
use crate::verify::identity_of;

/// Who is at the other end.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Whom its certificate speaks for; `None`: it showed none, or one that is
    /// nobody's of ours.
    pub identity: Option<Identity>,
    /// When that certificate ends, and its connection with it.
    pub expires: Option<Timestamp>,
}

/// How one listener is served.
#[derive(Debug)]
pub struct Serving {
    /// Where.
    pub listener: TcpListener,
    /// Requests at a time on one connection.
    pub streams: u32,
    /// Until when; what is under way is finished.
    pub shutdown: Shutdown,
}

/// Connections at a time, at each listener; a quarter of them of one address.
const MAX_CONNECTIONS: usize = 4096;
/// For a handshake, for the head of a request and for its body.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what is under way when the process, or a certificate, ends.
const DRAIN: Duration = Duration::from_secs(8);

impl Serving {
    /// TLS. `config` is asked anew for each connection; `None`: there is no
    /// certificate yet.
    pub async fn tls<C, S, F, B>(self, config: C, service: S)
    where
        C: Fn() -> Option<Arc<ServerConfig>> + Clone + Send + 'static,
        S: Fn(Peer, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { listener, streams, shutdown } = self;
        accept(listener, shutdown.clone(), move |stream| {
            let (config, shutdown, service) = (config.clone(), shutdown.clone(), service.clone());
            async move {
                let Some(config) = config() else { return debug!("a connection before the first certificate") };
                let stream = match tokio::time::timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(cause)) => return debug!(%cause, "no TLS"),
                    Err(_) => return debug!("no TLS in time"),
                };
                let (_, session) = stream.get_ref();
                let streams = (session.alpn_protocol() == Some(b"h2")).then_some(streams);
                let peer = session.peer_certificates().and_then(<[_]>::first).map(peer).unwrap_or_default();
                connection(stream, streams, peer, shutdown, service).await;
            }
        })
        .await;
    }

    /// Plain HTTP/1.1: health and metrics.
    pub async fn plain<S, F, B>(self, service: S)
    where
        S: Fn(Peer, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { listener, shutdown, .. } = self;
        accept(listener, shutdown.clone(), move |stream| {
            connection(stream, None, Peer::default(), shutdown.clone(), service.clone())
        })
        .await;
    }
}

fn peer(certificate: &CertificateDer<'static>) -> Peer {
    let ends = X509Certificate::from_der(certificate).ok();
    let ends = ends.and_then(|(_, parsed)| Timestamp::from_second(parsed.validity().not_after.timestamp()).ok());
    Peer { identity: identity_of(certificate), expires: ends }
}

async fn accept<C, F>(listener: TcpListener, shutdown: Shutdown, connection: C)
where
    C: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Places::new(MAX_CONNECTIONS);
    loop {
        let accepted = async {
            let free = places.free().await;
            listener.accept().await.map(|(stream, peer)| (stream, peer, free))
        };
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer, free)) => {
                let Some(place) = places.give(free, peer.ip()) else {
                    debug!(%peer, "a connection too many of this address");
                    continue;
                };
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
    let _ = tokio::time::timeout(DRAIN, places.all_free()).await;
}

/// `streams`: of HTTP/2; `None`: HTTP/1.1.
async fn connection<T, S, F, B>(stream: T, streams: Option<u32>, peer: Peer, shutdown: Shutdown, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Peer, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let ends = end_of(peer.expires);
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
                () = async { tokio::select! { () = shutdown.requested() => {}, () = ends => {} } } => {
                    connection.as_mut().graceful_shutdown();
                    match tokio::time::timeout(DRAIN, connection).await {
                        Ok(ended) => ended,
                        Err(_) => return,
                    }
                }
            };
            if let Err(cause) = ended {
                debug!(%cause, "a connection ended early");
            }
        }};
    }
    if let Some(streams) = streams {
        run!(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(streams)
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

/// Nobody is who his certificate said after its end: the connection is made
/// anew then.
async fn end_of(expires: Option<Timestamp>) {
    let Some(expires) = expires else { return std::future::pending().await };
    let left = expires.as_second().saturating_sub(Timestamp::now().as_second());
    tokio::time::sleep(Duration::from_secs(u64::try_from(left).unwrap_or(0))).await;
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
