//! `sluice audit search`

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Args;

use super::filter::FilterArgs;
use super::{Output, Source, print, remote};
use crate::collector::CollectorArgs;

/// Find records
///
/// Exit codes: 0 found, 1 nothing found, 2 the trail, or a part of it, cannot be
/// read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluice audit search trail --verdict deny --since 1h
  sluice audit search trail --subject entra:4711 --kind intent,refused -o json
  sluice audit search --collector --pod agents/coder-5d9c --verdict deny --since 1h")]
pub(super) struct SearchArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    asked: CollectorArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

pub(super) fn run(args: &SearchArgs) -> anyhow::Result<ExitCode> {
    if let Some(url) = &args.source.collector {
        return remote::search(url, &args.asked, &args.filter, args.output);
    }
    let mut filter = args.filter.search();
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut found, mut damaged) = (false, false);
    for entry in args.source.open()? {
        match entry {
            Ok(entry) if filter.matches(&entry) => {
                found = true;
                print(&mut out, &entry, args.output)?;
            }
            Ok(_) => {}
            Err(problem) => {
                damaged = true;
                eprintln!("sluice audit: {problem}");
            }
        }
    }
    out.flush()?;
    Ok(match (damaged, found) {
        (true, _) => ExitCode::from(2),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(1),
    })
}
