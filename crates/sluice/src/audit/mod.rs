//! `sluice audit`: looks at a trail folder, or asks a collector.

mod filter;
mod follow;
mod keys;
mod line;
mod remote;
mod search;
mod show;
mod tail;
mod trails;
mod verify;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use sluice_audit::read::{Entry, Reader};

pub(crate) use line::printable;

/// Look at a trail: what was asked, what was decided, what came of it
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    Tail(tail::TailArgs),
    Search(search::SearchArgs),
    Show(show::ShowArgs),
    Verify(verify::VerifyArgs),
}

/// Runs the subcommand.
pub(crate) fn run(args: &AuditArgs) -> ExitCode {
    let outcome = match &args.command {
        Sub::Tail(args) => tail::run(args),
        Sub::Search(args) => search::run(args),
        Sub::Show(args) => show::run(args),
        Sub::Verify(args) => verify::run(args),
    };
    outcome.unwrap_or_else(|error| {
        // Whoever reads us has gone: that is no failure of ours.
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        eprintln!("sluice audit: {error:#}");
        ExitCode::from(2)
    })
}

/// Where records are read from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Folder of the trail
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The same, named
    #[arg(long = "trail", value_name = "DIR")]
    trail: Option<PathBuf>,
    /// Ask the collector: of the cluster that the kubeconfig names, or at a URL (https://HOST[:PORT])
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    collector: Option<String>,
}

impl Source {
    fn path(&self) -> &Path {
        self.folder.as_deref().or(self.trail.as_deref()).unwrap_or(Path::new("."))
    }

    fn open(&self) -> anyhow::Result<Reader> {
        open(self.path())
    }
}

/// Which trail.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Folder {
    /// Folder of the trail
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The same, named
    #[arg(long = "trail", value_name = "DIR")]
    trail: Option<PathBuf>,
}

impl Folder {
    fn path(&self) -> &Path {
        // One of the two is required.
        self.folder.as_deref().or(self.trail.as_deref()).unwrap_or(Path::new("."))
    }

    fn open(&self) -> anyhow::Result<Reader> {
        open(self.path())
    }
}

fn open(path: &Path) -> anyhow::Result<Reader> {
    let metadata =
        path.metadata().with_context(|| format!("trail {}; give the folder that --trail named", path.display()))?;
    anyhow::ensure!(metadata.is_dir(), "trail {} is not a folder; give the folder that --trail named", path.display());
    Reader::open(path).with_context(|| format!("trail {}", path.display()))
}

/// How facts are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Lines for people
    Text,
    /// JSON; one object a line where there are many
    Json,
}

/// Writes one entry as a line.
fn print(out: &mut impl Write, entry: &Entry, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Text => writeln!(out, "{}", line::of(&entry.leaf))?,
        Output::Json => writeln!(out, "{}", serde_json::to_string(&json(entry)?)?)?,
    }
    Ok(())
}

/// The leaf as it was written, and where it lies.
fn json(entry: &Entry) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(&entry.leaf)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("hash".to_owned(), serde_json::to_value(entry.hash)?);
        fields.insert("file".to_owned(), entry.file.display().to_string().into());
        fields.insert("offset".to_owned(), entry.offset.into());
    }
    Ok(value)
}
