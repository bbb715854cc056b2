//! One HTTP/2 connection to another process of ours, made again when it is
//! gone and when the credentials change.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use sluice_wire::{Code, Identity, MAX_BODY_BYTES, Refusal};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::names::addresses;
use crate::{Credentials, CredentialsWatch, Endpoint, LinkError, Resolve};

/// For a connection over all addresses, and for its handshake.
const PATIENCE: Duration = Duration::from_secs(5);
/// For one address.
const ATTEMPT: Duration = Duration::from_secs(2);
/// For the head of an answer, and for a body that is one JSON object.
const ANSWER: Duration = Duration::from_secs(15);
/// Between questions whether the other end lives, and for their answers.
const ALIVE: Duration = Duration::from_secs(10);

/// Which of our servers must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// The control plane.
    Control,
    /// The collector.
    Collector,
}

impl Server {
    pub(crate) fn identity(self, trust_domain: &str) -> Identity {
        let trust_domain = trust_domain.to_owned();
        match self {
            Self::Control => Identity::Control { trust_domain },
            Self::Collector => Identity::Collector { trust_domain },
        }
    }
}

/// The way to a server of ours, over mutual TLS. Cheap to clone; clones share
/// one connection.
#[derive(Debug, Clone)]
pub struct Link {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    server: Identity,
    resolver: Arc<dyn Resolve>,
    credentials: CredentialsWatch,
    open: Mutex<Option<Open>>,
}

/// A connection, and what it was made with.
#[derive(Debug, Clone)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    credentials: Arc<Credentials>,
}

impl Link {
    /// The way to `endpoint`, where `server` of `trust_domain` must answer.
    /// Nothing is dialled before it is used.
    pub fn new(
        endpoint: Endpoint,
        server: Server,
        trust_domain: &str,
        resolver: Arc<dyn Resolve>,
        credentials: CredentialsWatch,
    ) -> Self {
        let server = server.identity(trust_domain);
        Self { inner: Arc::new(Inner { endpoint, server, resolver, credentials, open: Mutex::default() }) }
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// Waits until this process has enrolled. Who nobody will ever enrol waits
    /// for ever.
    pub(crate) async fn enrolled(&self) {
        let mut credentials = self.inner.credentials.clone();
        if credentials.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends a request, and waits for the head of the answer. `path` may carry
    /// a query.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send(&self, method: http::Method, path: &str, body: Bytes) -> Result<Response<Incoming>, LinkError> {
        let url = self.inner.endpoint.url(path);
        let mut open = self.connection().await?;
        let request = request(method, &url, None, body)?;
        answered(&url, open.sender.send_request(request)).await
    }

    async fn connection(&self) -> Result<Open, LinkError> {
        let inner = &self.inner;
        let present = inner.credentials.borrow().clone().ok_or_else(|| {
            let fix = "wait until this process has enrolled at the control plane; its log says why it has not";
            LinkError::new(inner.endpoint.to_string(), "there is no certificate yet", fix)
        })?;
        // One dials, the others wait for it.
        let mut slot = inner.open.lock().await;
        if let Some(open) = slot.as_ref()
            && Arc::ptr_eq(&open.credentials, &present)
            && !open.sender.is_closed()
        {
            return Ok(open.clone());
        }
        let config = present.client_config(&inner.server);
        let sender = connect(&inner.endpoint, inner.resolver.as_ref(), config).await?;
        let open = Open { sender, credentials: present };
        *slot = Some(open.clone());
        Ok(open)
    }
}

/// A request of ours.
pub(crate) fn request(
    method: http::Method,
    url: &str,
    bearer: Option<&str>,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, LinkError> {
    let mut request = Request::builder().method(method).uri(url);
    if let Some(token) = bearer {
        let mut value = http::HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| LinkError::new(url, "the token is not printable", "mount the projected token again"))?;
        value.set_sensitive(true);
        request = request.header(http::header::AUTHORIZATION, value);
    }
    if !body.is_empty() {
        let kind = if body.starts_with(b"{") { "application/json" } else { "application/octet-stream" };
        request = request.header(http::header::CONTENT_TYPE, kind);
    }
    request.body(Full::new(body)).map_err(|error| LinkError::new(url, error.to_string(), "correct the URL"))
}

/// Waits for the head of an answer.
pub(crate) async fn answered(
    url: &str,
    sent: impl Future<Output = hyper::Result<Response<Incoming>>>,
) -> Result<Response<Incoming>, LinkError> {
    const FIX: &str = "look at the server's log; it is tried again";
    match tokio::time::timeout(ANSWER, sent).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(LinkError::new(url, format!("the connection ended: {}", chain(&error)), FIX)),
        Err(_) => Err(LinkError::new(url, format!("no answer within {} s", ANSWER.as_secs()), FIX)),
    }
}

