//! Hosts that policy allows and nobody reads: passed through as they are,
//! recorded by name and bytes, dialled by the gateway's own resolution.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use sluice_audit::{Durability, Kind, Record};
use sluice_policy::AuditMode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;

use crate::metrics::Metrics;
use crate::shared::Shared;
use crate::tls::{First, HANDSHAKE_TIME, first};

/// How long a client may be silent before the server is given a chance to
/// speak first.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why nothing was passed.
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) fix: String,
}

/// Passes bytes both ways until both sides are done.
pub(crate) async fn pass(
    shared: Arc<Shared>,
    mut stream: TcpStream,
    peer: SocketAddr,
    host: Arc<str>,
    port: u16,
) -> Result<(), Refused> {
    // Waiting reads nothing, so that giving up loses nothing.
    let begun = match tokio::time::timeout(PATIENCE, stream.readable()).await {
        Ok(_) => hello(&mut stream, &host).await?,
        // The server speaks first, or nobody does.
        Err(_) => Some(Vec::new()),
    };
    let Some(begun) = begun else { return Ok(()) };
    let open = Record::new(Kind::Open)
        .with("verdict", sluice_audit::Verdict::Allow)
        .with("peer", peer.to_string())
        .with("destination", format!("{host}:{port}"))
        .with("egress", true);
    let strict = shared.policy.load().compiled.audit().mode == AuditMode::Strict;
    if let Err(error) = shared.trail.append(open, Durability::Process).await {
        shared.trail_refused(&error);
        if strict {
            return Err(Refused {
                code: "Unrecorded",
                message: error.to_string(),
                fix: "Nothing passes until the trail takes records.".into(),
            });
        }
        shared.metrics.unrecorded.inc();
    }
    let upstream = shared.dialer.connect(&host, port).await.map_err(|error| Refused {
        code: error.code(),
        message: error.to_string(),
        fix: error.fix(),
    })?;
    let started = shared.clock.monotonic();
    let mut upstream = Counted { inner: upstream, up: 0, down: 0 };
    let error = match upstream.write_all(&begun).await {
        Ok(()) => copy_bidirectional(&mut stream, &mut upstream).await.err(),
        Err(error) => Some(error),
    };
    let Counted { up, down, .. } = upstream;
    Metrics::add(&shared.metrics.passed_bytes, "up", up);
    Metrics::add(&shared.metrics.passed_bytes, "down", down);
    let mut close = Record::new(Kind::Close)
        .with("peer", peer.to_string())
        .with("destination", format!("{host}:{port}"))
        .with("bytesUp", up)
        .with("bytesDown", down)
        .with(
            "durationMs",
            u64::try_from(shared.clock.monotonic().saturating_sub(started).as_millis()).unwrap_or(u64::MAX),
        );
    if let Some(error) = error {
        close = close.with("error", error.to_string());
    }
    if let Err(error) = shared.trail.append(close, Durability::Process).await {
        shared.trail_refused(&error);
    }
    Ok(())
}

/// What the client said first, if that leads to `host`; `None` if it left.
async fn hello(stream: &mut TcpStream, host: &str) -> Result<Option<Vec<u8>>, Refused> {
    let unreadable = |error: String| Refused {
        code: "ClientTls",
        message: format!("the client's TLS cannot be read: {error}"),
        fix: "Use TLS 1.2 or 1.3.".into(),
    };
    let first =
        tokio::time::timeout(HANDSHAKE_TIME, first(stream)).await.map_err(|_| unreadable("it stopped".into()))?;
    match first.map_err(|error| unreadable(error.to_string()))? {
        First::Nothing => Ok(None),
        First::Other(bytes) => Ok(Some(bytes)),
        First::Tls(hello) => match hello.server_name.as_deref().filter(|name| *name != host) {
            Some(name) => Err(Refused {
                code: "ServerName",
                message: format!("the TLS server name {name:?} is not {host}, which this connection goes to"),
                fix: "Open a connection to each host under its own name (without ECH).".into(),
            }),
            None => Ok(Some(hello.raw)),
        },
    }
}

/// Counts what passes, also where it ends in an error.
struct Counted {
    inner: TcpStream,
    up: u64,
    down: u64,
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, out);
        this.down += (out.filled().len() - before) as u64;
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            this.up += count as u64;
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
