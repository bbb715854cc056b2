//! `sluice audit verify`

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use sluice_audit::verify::{Report, verify_with};

use super::{Output, Source, keys, line, trails};
use crate::collector::CollectorArgs;

/// Judge a trail: is it what was written, whole and signed?
///
/// Works offline on a folder or a copy of it, and trusts nothing in it but the
/// public keys that are given. Without a key it trusts those that lie in the
/// trail itself: that finds damage, but not a trail that somebody else made.
/// With --collector each trail is fetched and judged in the same way; a sidecar
/// that is silent makes its trail incomplete.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes:
  0 whole   1 invalid: not what was written   2 cannot be read   3 diverged: two histories
  4 incomplete: a gap, or an intent without its outcome   5 unsealed: the newest records are not signed yet
With --collector: the gravest of all trails, in the order 1, 3, 2, 4, 5.

Examples:
  sluice audit verify trail --key trail.pub
  sluice audit verify --collector --keep-keys keys
  sluice audit verify --collector --key keys --pod agents/coder-5d9c")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    source: Source,
    /// Public keys (PEM), or a folder of them, kept outside the trail; may be repeated. Keys kept
    /// under their names in the trail (epoch-….pub) say which epochs there must be. With
    /// --collector: also a folder that --keep-keys made
    #[arg(long = "key", visible_alias = "keys", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Keep the keys of trails that are sound, in a folder for each pod, to be given with --key
    /// from then on: a key that differs from a kept one is invalid
    #[arg(long, value_name = "DIR", requires = "collector")]
    keep_keys: Option<PathBuf>,
    #[command(flatten)]
    asked: CollectorArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    if let Some(url) = &args.source.collector {
        let trust = keys::Trust { given: &args.keys, keep: args.keep_keys.as_deref() };
        return trails::verify(url, &args.asked, &trust, args.output);
    }
    let gathered;
    let keys = match args.keys.as_slice() {
        [] => None,
        [one] => Some(one.as_path()),
        many => {
            gathered = keys::gather(many)?;
            Some(gathered.path())
        }
    };
    let mut progress = Progress::new(io::stderr().is_terminal());
    let report = verify_with(args.source.path(), keys, &mut |read, of| progress.tell(read, of));
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

pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn print_text(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for text in report.to_string().lines() {
        writeln!(out, "{}", line::printable(text))?;
    }
    Ok(())
}

/// The report, with what the exit code says.
pub(super) fn json(report: &Report) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(report)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("verdict".to_owned(), report.label().into());
        fields.insert("exitCode".to_owned(), report.exit_code().into());
    }
    Ok(value)
}

/// Says on a terminal how far a long judgement has come.
pub(super) struct Progress {
    shown: bool,
    terminal: bool,
    last: Instant,
}

impl Progress {
    pub(super) fn new(terminal: bool) -> Self {
        Self { shown: false, terminal, last: Instant::now() }
    }

    pub(super) fn tell(&mut self, read: u64, of: u64) {
        let percent = read.saturating_mul(100).checked_div(of).unwrap_or(0);
        self.say(|| format!("verifying: {percent} % of {} MiB", of >> 20));
    }

    /// Now and then, what `words` say.
    pub(super) fn say(&mut self, words: impl FnOnce() -> String) {
        if self.terminal && self.last.elapsed() >= PACE {
            self.last = Instant::now();
            self.shown = true;
            eprint!("\r\x1b[K{} ", words());
        }
    }

    pub(super) fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

const PACE: Duration = Duration::from_millis(500);
