//! How many records a second a trail takes, and how fast it is judged.
//!
//! ```text
//! cargo run --release -p sluice-audit --example trail_throughput -- FOLDER WRITERS COMMANDS [disk]
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sluice_audit::verify::verify;
use sluice_audit::{Durability, Outcome, Record, Trail, TrailOptions};
use sluice_core::{SystemClock, Workload};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, writers, commands, durability @ ..] = arguments.as_slice() else {
        return Err("say FOLDER WRITERS COMMANDS [disk]".into());
    };
    let durability = if durability.is_empty() { Durability::Process } else { Durability::Disk };
    let (folder, writers, commands) = (Path::new(folder), writers.parse::<u64>()?, commands.parse::<u64>()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let options = TrailOptions {
        capacity_bytes: 1 << 40,
        ..TrailOptions::new(Workload::default(), "throughput", Arc::new(SystemClock::new()))
    };
    runtime.block_on(async {
        let (trail, _) = Trail::open(folder, options)?;
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..writers {
            let trail = trail.clone();
            tasks.spawn(async move {
                for _ in 0..commands / writers {
                    let record = Record::new(sluice_audit::Kind::Intent)
                        .with(
                            "command",
                            serde_json::json!({ "subject": { "id": writer }, "target": { "name": "aks" } }),
                        )
                        .with("verdict", "allow");
                    let open = trail.intent(record, durability).await?;
                    let done = Outcome { outcome: "done".into(), status: Some(200), ..Outcome::default() };
                    open.outcome(Record::outcome(&done), durability).await?;
                }
                Ok::<(), sluice_audit::TrailError>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        let took = start.elapsed().as_secs_f64();
        let records = trail.status().records;
        trail.end().await?;
        println!(
            "{records} records in {took:.2} s: {:.0} a second ({durability:?}, {writers} writers)",
            records as f64 / took
        );
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    let start = Instant::now();
    let report = verify(folder, None);
    println!("judged {} records in {:.2} s", report.leaves, start.elapsed().as_secs_f64());
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    print!("{report}");
    Ok(())
}
