//! Load, bounded in count and in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use crate::world::HOST;

/// What is asked for.
const PATH: &str = "/api/v1/namespaces/dev/secrets/database";
/// Longer than any answer takes.
const LIMIT: Duration = Duration::from_secs(30);

/// Where requests go, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) authorization: Arc<str>,
}

/// A connection on which requests follow each other.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    authorization: Arc<str>,
}

impl Site {
    /// Opens a connection and completes TLS.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        timeout(LIMIT, self.open()).await.with_context(|| format!("no connection to {}", self.address))?
    }

    async fn open(&self) -> Result<Connection> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let stream = TlsConnector::from(self.tls.clone()).connect(ServerName::try_from(HOST)?, socket).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, authorization: self.authorization.clone() })
    }

    /// Opens that many connections and asks once on each.
    pub(crate) async fn connections(&self, count: u32) -> Result<Vec<Connection>> {
        let mut connections = Vec::new();
        for _ in 0..count {
            let mut connection = self.connect().await?;
            connection.ask().await?;
            connections.push(connection);
        }
        Ok(connections)
    }
}

impl Connection {
    /// Sends one request and takes the whole answer, which must be a 200.
    pub(crate) async fn ask(&mut self) -> Result<Bytes> {
        timeout(LIMIT, self.exchange()).await.context("no answer in time")?
    }

    async fn exchange(&mut self) -> Result<Bytes> {
        self.sender.ready().await?;
        let request = Request::get(PATH)
            .header("host", HOST)
            .header("user-agent", "kubectl/v1.36.0 (linux/amd64) kubernetes/0000000")
            .header("accept", "application/json")
            .header("authorization", &*self.authorization)
            .body(Empty::new())?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status == 200, "status {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

/// Sends `requests` in all, each connection one after the other.
pub(crate) async fn flood(connections: Vec<Connection>, requests: u32) -> Result<Vec<Connection>> {
    let each = requests / u32::try_from(connections.len())?;
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        tasks.spawn(async move {
            for _ in 0..each {
                connection.ask().await?;
            }
            Ok::<_, anyhow::Error>(connection)
        });
    }
    let mut back = Vec::new();
    while let Some(connection) = tasks.join_next().await {
        back.push(connection??);
    }
    Ok(back)
}

/// Sends `rate` requests a second for `seconds`, evenly over the connections,
/// and returns how long each took, in microseconds. A request that had to wait
/// for the one before it on its connection is timed from when it was due.
pub(crate) async fn paced(connections: Vec<Connection>, rate: u32, seconds: u32) -> Result<Vec<f64>> {
    let count = u32::try_from(connections.len())?;
    let gap = Duration::from_secs(1) / rate;
    let start = Instant::now() + Duration::from_millis(20);
    let mut tasks = JoinSet::new();
    for (mut connection, place) in connections.into_iter().zip(0..count) {
        tasks.spawn(async move {
            let mut took = Vec::new();
            for turn in 0..(rate * seconds / count) {
                let due = start + gap * (turn * count + place);
                let sent = if Instant::now() > due {
                    due
                } else {
                    sleep_until(due).await;
                    Instant::now()
                };
                connection.ask().await?;
                took.push(sent.elapsed().as_secs_f64() * 1e6);
            }
            Ok::<_, anyhow::Error>(took)
        });
    }
    let mut all = Vec::new();
    while let Some(took) = tasks.join_next().await {
        all.extend(took??);
    }
    Ok(all)
}
