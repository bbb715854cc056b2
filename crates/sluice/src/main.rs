//! `sluice`: local mode, policy and audit tools.

mod audit;
mod cli;
mod inject;
mod policy;
mod run;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
