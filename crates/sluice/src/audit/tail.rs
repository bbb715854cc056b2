//! `sluice audit tail`

use std::collections::VecDeque;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use sluice_audit::read::Entry;

use super::filter::FilterArgs;
use super::{Folder, Output, print};

/// Print the newest records, and follow
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluice audit tail trail
  sluice audit tail -f --verdict deny trail")]
pub(super) struct TailArgs {
    #[command(flatten)]
    folder: Folder,
    /// Keep printing what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
    #[command(flatten)]
    filter: FilterArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

pub(super) fn run(args: &TailArgs) -> anyhow::Result<ExitCode> {
    let mut filter = args.filter.search();
    let mut reader = args.folder.open()?;
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
