//! `sluice-collector`: where the records of all gateways arrive.

use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_collector::Shutdown;
use sluice_collector::options::{LogFormat, Options};
use sluice_collector::run::run;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        LogFormat::Text => logs.init(),
    }
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            error!(cause = %format!("{cause:#}"), "the collector ends");
            ExitCode::from(2)
        }
    }
}

fn start(options: Options) -> anyhow::Result<()> {
    raise_descriptors();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider was installed before"))?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let (sender, shutdown) = Shutdown::channel();
        tokio::spawn(await_signals(sender));
        run(options, shutdown).await
    })
}

/// Connections, and the files that readers follow, may be more than the soft
/// limit that container runtimes give, which is about a thousand.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        if let Err(cause) = setrlimit(Resource::Nofile, raised) {
            warn!(%cause, wanted, "the limit of open files cannot be raised; fix: raise it (ulimit -n, LimitNOFILE)");
        }
    }
}

/// Three listeners of 4,096 connections, 16 readers of 500 trails, and some.
const DESCRIPTORS: u64 = 24 * 1024;

/// Requests the end on SIGTERM or SIGINT.
async fn await_signals(sender: watch::Sender<bool>) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        error!("signals cannot be awaited");
        return;
    };
    tokio::select! {
        _ = term.recv() => info!("SIGTERM: draining"),
        _ = int.recv() => info!("SIGINT: draining"),
    }
    sender.send_replace(true);
    // Dropping the sender would say the same; it lives as long as the process.
    std::future::pending::<()>().await;
}
