//! `sluice audit show`

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use sluice_audit::RecordId;
use sluice_audit::read::{Filter, Search};

use super::{Folder, Output, json, line};

/// Show one record whole, and what belongs to it
///
/// Exit codes: 0 shown, 1 there is no such record, 2 the trail cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  sluice audit show 01938a3e-0f4b-7c7e-9f3e-2a1d5c9b8e77 trail")]
pub(super) struct ShowArgs {
    /// Id of the record, as a denial or `search` says it
    #[arg(value_name = "ID")]
    id: RecordId,
    #[command(flatten)]
    folder: Folder,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let mut filter = Search::new(Filter { id: Some(args.id), ..Filter::default() });
    let mut out = io::stdout().lock();
    let mut found = false;
    for entry in args.folder.open()? {
        match entry {
            Ok(entry) if filter.matches(&entry) => {
                found = true;
                match args.output {
                    Output::Text => {
                        writeln!(out, "{}", line::of(&entry.leaf))?;
                        // JSON escapes control characters.
                        writeln!(out, "{}", serde_json::to_string_pretty(&json(&entry)?)?)?;
                    }
                    Output::Json => writeln!(out, "{}", json(&entry)?)?,
                }
            }
            Ok(_) => {}
            Err(problem) => eprintln!("sluice audit: {problem}"),
        }
    }
    if !found {
        eprintln!("sluice audit: there is no record {} in {}", args.id, args.folder.path().display());
    }
    Ok(if found { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
