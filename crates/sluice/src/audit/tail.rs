//! `sluice audit tail`

use std::collections::VecDeque;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use sluice_audit::read::Entry;

use super::filter::FilterArgs;
use super::{Output, Source, follow, print};
use crate::collector::CollectorArgs;

/// Print the newest records, and follow
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluice audit tail trail
  sluice audit tail -f --verdict deny trail
  sluice audit tail -f --collector --namespace agents
  sluice audit tail --collector https://collector.example:8446 --ca roots.pem --token-file token")]
pub(super) struct TailArgs {
    #[command(flatten)]
    source: Source,
    /// Keep printing what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    asked: CollectorArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

pub(super) fn run(args: &TailArgs) -> anyhow::Result<ExitCode> {
    if let Some(url) = &args.source.collector {
        let wanted = follow::Wanted { filter: &args.filter, lines: args.lines, follow: args.follow };
        return follow::tail(url, &args.asked, &wanted, args.output);
    }
    let mut filter = args.filter.search();
    let mut reader = args.source.open()?;
    let mut newest: VecDeque<Entry> = VecDeque::new();
    let mut out = io::stdout().lock();
    let mut damaged = false;
    while let Some(entry) = reader.poll() {
        match entry {
            Ok(entry) if filter.matches(&entry) => {
                newest.push_back(entry);
                if newest.len() > args.lines {
                    newest.pop_front();
                }
            }
            Ok(_) => {}
            Err(problem) => {
                damaged = true;
                eprintln!("sluice audit: {problem}");
            }
        }
    }
    for entry in newest {
        print(&mut out, &entry, args.output)?;
    }
    out.flush()?;
    if !args.follow {
        return Ok(if damaged { ExitCode::from(2) } else { ExitCode::SUCCESS });
    }
    loop {
        match reader.poll() {
            Some(Ok(entry)) if filter.matches(&entry) => {
                print(&mut out, &entry, args.output)?;
                out.flush()?;
            }
            Some(Ok(_)) => {}
            Some(Err(problem)) => eprintln!("sluice audit: {problem}"),
            None => thread::sleep(POLL),
        }
    }
}

/// How often a trail that is followed is looked at.
const POLL: Duration = Duration::from_millis(200);
