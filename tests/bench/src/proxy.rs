//! The three proxies as processes: TLS on both sides, HTTP/1.1, a log or a
//! trail, as many threads as there are cores.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::load::Site;
use crate::sluice;
use crate::world::{HOST, World};

const LIMIT: Duration = Duration::from_secs(60);

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The gateway.
    Sluice,
    /// Envoy.
    Envoy,
    /// HAProxy.
    Haproxy,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Sluice, Self::Envoy, Self::Haproxy];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sluice => "sluice",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
        })
    }
}

/// A proxy that serves; ended when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) site: Site,
    /// From before the process was made until it served.
    pub(crate) started_in: Duration,
    child: Running,
    /// Dropped after the process.
    _folder: TempDir,
}

impl Proxy {
    /// Starts it with files of its own and waits until it serves: the gateway
    /// until it says so, the others until they take connections.
    pub(crate) async fn start(world: &World, kind: Kind) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("{kind}-")).tempdir_in(world.folder.path())?;
        let port = free_port()?;
        let mut command = match kind {
            Kind::Sluice => sluice::command(world, folder.path())?,
            Kind::Envoy => envoy(world, folder.path(), port)?,
            Kind::Haproxy => haproxy(world, folder.path(), port)?,
        };
        let log = folder.path().join("log");
        command.stdin(Stdio::null()).stderr(File::create(&log)?);
        if kind == Kind::Sluice {
            command.stdout(Stdio::piped());
        } else {
            command.stdout(File::create(folder.path().join("access.log"))?);
        }
        let start = Instant::now();
        let mut child = Running(command.spawn().with_context(|| format!("start {command:?}"))?);
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let (address, ca) = if kind == Kind::Sluice {
            let address = announced(&mut child).with_context(|| format!("{kind} did not start: {}", said()))?;
            (address, sluice::ca(folder.path()))
        } else {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            serves(&mut child, address).await.with_context(|| format!("{kind} did not start: {}", said()))?;
            (address, world.files.ca.clone())
        };
        let started_in = start.elapsed();
        Ok(Self { site: world.site(address, &ca)?, started_in, child, _folder: folder })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }
}

#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads the gateway's ready line.
fn announced(child: &mut Running) -> Result<SocketAddr> {
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().context("no standard output")?).read_line(&mut line)?;
    let ready: Value = serde_json::from_str(&line).with_context(|| format!("ready line {line:?}"))?;
    let address = ready["listen"][format!("{HOST}:443")].as_str().context("the ready line names no listener")?;
    Ok(address.parse()?)
}

/// Waits until a connection is taken.
async fn serves(child: &mut Running, address: SocketAddr) -> Result<()> {
    let start = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        if let Some(status) = child.0.try_wait()? {
            bail!("it ended with {status}");
        }
        if start.elapsed() > LIMIT {
            bail!("it takes no connection");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// A port that nobody had a moment ago; the peers cannot say which they took.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn haproxy(world: &World, folder: &Path, port: u16) -> Result<Command> {
    let text = format!(
        "global
    nbthread {threads}
    maxconn 2000
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout connect 10s
    timeout client 120s
    timeout server 120s
frontend agents
    bind 127.0.0.1:{port} ssl crt {both} alpn http/1.1
    default_backend api
backend api
    server api {server} ssl verify required ca-file {ca} sni str({HOST}) verifyhost {HOST} alpn http/1.1
",
        threads = cores(),
        both = world.files.both.display(),
        server = world.server,
        ca = world.files.ca.display(),
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text)?;
    let mut command = Command::new(world.program(Kind::Haproxy));
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn envoy(world: &World, folder: &Path, port: u16) -> Result<Command> {
    let file: PathBuf = folder.join("envoy.json");
    fs::write(&file, envoy_configuration(world, folder, port).to_string())?;
    let mut command = Command::new(world.program(Kind::Envoy));
    command.arg("-c").arg(file).args(["--concurrency", &cores().to_string()]);
    command.args(["--disable-hot-restart", "--log-level", "error"]);
    Ok(command)
}

fn envoy_configuration(world: &World, folder: &Path, port: u16) -> Value {
    let extension = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let address = |port: u16| serde_json::json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let access_log = serde_json::json!([{
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": extension("access_loggers.file.v3.FileAccessLog"),
            "path": folder.join("envoy-access.log"),
        },
    }]);
    let manager = serde_json::json!({
        "@type": extension("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "agents",
        "codec_type": "HTTP1",
        "access_log": access_log,
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "api"}}],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": extension("filters.http.router.v3.Router")},
        }],
    });
    let downstream = serde_json::json!({
        "@type": extension("transport_sockets.tls.v3.DownstreamTlsContext"),
        "common_tls_context": {
            "alpn_protocols": ["http/1.1"],
            "tls_certificates": [{
                "certificate_chain": {"filename": world.files.certificate},
                "private_key": {"filename": world.files.key},
            }],
        },
    });
    let upstream = serde_json::json!({
        "@type": extension("transport_sockets.tls.v3.UpstreamTlsContext"),
        "sni": HOST,
        "common_tls_context": {
            "alpn_protocols": ["http/1.1"],
            "validation_context": {
                "trusted_ca": {"filename": world.files.ca},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": HOST}}],
            },
        },
    });
    serde_json::json!({
        "static_resources": {
            "listeners": [{
                "name": "agents",
                "address": address(port),
                "filter_chains": [{
                    "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": downstream},
                    "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
                }],
            }],
            "clusters": [{
                "name": "api",
                "connect_timeout": "10s",
                "circuit_breakers": {"thresholds": [{
                    "max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096,
                }]},
                "load_assignment": {"cluster_name": "api", "endpoints": [{
                    "lb_endpoints": [{"endpoint": {"address": address(world.server.port())}}],
                }]},
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": upstream},
            }],
        },
    })
}
