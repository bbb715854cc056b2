//! The first bytes of a connection, and TLS towards the client.
//!
//! The ClientHello is read before anything is answered: its server name must
//! agree with the target, and what it offers by ALPN is what the upstream is
//! asked for, so that the client is then offered exactly what the upstream
//! chose.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use lru::LruCache;
use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take from its first byte to the end of the handshake.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(15);
/// A ClientHello with every extension in use stays far below this.
const MAX_HELLO_BYTES: usize = 32 * 1024;

/// What a client said first.
#[derive(Debug)]
pub(crate) enum First {
    /// A TLS ClientHello.
    Tls(Hello),
    /// Something else; the bytes read so far, at least one.
    Other(Vec<u8>),
    /// It closed without a word.
    Nothing,
}

/// A ClientHello.
#[derive(Debug)]
pub(crate) struct Hello {
    /// The bytes read so far: the ClientHello and perhaps more.
    pub(crate) raw: Vec<u8>,
    /// Server name, lower case, without a trailing dot.
    pub(crate) server_name: Option<String>,
    /// Protocols offered, in order.
    pub(crate) alpn: Vec<Vec<u8>>,
}

/// Reads until it is clear what the client speaks.
///
/// # Errors
/// What begins as TLS and is not a ClientHello, or is longer than 32 KiB; and
/// errors of the socket.
pub(crate) async fn first(stream: &mut TcpStream) -> io::Result<First> {
    const HANDSHAKE_RECORD: u8 = 0x16;
    let mut raw = Vec::with_capacity(1024);
    if stream.read_buf(&mut raw).await? == 0 {
        return Ok(First::Nothing);
    }
    if raw.first() != Some(&HANDSHAKE_RECORD) {
        return Ok(First::Other(raw));
    }
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    loop {
        let mut news = Cursor::new(raw.get(fed..).unwrap_or_default());
        while news.position() < news.get_ref().len() as u64 {
            acceptor.read_tls(&mut news)?;
        }
        fed = raw.len();
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let server_name = hello.server_name().map(crate::accept::normal);
                let alpn = hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect()).unwrap_or_default();
                return Ok(First::Tls(Hello { raw, server_name, alpn }));
            }
            Ok(None) if raw.len() >= MAX_HELLO_BYTES => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a TLS ClientHello of more than 32 KiB"));
            }
            Ok(None) => {}
            Err((error, _)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        }
        if stream.read_buf(&mut raw).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client closed inside its TLS ClientHello"));
        }
    }
}

/// Server configurations by leaf, so that clients can resume sessions.
pub(crate) struct ServerConfigs {
    cache: Mutex<LruCache<(String, Alpn), Entry>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

struct Entry {
    leaf: Arc<CertifiedKey>,
    config: Arc<ServerConfig>,
}

/// The protocol spoken on both sides of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Alpn {
    /// HTTP/1.1, also where a side negotiates nothing.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Alpn {
    /// Of what was negotiated.
    pub(crate) fn of(negotiated: Option<&[u8]>) -> Self {
        if negotiated == Some(b"h2") { Self::Http2 } else { Self::Http1 }
    }

    /// As ALPN writes it.
    pub(crate) fn id(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

impl ServerConfigs {
    pub(crate) fn new(provider: Arc<rustls::crypto::CryptoProvider>) -> Self {
        const KEPT: std::num::NonZeroUsize = std::num::NonZeroUsize::new(64).expect("not zero");
        Self { cache: Mutex::new(LruCache::new(KEPT)), provider }
    }

    /// Completes the client's handshake with `leaf`, offering `alpn` alone.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        hello: Hello,
        host: &str,
        alpn: Alpn,
        leaf: Arc<CertifiedKey>,
    ) -> io::Result<TlsStream<Rewound<TcpStream>>> {
        let config = self.config(host, alpn, leaf).map_err(io::Error::other)?;
        TlsAcceptor::from(config).accept(Rewound::new(hello.raw, stream)).await
    }

    fn config(&self, host: &str, alpn: Alpn, leaf: Arc<CertifiedKey>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.to_owned(), alpn);
        if let Some(entry) = cache.get(&key)
            && Arc::ptr_eq(&entry.leaf, &leaf)
        {
            return Ok(entry.config.clone());
        }
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(One(leaf.clone())));
        config.alpn_protocols = vec![alpn.id().to_vec()];
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        let config = Arc::new(config);
        cache.put(key, Entry { leaf, config: config.clone() });
        Ok(config)
    }
}

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A stream whose first bytes were read already.
pub(crate) struct Rewound<T> {
    first: Vec<u8>,
    at: usize,
    inner: T,
}

impl<T> Rewound<T> {
    pub(crate) fn new(first: Vec<u8>, inner: T) -> Self {
        Self { first, at: 0, inner }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewound<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = this.first.get(this.at..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.inner).poll_read(cx, out);
        }
        let count = rest.len().min(out.remaining());
        out.put_slice(rest.get(..count).unwrap_or_default());
        this.at += count;
        if this.at == this.first.len() {
            this.first = Vec::new();
            this.at = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewound<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
