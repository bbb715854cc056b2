//! `sluice`: local mode, policy and audit tools, and a look at an installation.

mod audit;
mod check;
mod cli;
mod cluster;
mod collector;
mod inject;
mod policy;
mod run;
mod workload;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
