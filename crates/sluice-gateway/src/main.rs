//! `sluice-gateway`: the data path with listeners from the command line.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sluice_core::Workload;
use sluice_gateway::dial::Map;
use sluice_gateway::pod::{self, PodArguments};
use sluice_gateway::redirect;
use sluice_gateway::{Gateway, GatewayOptions, Listener};
use tokio::signal::unix::{SignalKind, signal};

/// Decides, masks and records what a client asks of the targets in its policy.
///
/// Clients reach a target through a listener of its own:
///
///   sluice-gateway --policy policy.yaml --trail trail \
///       --listen 127.0.0.1:8443=prod-abc.hcp.westeurope.azmk8s.io:443 --ca-out ca.pem
///
/// and trust what is in ca.pem.
///
/// In a pod, the subcommands are what runs.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    arguments: Option<Arguments>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes the redirect rules into this pod's network, proves them, exits.
    ///
    /// Needs the capability NET_ADMIN in a network namespace of its own.
    /// SLUICE_GATEWAY_USER: UID and GID of the gateway. SLUICE_INBOUND_PORTS:
    /// TCP ports on which the agent takes connections, divided by commas.
    Init,
    /// Serves this pod, as its sidecar.
    Pod(Box<PodArguments>),
}

// Not a doc comment: it would take the place of the program's.
#[derive(Debug, Args)]
struct Arguments {
    /// Policy file, or folder with *.yaml files; read again when it changes.
    #[arg(long, value_name = "FILE|DIR")]
    policy: Vec<PathBuf>,

    /// Folder of the trail.
    #[arg(long, value_name = "DIR")]
    trail: PathBuf,

    /// Takes connections at IP:PORT for HOST:PORT; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT=HOST:PORT")]
    listen: Vec<Listen>,

    /// Takes connections that the kernel redirects to IP:PORT.
    #[arg(long, value_name = "IP:PORT")]
    transparent: Vec<SocketAddr>,

    /// Answers DNS for the names in policy, over UDP and TCP.
    #[arg(long, value_name = "IP:PORT")]
    dns: Option<SocketAddr>,

    /// Address for a host name, instead of asking a resolver.
    #[arg(long, value_name = "HOST[:PORT]=IP:PORT")]
    map: Vec<Map>,

    /// Where to write the certificates that clients must trust (PEM): the
    /// system's roots and this gateway's CA.
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,

    /// Where to add the trail's public key of this run (PEM), for `sluice audit
    /// verify --key`.
    #[arg(long, value_name = "FILE")]
    key_out: Option<PathBuf>,

    /// Namespace of the workload, as policies see it.
    #[arg(long, default_value = "default", value_name = "NS")]
    namespace: String,

    /// Labels of the workload, as `selector` sees them.
    #[arg(long, value_name = "K=V,…", default_value = "")]
    labels: Labels,

    /// Service account of the workload.
    #[arg(long, default_value = "default", value_name = "NAME")]
    service_account: String,

    /// Name of the workload in records.
    #[arg(long, default_value = "local", value_name = "NAME")]
    pod: String,

    /// What this run is for; stands in every record.
    #[arg(long, value_name = "TEXT")]
    intent: Option<String>,

    /// OIDC token that stands for the workload where a request carries none.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Serves /healthz, /readyz and /metrics.
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,

    /// Form of the log on standard error. RUST_LOG sets what is logged.
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    log_format: LogFormat,