/// The body of an answer that is one JSON object, of any status.
pub(crate) async fn body(url: &str, response: Response<Incoming>) -> Result<(StatusCode, Bytes), LinkError> {
    let status = response.status();
    let read = Limited::new(response.into_body(), MAX_BODY_BYTES).collect();
    let no = |what: String| LinkError::new(url, what, "check that a version of ours answers there");
    match tokio::time::timeout(ANSWER, read).await {
        Ok(Ok(body)) => Ok((status, body.to_bytes())),
        Ok(Err(error)) => {
            Err(no(format!("the answer ({status}) cannot be read ({error}); at most {MAX_BODY_BYTES} bytes are taken")))
        }
        Err(_) => Err(no(format!("the answer ({status}) stopped"))),
    }
}

/// The refusal in an answer that is no success.
pub(crate) fn refusal(url: &str, status: StatusCode, body: &[u8]) -> LinkError {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => LinkError::refused(url, refusal),
        Err(_) => {
            let code = if status.is_server_error() { Code::Unavailable } else { Code::Other };
            let what = format!("answered {status} without a reason");
            LinkError::refused(url, Refusal::new(code, what, "check that a version of ours answers there"))
        }
    }
}

/// Opens a connection.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    resolver: &dyn Resolve,
    config: Arc<ClientConfig>,
) -> Result<SendRequest<Full<Bytes>>, LinkError> {
    let addresses = addresses(resolver, endpoint).await?;
    let stream = match tokio::time::timeout(PATIENCE, dial(&addresses, endpoint.port())).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Err(LinkError::connect(endpoint, format!("cannot be reached at {}: {error}", list(&addresses))));
        }
        Err(_) => return Err(LinkError::connect(endpoint, format!("nobody answers at {}", list(&addresses)))),
    };
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(endpoint.host().to_owned())
        .map_err(|_| LinkError::connect(endpoint, format!("{:?} is no name for TLS", endpoint.host())))?;
    let stream = match tokio::time::timeout(PATIENCE, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let fix = "check who listens there, that both have the roots of the same workload CA, and the clocks";
            return Err(LinkError::new(endpoint.to_string(), format!("TLS failed: {}", tls_failure(&error)), fix));
        }
        Err(_) => return Err(LinkError::connect(endpoint, "no TLS handshake in time")),
    };
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(ALIVE)
        .keep_alive_timeout(ALIVE)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| LinkError::connect(endpoint, format!("no HTTP/2: {}", chain(&error))))?;
    let shown = endpoint.clone();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(endpoint = %shown, error = chain(&error), "a connection ended early");
        }
    });
    Ok(sender)
}

/// The first address that answers.
async fn dial(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "it has no address");
    for address in addresses {
        match tokio::time::timeout(ATTEMPT, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn list(addresses: &[IpAddr]) -> String {
    let shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    shown.join(", ")
}

/// What `rustls` says, in words where it is a certificate of somebody else.
fn tls_failure(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) => other.0.to_string(),
        _ => chain(error),
    }
}

/// An error and what caused it.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
