//! The command line, and where each subcommand begins.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::run::inside::{INIT, INSIDE, InsideArgs};
use crate::{audit, check, inject, policy, run};

/// An egress gateway for AI agents: decides what they may ask of a target,
/// masks what they must not see, and keeps a record that nobody can quietly
/// change.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    Run(run::RunArgs),
    Audit(Box<audit::AuditArgs>),
    Policy(policy::PolicyArgs),
    Inject(inject::InjectArgs),
    Check(check::CheckArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  sluice completion bash > /etc/bash_completion.d/sluice")]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

/// What `sluice run` calls itself; no part of the command line that people see.
#[derive(Debug, Parser)]
enum Own {
    #[command(name = INSIDE)]
    Inside(InsideArgs),
    #[command(name = INIT)]
    Init(InsideArgs),
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the answer is no, 2 could not find out (usage, files).
`run` passes the command's own code on; `audit verify` has its own codes.";

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == INSIDE || first == INIT) {
        return match Own::parse() {
            Own::Inside(args) => run::inside::inside(&args),
            Own::Init(args) => run::inside::init(&args),
        };
    }
    match Cli::parse().command {
        Sub::Run(args) => run::run(&args),
        Sub::Audit(args) => audit::run(&args),
        Sub::Policy(args) => policy::run(&args),
        Sub::Inject(args) => inject::run(&args),
        Sub::Check(args) => check::run(&args),
        Sub::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "sluice", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Sub::Version => {
            println!("sluice {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
