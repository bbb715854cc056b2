use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{LONG, Request, Response, pki};

/// One HTTP/2 connection, driven by a thread of its own.
#[derive(Debug)]
pub struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// The body of an answer that is still coming.
#[derive(Debug)]
pub struct Streaming {
    /// Status and headers; the body is empty.
    pub head: Response,
    body: Incoming,
}

impl Http2 {
    /// Connects; the server must agree on `h2`.
    ///
    /// # Errors
    /// When nothing listens, the certificate is for another name, or the
    /// server speaks only HTTP/1.
    pub fn connect(address: SocketAddr, host: &str, roots: &RootCertStore) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut config = pki::client_config(roots);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(host.to_owned())?;
        let sender = runtime.block_on(async {
            let connecting = async {
                let socket = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
                socket.set_nodelay(true)?;
                let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await.context("TLS handshake")?;
                ensure!(tls.get_ref().1.alpn_protocol() == Some(b"h2"), "the server does not speak h2");
                let (sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
                tokio::spawn(connection);
                anyhow::Ok(sender)
            };
            timeout(LONG, connecting).await.context("no HTTP/2 connection")?
        })?;
        Ok(Self { runtime, sender, host: host.to_owned() })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks first.
    pub fn send(&self, request: &Request) -> Result<Response> {
        let mut streaming = self.open(request)?;
        while let Some(chunk) = self.chunk(&mut streaming)? {
            streaming.head.body.extend_from_slice(&chunk);
        }
        Ok(streaming.head)
    }

    /// Sends a request and reads status and headers.
    ///
    /// # Errors
    /// When the connection breaks first.
    pub fn open(&self, request: &Request) -> Result<Streaming> {
        let mut builder = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("https://{}{}", self.host, request.path));
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let message = builder.body(Full::new(Bytes::from(request.body.clone())))?;
        let mut sender = self.sender.clone();
        let answer = self.runtime.block_on(async {
            sender.ready().await?;
            timeout(LONG, sender.send_request(message)).await.context("no answer")?.map_err(anyhow::Error::from)
        })?;
        let (head, body) = answer.into_parts();
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        Ok(Streaming { head: Response { status: head.status.as_u16(), headers, body: Vec::new() }, body })
    }

    /// The next piece of a body; `None` is its end.
    ///
    /// # Errors
    /// When the stream is reset, or nothing comes.
    pub fn chunk(&self, streaming: &mut Streaming) -> Result<Option<Bytes>> {
        self.runtime.block_on(async {
            loop {
                match timeout(LONG, streaming.body.frame()).await.context("the stream stands still")? {
                    None => return Ok(None),
                    Some(Err(error)) => bail!("the stream broke: {error:?}"),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            }
        })
    }
}
