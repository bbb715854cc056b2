//! `sluice run`: a command whose only way out is a gateway.
//!
//! ```text
//!  outside                          | user, mount, PID, network, IPC, UTS, cgroup namespaces
//!  sluice run (the gateway) --plan--> __inside: network, sockets --> __init (process 1): mounts,
//!     ^  policy, trail, keys  <-fds--    |                              rights given up --> COMMAND
//!     +--- accepts from and dials for <--+-- every TCP connection, every DNS question
//! ```
//!
//! The gateway stays outside: sockets that were opened inside are handed to
//! it, so that no packet ever has to leave the namespace.

mod bypassable;
mod control;
mod environment;
pub(crate) mod inside;
mod outside;
mod plan;
mod protect;
mod refusal;
mod signals;
mod system;
mod terminal;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use sluice_gateway::dial::Map;

use crate::workload::WorkloadArgs;

/// Our folder in the command's fresh `/run`.
pub(crate) const OWN_FOLDER: &str = "/run/sluice";
/// The certificates that the command is told to trust.
pub(crate) const CERTIFICATES: &str = "/run/sluice/ca-bundle.pem";
/// The same for Java.
pub(crate) const JAVA_STORE: &str = "/run/sluice/java.p12";

/// Run a command with the gateway as its only way out
///
/// The command runs in user, mount, PID, network, IPC and UTS namespaces of
/// its own, for root too. Its TCP connections and DNS questions reach the
/// gateway, which runs outside with this command's policy; everything else is
/// dropped. It trusts the gateway's certificates by environment variables
/// (SSL_CERT_FILE and its kin, JAVA_TOOL_OPTIONS). It cannot see the trail, cannot write the
/// policy, and keeps no capability.
///
/// What it sees of the file system: everything its user sees, but with a fresh
/// /run, /dev and /proc, and sockets of other programs hidden. Run by root,
/// only the working folder, the home folder, /tmp, /var/tmp and --writable
/// folders can be written.
///
/// Edits of a policy file are followed while the command runs, unless the file
/// lies directly in a folder that the command needs to write (the working
/// folder, home, /tmp): then it is taken as it is at the start, and this is said.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct RunArgs {
    /// Policy file, or folder of policy files (*.yaml)
    #[arg(long, value_name = "FILE", required = true)]
    policy: Vec<PathBuf>,
    /// Folder of the trail [default: a new one under $XDG_STATE_HOME/sluice/trails]
    #[arg(long, value_name = "DIR")]
    trail: Option<PathBuf>,
    /// Where to write the public key that signs this run's trail, for
    /// `sluice audit verify --key`
    #[arg(long, value_name = "FILE")]
    key_out: Option<PathBuf>,
    /// Dial IP:PORT where HOST[:PORT] is asked for; names are checked as ever
    #[arg(long, value_name = "HOST[:PORT]=IP:PORT")]
    map: Vec<Map>,
    /// OIDC token that stands for the workload where a request carries none;
    /// the command does not see this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    stands_for: WorkloadArgs,
    /// What this run is for; recorded with every command, never believed
    #[arg(long, value_name = "TEXT")]
    intent: Option<String>,
    /// Further folder that the command of root may write
    #[arg(long, value_name = "DIR")]
    writable: Vec<PathBuf>,
    /// Do not isolate: the gateway only listens for each target on a port of
    /// 127.0.0.1 (named in $SLUICE_LISTEN), and the command may pass it by
    #[arg(long)]
    no_isolation: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "Examples:
  sluice run --policy policy/ -- kubectl get pods -n dev
  sluice run --policy policy/ --trail trail --key-out trail.pub --intent 'ticket 4711' -- ./agent
  sluice run --policy policy/ --map demo.hcp.westeurope.azmk8s.io=10.0.0.4:443 -- bash

A kubeconfig must name the API server by a host name that a target has, and must not pin a CA
(certificate-authority-data): the command talks to the gateway, whose certificates it trusts
by SSL_CERT_FILE.

SLUICE_LOG=info says more of what the gateway does (default: warn).

Exit code: that of the command; 128+N when signal N ended it, 127 when it is not found, 126 when
it cannot be started; 2 when the gateway or the isolation could not be set up.";

/// Runs the subcommand.
pub(crate) fn run(args: &RunArgs) -> ExitCode {
    match outside::run(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("sluice run: {error:#}");
            ExitCode::from(2)
        }
    }
}
