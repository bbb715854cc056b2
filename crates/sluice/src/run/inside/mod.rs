//! The processes inside: `sluice __inside FD -- COMMAND…` makes the namespaces
//! and the network, then starts `sluice __init FD -- COMMAND…`, which is
//! process 1 in there, hides what is to be hidden, gives up every right and
//! runs the command.
//!
//! Both are programs of their own, not forks, because the process outside has
//! threads.

mod confine;
mod init;
mod mounts;
mod netlink;
mod network;
mod setup;

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::process::ExitCode;

use super::control::{Control, Message};

pub(crate) use network::find_nft;

/// Name of the hidden subcommand that makes the namespaces.
pub(crate) const INSIDE: &str = "__inside";
/// Name of the hidden subcommand that is process 1.
pub(crate) const INIT: &str = "__init";

/// What both hidden subcommands take.
#[derive(Debug, clap::Args)]
pub(crate) struct InsideArgs {
    /// Descriptor of the control socket.
    control: RawFd,
    /// Command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs [`INSIDE`].
pub(crate) fn inside(args: &InsideArgs) -> ExitCode {
    answer(args, setup::run)
}

/// Runs [`INIT`].
pub(crate) fn init(args: &InsideArgs) -> ExitCode {
    answer(args, init::run)
}

/// Tells the process outside of a failure, in words: its standard error is
/// the place for them.
fn answer(args: &InsideArgs, run: fn(Control, &[OsString]) -> anyhow::Result<u8>) -> ExitCode {
    let control = match Control::inherited(args.control) {
        Ok(control) => control,
        Err(error) => {
            eprintln!("sluice: this subcommand is for `sluice run` itself (control socket {}: {error})", args.control);
            return ExitCode::from(2);
        }
    };
    // Kept beside `run`, which owns and closes its own.
    let report = control.try_clone();
    match run(control, &args.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Where nobody listens any more, whoever listened has said why.
            if let Ok(report) = report {
                report.send(&Message::Failed(format!("{error:#}"))).ok();
            }
            ExitCode::from(2)
        }
    }
}
