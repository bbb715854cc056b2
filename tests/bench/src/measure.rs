//! The measurements. Runs of all proxies alternate, so that what the machine
//! does beside hits each of them alike.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Result;

use crate::Arguments;
use crate::load::{flood, paced};
use crate::procfs::{cpu_seconds, resident_mib};
use crate::proxy::{Kind, Proxy};
use crate::report::{Bar, Report, Row, median, quantile};
use crate::world::World;

const CONNECTIONS: u32 = 64;
const RATE: u32 = 1000;
/// Connections at a fixed rate.
const PACED: u32 = 16;
const MANY: u32 = 1000;
const STARTS: usize = 10;

type Figures = BTreeMap<String, Vec<f64>>;

/// Size of the programs; time from nothing to serving.
pub(crate) async fn start(world: &World, report: &mut Report) -> Result<()> {
    let command = "tests/bench/run --only start";
    let mut sizes = Figures::new();
    let mut times = Figures::new();
    for kind in Kind::ALL {
        let bytes = fs::metadata(world.program(kind))?.len();
        note(&mut sizes, kind, bytes as f64 / 1e6);
    }
    for _ in 0..STARTS {
        for kind in Kind::ALL {
            note(&mut times, kind, Proxy::start(world, kind).await?.started_in.as_secs_f64() * 1e3);
        }
    }
    add(report, "size of the program", "MB", sizes, Bar::Goal(20.0), command);
    add(report, "start to ready, medians of 10", "ms", times, Bar::Goal(150.0), command);
    Ok(())
}

/// Resident memory of fresh processes: with nothing to do, and with 1,000
/// connections that each asked once and stay open.
pub(crate) async fn memory(world: &World, report: &mut Report) -> Result<()> {
    let command = "tests/bench/run --only memory";
    let (mut idle, mut open) = (Figures::new(), Figures::new());
    for kind in Kind::ALL {
        let proxy = Proxy::start(world, kind).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        note(&mut idle, kind, resident_mib(proxy.pid())?);
        let connections = proxy.site.connections(MANY).await?;
        note(&mut open, kind, resident_mib(proxy.pid())?);
        drop(connections);
    }
    add(report, "resident, idle", "MiB", idle, Bar::Goal(12.0), command);
    add(report, "resident, 1,000 open TLS pairs", "MiB", open, Bar::Goal(60.0), command);
    Ok(())
}

/// CPU seconds of each proxy for 10,000 requests over 64 connections that
/// stand already, and what memory it has after all runs.
pub(crate) async fn cpu(world: &World, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let command = format!("tests/bench/run --only cpu --runs {} --requests {}", arguments.runs, arguments.requests);
    let proxies = all(world).await?;
    let mut figures = Figures::new();
    let mut connections = BTreeMap::new();
    for (kind, proxy) in &proxies {
        connections.insert(*kind, flood(proxy.site.connections(CONNECTIONS).await?, CONNECTIONS * 20).await?);
    }
    let sent = arguments.requests / CONNECTIONS * CONNECTIONS;
    for _ in 0..arguments.runs {
        for (kind, proxy) in &proxies {
            let own = connections.remove(kind).unwrap_or_default();
            let before = cpu_seconds(proxy.pid())?;
            connections.insert(*kind, flood(own, sent).await?);
            let spent = cpu_seconds(proxy.pid())? - before;
            note(&mut figures, *kind, spent * 10_000.0 / f64::from(sent));
        }
    }
    let mut memory = Figures::new();
    for (kind, proxy) in &proxies {
        note(&mut memory, *kind, resident_mib(proxy.pid())?);
    }
    add(report, "1: CPU per 10k requests, 64 connections", "s", figures, Bar::TimesEnvoy(1.25), &command);
    add(report, "resident, after that load", "MiB", memory, Bar::None, &command);
    Ok(())
}

/// What each proxy adds to the p50 of the direct way at 1,000 requests/s.
pub(crate) async fn latency(world: &World, arguments: &Arguments, report: &mut Report) -> Result<()> {
    let command = format!("tests/bench/run --only latency --runs {} --seconds {}", arguments.runs, arguments.seconds);
    let proxies = all(world).await?;
    let direct = world.direct()?;
    let (mut added, mut tail) = (Figures::new(), Figures::new());
    let mut base = Vec::new();
    for run in 0..=arguments.runs {
        let took = paced(direct.connections(PACED).await?, RATE, arguments.seconds).await?;
        let (p50, p99) = (median(&took), quantile(&took, 0.99));
        for (kind, proxy) in &proxies {
            let took = paced(proxy.site.connections(PACED).await?, RATE, arguments.seconds).await?;
            // The first run warms everything up.
            if run > 0 {
                note(&mut added, *kind, median(&took) - p50);
                note(&mut tail, *kind, quantile(&took, 0.99) - p99);
            }
        }
        if run > 0 {
            base.push(p50);
        }
    }
    let what = format!("2: added p50 at 1,000/s (direct {:.0} us)", median(&base));
    add(report, &what, "us", added, Bar::TimesEnvoy(1.2), &command);
    add(report, "   added p99", "us", tail, Bar::None, &command);
    Ok(())
}

async fn all(world: &World) -> Result<Vec<(Kind, Proxy)>> {
    let mut proxies = Vec::new();
    for kind in Kind::ALL {
        proxies.push((kind, world.start(kind).await?));
    }
    Ok(proxies)
}

fn note(figures: &mut Figures, kind: Kind, figure: f64) {
    figures.entry(kind.to_string()).or_default().push(figure);
}

fn add(report: &mut Report, what: &str, unit: &'static str, figures: Figures, bar: Bar, command: &str) {
    report.add(Row { what: what.to_owned(), unit, figures, bar, command: command.to_owned() });
}
