//! `sluice audit verify`

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use sluice_audit::verify::{Report, verify_with};
use tempfile::TempDir;

use super::{Folder, Output, line};

/// Judge a trail: is it what was written, whole and signed?
///
/// Works offline on a folder or a copy of it, and trusts nothing in it but the
/// public keys that are given. Without a key it trusts those that lie in the
/// trail itself: that finds damage, but not a trail that somebody else made.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes:
  0 whole   1 invalid: not what was written   2 cannot be read   3 diverged: two histories
  4 incomplete: a gap, or an intent without its outcome   5 unsealed: the newest records are not signed yet

Example:
  sluice audit verify trail --key trail.pub")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    folder: Folder,
    /// Public keys (PEM), or a folder of them, kept outside the trail; may be repeated. Keys kept
    /// under their names in the trail (epoch-….pub) say which epochs there must be
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let gathered;
    let keys = match args.keys.as_slice() {
        [] => None,
        [one] => Some(one.as_path()),
        many => {
            gathered = gather(many)?;
            Some(gathered.path())
        }
    };
    let mut progress = Progress::new(io::stderr().is_terminal());
    let report = verify_with(args.folder.path(), keys, &mut |read, of| progress.tell(read, of));
    progress.end();
    match print(args.output, &report) {
        // Whoever stops reading (`| head`) is not told that the trail is whole.
        Err(error) if !is_broken_pipe(&error) => Err(error),
        _ => Ok(ExitCode::from(report.exit_code())),
    }
}

fn print(output: Output, report: &Report) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Text => print_text(&mut out, report)?,
        Output::Json => writeln!(out, "{}", json(report)?)?,
    }
    Ok(out.flush()?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn print_text(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for text in report.to_string().lines() {
        writeln!(out, "{}", line::printable(text))?;
    }
    Ok(())
}

/// The report, with what the exit code says.
fn json(report: &Report) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(report)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("verdict".to_owned(), report.label().into());
        fields.insert("exitCode".to_owned(), report.exit_code().into());
    }
    Ok(value)
}

/// Several files and folders of keys in one folder. Names of epoch keys are
/// kept: they say which epochs there must be.
fn gather(keys: &[PathBuf]) -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir().context("make a folder for the keys")?;
    let mut count = 0;
    for key in keys {
        let files = if key.is_dir() { files_of(key)? } else { vec![key.clone()] };
        for file in files {
            count += 1;
            let name = file.file_name().and_then(|name| name.to_str()).filter(|name| name.starts_with("epoch-"));
            let target = name.map_or_else(|| format!("key-{count}.pem"), str::to_owned);
            fs::copy(&file, folder.path().join(target)).with_context(|| format!("--key {}", file.display()))?;
        }
    }
    Ok(folder)
}

fn files_of(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("--key {}", folder.display()))? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "pub" || extension == "pem") {
            files.push(file);
        }
    }
    Ok(files)
}

/// Says on a terminal how far a long judgement has come.
struct Progress {
    shown: bool,
    terminal: bool,
    last: Instant,
}

impl Progress {
    fn new(terminal: bool) -> Self {
        Self { shown: false, terminal, last: Instant::now() }
    }

    fn tell(&mut self, read: u64, of: u64) {
        if self.terminal && self.last.elapsed() >= PACE {
            self.last = Instant::now();
            self.shown = true;
            let percent = read.saturating_mul(100).checked_div(of).unwrap_or(0);
            eprint!("\rverifying: {percent} % of {} MiB ", of >> 20);
        }
    }

    fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

const PACE: Duration = Duration::from_millis(500);
