use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use sluice_core::Secret;
use sluice_wire::Refusal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::args::{QUERY_PORT, SERVICE};
use crate::cluster::Cluster;

/// Where a collector is, and how one proves oneself to it.
pub(super) struct Endpoint {
    pub(super) way: Way,
    pub(super) tls: Arc<ClientConfig>,
    /// The name that its certificate must have.
    pub(super) name: ServerName<'static>,
    pub(super) token: Secret<String>,
}

/// How its port is reached.
pub(super) enum Way {
    /// Directly.
    Dial { host: String, port: u16 },
    /// Through the API server.
    Forward(Box<Cluster>),
}

/// A connection.
pub(super) enum Session {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl Endpoint {
    pub(super) async fn connect(&self) -> anyhow::Result<Session> {
        match &self.way {
            Way::Dial { host, port } => {
                let dialled = tokio::time::timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await;
                let stream = dialled.with_context(|| format!("collector {host}:{port}: no connection in time"))?;
                self.greet(stream.with_context(|| format!("collector {host}:{port}"))?).await
            }
            Way::Forward(cluster) => self.greet(cluster.forward(SERVICE, QUERY_PORT).await?).await,
        }
    }

    async fn greet<S>(&self, stream: S) -> anyhow::Result<Session>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connecting = TlsConnector::from(self.tls.clone()).connect(self.name.clone(), stream);
        let name = self.name.to_str();
        let stream = tokio::time::timeout(CONNECT, connecting).await.context("collector: no TLS in time")?;
        let stream = stream.with_context(|| format!("collector: it does not prove that it is {name}"))?;
        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let failed = "collector: no HTTP";
        if two {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.context(failed)?;
            tokio::spawn(connection);
            return Ok(Session::Two(sender));
        }
        let (sender, connection) = http1::handshake(io).await.context(failed)?;
        tokio::spawn(connection);
        Ok(Session::One(sender))
    }

    /// The body of an answer that is a success.
    ///
    /// # Errors
    /// The refusal, in the collector's own words.
    pub(super) async fn get(&self, session: &mut Session, path: &str) -> anyhow::Result<Incoming> {
        let request = self.request(path, matches!(session, Session::Two(_)))?;
        let answering = async {
            match session {
                Session::One(sender) => sender.send_request(request).await,
                Session::Two(sender) => sender.send_request(request).await,
            }
        };
        let answer = tokio::time::timeout(ANSWER, answering).await;
        let answer = answer.with_context(|| format!("collector: {path}: no answer in {} s", ANSWER.as_secs()))?;
        let answer = answer.with_context(|| format!("collector: {path}"))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let body = Limited::new(answer.into_body(), sluice_wire::MAX_BODY_BYTES).collect().await;
        let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
        match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) => bail!("the collector refuses {path}: {refusal}"),
            Err(_) => bail!("the collector answers {path} with {status}"),
        }
    }

    fn request(&self, path: &str, two: bool) -> anyhow::Result<Request<Empty<Bytes>>> {
        let name = self.name.to_str();
        let host = if name.contains(':') { format!("[{name}]") } else { name.into_owned() };
        let uri: Uri = if two { format!("https://{host}{path}") } else { path.to_owned() }
            .parse()
            .with_context(|| format!("`{path}` is no path"))?;
        let mut shown = HeaderValue::from_str(&format!("Bearer {}", self.token.expose()))
            .map_err(|_| anyhow::anyhow!("the bearer token holds characters that no token has; see --token-file"))?;
        shown.set_sensitive(true);
        let mut request = Request::get(uri)
            .header(AUTHORIZATION, shown)
            .header(ACCEPT, "application/json, application/x-ndjson, application/octet-stream")
            .header(USER_AGENT, concat!("sluice/", env!("CARGO_PKG_VERSION")));
        if !two {
            request = request.header(HOST, host);
        }
        Ok(request.body(Empty::new())?)
    }
}

impl Session {
    /// Whether another request can be sent on it.
    pub(super) async fn is_open(&mut self) -> bool {
        let ready = async {
            match self {
                Self::One(sender) => sender.ready().await.is_ok(),
                Self::Two(sender) => sender.ready().await.is_ok(),
            }
        };
        // An answer that was not read to its end keeps HTTP/1 busy for good.
        tokio::time::timeout(BUSY, ready).await.unwrap_or(false)
    }
}

/// For a connection and for its TLS, each.
const CONNECT: Duration = Duration::from_secs(15);
/// For the head of an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// For a connection that is not done with the last answer.
const BUSY: Duration = Duration::from_millis(200);
