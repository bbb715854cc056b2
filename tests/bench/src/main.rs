//! Measures the gateway against Envoy and HAProxy: same client, same server,
//! same requests, one run.
//!
//! ```text
//! load ──TLS──> sluice-gateway | Envoy | HAProxy ──TLS──> server
//!   └──────────────────────── direct ───────────────────────┘
//! ```
//!
//! Client and server live in this process; the proxies are processes of their
//! own, and only their CPU time and memory are counted. The figures are
//! ratios: an absolute time says more of the machine than of the gateway.

mod load;
mod measure;
mod pki;
mod procfs;
mod proxy;
mod report;
mod server;
mod sluice;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::report::Report;
use crate::world::World;

/// Measures sluice-gateway against Envoy and HAProxy.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The gateway, built for release.
    #[arg(long, value_name = "FILE")]
    pub(crate) gateway: PathBuf,
    /// Envoy.
    #[arg(long, value_name = "FILE")]
    pub(crate) envoy: PathBuf,
    /// HAProxy.
    #[arg(long, value_name = "FILE")]
    pub(crate) haproxy: PathBuf,
    /// Where the figures go (JSON).
    #[arg(long, value_name = "FILE")]
    pub(crate) report: PathBuf,
    /// Only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Runs of each measurement; medians are taken over them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) runs: u32,
    /// Requests of a CPU run.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=200_000))]
    pub(crate) requests: u32,
    /// Seconds of a latency run.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) seconds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// CPU seconds per 10,000 requests.
    Cpu,
    /// Added p50 at 1,000 requests/s.
    Latency,
    /// Resident memory idle, after load, with 1,000 connections.
    Memory,
    /// From start to ready, and size of the programs.
    Start,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every ratio is near enough to what it must reach.
fn run(arguments: &Arguments) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(arguments))?;
    report.write(&arguments.report)?;
    print!("{report}");
    println!("\nwritten to {}", arguments.report.display());
    Ok(report.reached())
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    let world = World::new(arguments).await?;
    let mut report = Report::new(&world);
    if wanted(Part::Start) {
        measure::start(&world, &mut report).await?;
    }
    if wanted(Part::Memory) {
        measure::memory(&world, &mut report).await?;
    }
    if wanted(Part::Cpu) {
        measure::cpu(&world, arguments, &mut report).await?;
    }
    if wanted(Part::Latency) {
        measure::latency(&world, arguments, &mut report).await?;
    }
    Ok(report)
}
