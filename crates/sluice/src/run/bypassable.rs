//! `--no-isolation`: the same gateway, but a command that may pass it by.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use sluice_gateway::{Gateway, Listener};

use super::RunArgs;
use super::environment::{self, TrustFiles};
use super::outside::{exit_code, options, runtime};
use super::protect::trail;
use super::signals::Signals;

/// Variable that says where each target is reached: `HOST:PORT=127.0.0.1:N,…`.
const LISTEN_VARIABLE: &str = "SLUICE_LISTEN";

/// Runs the command of `args`; its exit code.
pub(super) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let mut notices =
        vec!["no isolation: the command can pass the gateway by, edit the policy and the trail".to_owned()];
    let trail = trail(args, &mut notices)?;
    for notice in notices {
        eprintln!("sluice run: {notice}");
    }
    let own = tempfile::Builder::new().prefix("sluice-run-").tempdir().context("make a folder of our own")?;
    let (bundle, java) = (own.path().join("ca-bundle.pem"), own.path().join("java.p12"));
    let files = TrustFiles { certificates: &bundle, java: &java };
    let mut options = options(args, args.policy.clone(), trail, bundle.clone())?;
    let mut listen = BTreeMap::new();
    for (host, port) in crate::policy::read(&args.policy, &options.workload)?
        .targets()
        .iter()
        .flat_map(|target| target.ports.iter().map(|port| (target.host.clone(), *port)))
    {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen on 127.0.0.1")?;
        listen.insert(format!("{host}:{port}"), listener.local_addr()?);
        options.listeners.push(Listener::Explicit { listener, host, port });
    }
    let listen: Vec<String> = listen.iter().map(|(target, address)| format!("{target}={address}")).collect();

    let mut command = Command::new(args.command.first().context("no command")?);
    command.args(args.command.iter().skip(1)).env(LISTEN_VARIABLE, listen.join(","));
    files.tell(&mut command, |name| std::env::var_os(name))?;

    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let gateway = Gateway::start(options).await?;
        let merged = environment::merged_certificates(std::fs::read(&bundle)?, |name| std::env::var_os(name));
        files.write(&merged)?;
        let code = match tokio::process::Command::from(command).spawn() {
            Ok(mut child) => loop {
                let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
                tokio::select! {
                    status = child.wait() => break exit_code(status?),
                    number = signals.next() => {
                        if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(number)) {
                            kill_process(pid, signal).ok();
                        }
                    }
                }
            },
            Err(error) => {
                eprintln!("sluice: cannot start {}: {error}", args.command[0].to_string_lossy());
                if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }
            }
        };
        gateway.shutdown().await.context("end the trail")?;
        Ok(code)
    })
}
