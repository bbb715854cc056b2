//! Probes of the agent's containers, made from within the pod: the node cannot
//! reach them. Only those that the injection lists, and only to the pod itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::trust;

/// Bytes of an answer that are read.
const MAX_BODY: usize = 10 * 1024;
/// The kubelet asks once in a second at most.
const PACE: Duration = Duration::from_millis(500);
/// How the kubelet's begin.
const AGENT: HeaderValue = HeaderValue::from_static("kube-probe/sluice");
/// `HealthCheckResponse{status: SERVING}` in its frame (grpc.health.v1).
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];

/// Probes by the path under which the node asks for them.
#[derive(Debug, Clone, Default)]
pub struct Probes(Arc<BTreeMap<String, Paced>>);

/// A probe, and how it went the last time. Everybody may ask, and the agent
/// chooses the answer: it is one bit, and not more often than this.
#[derive(Debug)]
struct Paced {
    probe: Probe,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Probes {
    /// Whether the container is well; `None` where no such probe is listed.
    /// `own`: an address of the pod.
    pub(crate) async fn well(&self, path: &str, own: IpAddr) -> Option<bool> {
        let paced = self.0.get(path)?;
        let mut last = paced.last.lock().await;
        if let Some((when, well)) = *last
            && when.elapsed() < PACE
        {
            return Some(well);
        }
        let made = paced.probe.make(own).await;
        if let Err(error) = &made {
            tracing::info!(path, %error, "a container is not well");
        }
        *last = Some((Instant::now(), made.is_ok()));
        Some(made.is_ok())
    }
}

#[cfg(test)]
impl Probes {
    pub(crate) fn lists(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

impl FromStr for Probes {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, serde_json::Error> {
        let listed: BTreeMap<String, Probe> =
            if text.is_empty() { BTreeMap::new() } else { serde_json::from_str(text)? };
        let paced = listed.into_iter().map(|(path, probe)| (path, Paced { probe, last: Mutex::new(None) }));
        Ok(Self(Arc::new(paced.collect())))
    }
}

/// One, as a container has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Probe {
    timeout_seconds: u64,
    #[serde(flatten)]
    handler: Handler,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Handler {
    HttpGet(HttpGet),
    TcpSocket(TcpSocket),
    Grpc(Grpc),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    port: u16,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    scheme: Option<String>,
    #[serde(default)]
    http_headers: Option<Vec<Header>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Header {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Clone, Deserialize)]
struct TcpSocket {
    port: u16,
}

#[derive(Debug, Clone, Deserialize)]
struct Grpc {
    port: u16,
    #[serde(default)]
    service: Option<String>,
}

/// Why a container is not well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("no answer within {0} s")]
    Slow(u64),
    #[error("connect to port {0}: {1}")]
    Connect(u16, std::io::Error),
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("HTTP probe failed with status {}", .0.as_u16())]
    Status(StatusCode),
    #[error("the service is not SERVING (gRPC status {0})")]
    NotServing(String),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the probe cannot be sent: {0}")]
    Request(#[from] http::Error),
    #[error("the answer broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

impl Probe {
    /// Makes it. `own`: an address of the pod.
    pub(crate) async fn make(&self, own: IpAddr) -> Result<(), ProbeError> {
        let seconds = self.timeout_seconds.max(1);
        let made = async {
            match &self.handler {
                Handler::HttpGet(get) => get.make(own).await,
                Handler::TcpSocket(socket) => connect(own, socket.port).await.map(drop),
                Handler::Grpc(grpc) => grpc.make(own).await,
            }
        };
        tokio::time::timeout(Duration::from_secs(seconds), made).await.map_err(|_| ProbeError::Slow(seconds))?
    }
}

/// A server may listen on one of both.
async fn connect(own: IpAddr, port: u16) -> Result<TcpStream, ProbeError> {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => Ok(stream),
        Err(_) => TcpStream::connect((own, port)).await.map_err(|error| ProbeError::Connect(port, error)),
    }
}

impl HttpGet {
    async fn make(&self, own: IpAddr) -> Result<(), ProbeError> {
        let request = self.request(own)?;
        let stream = connect(own, self.port).await?;
        if self.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) {
            let connector = tokio_rustls::TlsConnector::from(unverified().map_err(ProbeError::Tls)?);
            exchange(connector.connect(ServerName::from(own), stream).await.map_err(ProbeError::Tls)?, request).await
        } else {
            exchange(stream, request).await
        }
    }

    fn request(&self, own: IpAddr) -> Result<Request<Full<Bytes>>, http::Error> {
        let path = self.path.as_deref().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut request = Request::get(format!("{slash}{path}")).body(Full::default())?;
        let headers = request.headers_mut();
        for header in self.http_headers.iter().flatten() {
            headers.append(HeaderName::from_str(&header.name)?, HeaderValue::from_str(&header.value)?);
        }
        headers.entry(USER_AGENT).or_insert(AGENT);
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if !headers.contains_key(HOST) {
            headers.insert(HOST, HeaderValue::from_str(&SocketAddr::new(own, self.port).to_string())?);
        }
        Ok(request)
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(), ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDrop(tokio::spawn(connection));
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame?.data_ref().map_or(0, Bytes::len);
        if read > MAX_BODY {
            break;
        }
    }
    drop(connection);
    if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(ProbeError::Status(status)) }
}

struct AbortOnDrop(tokio::task::JoinHandle<Result<(), hyper::Error>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Grpc {
    async fn make(&self, own: IpAddr) -> Result<(), ProbeError> {
        let stream = TokioIo::new(connect(own, self.port).await?);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
        let _connection = AbortOnDrop(tokio::spawn(connection));
        let url = format!("http://{}/grpc.health.v1.Health/Check", SocketAddr::new(own, self.port));
        let request = Request::post(url)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header(USER_AGENT, AGENT)
            .body(Full::new(health_request(self.service.as_deref().unwrap_or_default())))?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(ProbeError::Body)?;
        let said = |headers: &http::HeaderMap| Some(headers.get("grpc-status")?.to_str().ok()?.to_owned());
        let code =
            body.trailers().and_then(said).or_else(|| said(&head.headers)).unwrap_or_else(|| "absent".to_owned());
        let serving = code == "0" && head.status == StatusCode::OK && body.to_bytes() == SERVING;
        if serving { Ok(()) } else { Err(ProbeError::NotServing(code)) }
    }
}

/// `HealthCheckRequest{service}` in its frame.
fn health_request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut left = service.len();
        while left > 0x7f {
            message.push(u8::try_from(left & 0x7f).unwrap_or_default() | 0x80);
            left >>= 7;
        }
        message.push(u8::try_from(left).unwrap_or_default());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
    Bytes::from([&[0], length.as_slice(), &message].concat())
}

fn unverified() -> std::io::Result<Arc<rustls::ClientConfig>> {
    let builder = rustls::ClientConfig::builder_with_provider(trust::crypto()).with_safe_default_protocol_versions();
    let builder = builder.map_err(std::io::Error::other)?.dangerous();
    Ok(Arc::new(builder.with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth()))
}

/// Kubernetes asks no probe for its certificate: it may be of any name.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        trust::crypto().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