    /// Prints a JSON object with the bound addresses once the gateway serves,
    /// instead of a line for people.
    #[arg(long)]
    ready_json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let Program { command, arguments } = Program::parse();
    logging(arguments.as_ref().map_or(LogFormat::Text, |arguments| arguments.log_format));
    let result = match (command, arguments) {
        (Some(Command::Init), _) => return init(),
        (Some(Command::Pod(arguments)), _) => sidecar(*arguments),
        (None, Some(arguments)) => run(arguments),
        (None, None) => Err(anyhow!("no --policy, --trail and --listen; see --help")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-gateway: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Exit code 1 for every failure: the pod does not start.
fn init() -> ExitCode {
    let proven = redirect::Settings::read(|name| std::env::var(name).ok())
        .map_err(anyhow::Error::from)
        .and_then(|settings| Ok((redirect::init(&settings)?, settings)));
    match proven {
        Ok((proven, settings)) => {
            tracing::info!(%proven, user = settings.user(), inbound = ?settings.inbound(), "redirect in place");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sluice-gateway init: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn sidecar(arguments: PodArguments) -> anyhow::Result<()> {
    runtime()?.block_on(pod::run(arguments))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Policy is read again by itself; a hang-up must not end the gateway.
        let _hangup = signal(SignalKind::hangup())?;
        let ready_json = arguments.ready_json;
        let gateway = Gateway::start(options(arguments)?).await?;
        announce(&gateway, ready_json)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down");
        gateway.shutdown().await.context("ending the trail")
    })
}

fn options(arguments: Arguments) -> anyhow::Result<GatewayOptions> {
    if arguments.listen.is_empty() && arguments.transparent.is_empty() {
        bail!("no listener: give --listen IP:PORT=HOST:PORT for each target, or --transparent IP:PORT");
    }
    let mut listeners = Vec::new();
    for Listen { address, host, port } in arguments.listen {
        let listener = bind("--listen", address)?;
        listeners.push(Listener::Explicit { listener, host, port });
    }
    for address in arguments.transparent {
        listeners.push(Listener::Transparent(bind("--transparent", address)?));
    }
    let dns = match arguments.dns {
        Some(address) => {
            let udp = UdpSocket::bind(address).with_context(|| format!("--dns {address}: cannot listen (UDP)"))?;
            let bound = udp.local_addr()?;
            Some((udp, bind("--dns", bound)?))
        }
        None => None,
    };
    let admin = arguments.admin.map(|address| bind("--admin", address)).transpose()?;
    let workload = Workload {
        namespace: arguments.namespace,
        pod: arguments.pod,
        service_account: arguments.service_account,
        labels: arguments.labels.0,
        ..Workload::default()
    };
    Ok(GatewayOptions {
        policy: arguments.policy,
        trail: arguments.trail,
        workload,
        intent: arguments.intent,
        listeners,
        dns,
        maps: arguments.map,
        token_file: arguments.token_file,
        ca_out: arguments.ca_out,
        key_out: arguments.key_out,
        admin,
        pod: None,
    })
}

fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("{flag} {address}: cannot listen; take a free port (or 0) and an address of this machine")
    })
}

fn announce(gateway: &Gateway, json: bool) -> anyhow::Result<()> {
    let ready = gateway.ready();
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, ready)?;
        writeln!(out)?;
    } else {
        let listen: Vec<String> =
            ready.listen.iter().map(|(target, address)| format!("{target} at {address}")).collect();
        let transparent = ready.transparent.iter().map(SocketAddr::to_string);
        let all: Vec<String> = listen.into_iter().chain(transparent).collect();
        writeln!(out, "ready: {} (policy {}, pid {})", all.join(", "), ready.revision, ready.pid)?;
    }
    out.flush().context("writing the ready line")
}

fn logging(format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,sluice_gateway=info,sluice_link=info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// `IP:PORT=HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listen {
    address: SocketAddr,
    host: String,
    port: u16,
}

impl FromStr for Listen {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        const FORM: &str = "write IP:PORT=HOST:PORT, such as 127.0.0.1:8443=api.example:443";
        let (address, target) = text.split_once('=').ok_or_else(|| anyhow!("there is no `=`; {FORM}"))?;
        let address = address.parse().map_err(|_| anyhow!("{address:?} is no IP:PORT; {FORM}"))?;
        let (host, port) = target.rsplit_once(':').ok_or_else(|| anyhow!("{target:?} has no port; {FORM}"))?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| anyhow!("{port:?} is no port; {FORM}"))?;
        if host.is_empty() || host.contains(['/', ' ', ':']) {
            bail!("{host:?} is no host name; {FORM}");
        }
        Ok(Self { address, host: host.to_owned(), port })
    }
}

/// `k=v,…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Labels(BTreeMap<String, String>);

impl FromStr for Labels {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let pairs = text.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| anyhow!("{pair:?} has no `=`; write k=v,…"))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        pairs.collect::<anyhow::Result<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read() {
        let listen: Listen = "[::1]:0=api.example:6443".parse().expect("listener");
        assert_eq!(
            listen,
            Listen { address: "[::1]:0".parse().expect("address"), host: "api.example".into(), port: 6443 }
        );
        for wrong in [
            "127.0.0.1:0",
            "x=api.example:443",
            "127.0.0.1:0=api.example",
            "127.0.0.1:0=api.example:0",
            "127.0.0.1:0=https://a:443",
        ] {
            let error = wrong.parse::<Listen>().expect_err(wrong).to_string();
            assert!(error.contains("IP:PORT=HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn arguments_make_sense() {
        use clap::CommandFactory;
        Program::command().debug_assert();
        let labels: Labels = "app=coder,tier=dev".parse().expect("labels");
        assert_eq!(labels.0.len(), 2);
    }

    #[test]
    fn a_sidecar_needs_what_its_pod_gives_and_nothing_else() {
        let parse = |arguments: &[&str]| Program::try_parse_from([&["sluice-gateway"], arguments].concat());
        let pod = parse(&["pod", "--control", "https://control:8444", "--roots", "PEM"]).expect("pod");
        let Some(Command::Pod(pod)) = pod.command else { panic!("no pod") };
        assert_eq!((pod.transparent.port(), pod.health.port(), pod.dns.len()), (15001, 15021, 2));
        assert!(parse(&["pod", "--control", "control:8444", "--roots", "PEM"]).is_err(), "no URL");
    }
}
