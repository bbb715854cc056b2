//! `sluice policy`: tries policy out, offline.

mod explain;
mod test;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use http::{HeaderMap, Method, Uri};
use sluice_core::Workload;
use sluice_core::kubernetes::Request;
use sluice_policy::{Compiled, Documents, Problem};

/// Try policy out, offline
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    Test(test::TestArgs),
    Explain(Box<explain::ExplainArgs>),
}

/// Runs the subcommand.
pub(crate) fn run(args: &PolicyArgs) -> ExitCode {
    let outcome = match &args.command {
        Sub::Test(args) => test::run(args),
        Sub::Explain(args) => explain::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("sluice policy: {error:#}");
        ExitCode::from(2)
    })
}

/// Reads and compiles policy files and folders for `workload`.
///
/// # Errors
/// Every problem, one a line.
pub(crate) fn read(paths: &[PathBuf], workload: &Workload) -> anyhow::Result<Compiled> {
    sluice_policy::compile(&documents(paths)?, workload).map_err(problems)
}

/// The same for who dials nothing: policies of a cluster can be read, too.
fn read_offline(paths: &[PathBuf], workload: &Workload) -> anyhow::Result<Compiled> {
    sluice_policy::compile(&documents(paths)?.offline(), workload).map_err(problems)
}

fn documents(paths: &[PathBuf]) -> anyhow::Result<Documents> {
    let mut sources = Vec::new();
    for path in paths {
        for file in files(path).with_context(|| format!("--policy {}", path.display()))? {
            let text = fs::read_to_string(&file).with_context(|| format!("--policy {}", file.display()))?;
            sources.push((file.display().to_string(), text));
        }
    }
    let documents = Documents::parse(&sources).map_err(problems)?;
    if documents.is_empty() {
        bail!(
            "--policy: no policy in {}",
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(documents)
}

fn problems(problems: Vec<Problem>) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("this does not compile:\n  {}", lines.join("\n  "))
}

/// Reads an HTTP request line as the gateway does.
fn read_http(method: &str, path: &str) -> Result<Request, String> {
    let method: Method = method.parse().map_err(|_| format!("`{method}` is no HTTP method"))?;
    let uri: Uri = path.parse().map_err(|error| format!("`{path}` is no path: {error}"))?;
    sluice_gateway::kubernetes::attributes(&method, &uri, &HeaderMap::new()).map_err(|reject| reject.to_string())
}

/// The file itself, or the policy files of a folder by name.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.metadata()?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let known = file.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|it| extension == *it));
        if known && !hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
