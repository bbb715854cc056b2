//! `sluice policy test`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use sluice_policy::cases::{CaseFile, Outcome};

use super::{problems, read_http};
use crate::audit::Output;

/// Run golden cases: commands with the decision that is expected of a policy
///
/// Exit codes: 0 all hold, 1 some do not, 2 a file cannot be read or used.
#[derive(Debug, Args)]
#[command(after_help = "A case file names its policies and says for each command what must come of it:

  policies: [policy.yaml]
  workload: {namespace: agents, labels: {app: coder}}
  cases:
  - name: developers look around
    subject: {provider: entra, groups: [developers]}
    command: get pods -n dev
    expect: {verdict: Allow, rule: agents/coding-agents:look-around}

Example:
  sluice policy test policy/cases/")]
pub(super) struct TestArgs {
    /// Case files, or folders of *.case.yaml
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

pub(super) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for path in &args.files {
        files.extend(case_files(path)?);
    }
    let (mut held, mut failed) = (0, 0);
    for file in files {
        for outcome in outcomes(&file)? {
            if outcome.holds() {
                held += 1;
            } else {
                failed += 1;
            }
            report(&file, &outcome, args.output)?;
        }
    }
    if held + failed == 0 {
        bail!(
            "no cases in {}",
            args.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    if args.output == Output::Text {
        println!("{held} of {} cases hold", held + failed);
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn outcomes(file: &Path) -> anyhow::Result<Vec<Outcome>> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).with_context(|| name.clone())?;
    let cases = CaseFile::parse(&name, &text)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut sources = Vec::new();
    for policy in &cases.policies {
        let path = folder.join(policy);
        let text = fs::read_to_string(&path).with_context(|| format!("{name}: policies: {}", path.display()))?;
        sources.push((path.display().to_string(), text));
    }
    cases.run(&sources, &read_http).map_err(problems)
}

fn report(file: &Path, outcome: &Outcome, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => println!(
            "{}",
            serde_json::json!({
                "file": file.display().to_string(),
                "name": outcome.name,
                "command": outcome.command,
                "holds": outcome.holds(),
                "differences": outcome.differences,
                "explanation": serde_json::to_value(&outcome.explanation)?,
            })
        ),
        Output::Text if !outcome.holds() => {
            println!("{}: {}: `{}`", file.display(), outcome.name, outcome.command);
            for difference in &outcome.differences {
                println!("    {difference}");
            }
            for line in outcome.explanation.to_string().lines() {
                println!("    | {line}");
            }
        }
        Output::Text => {}
    }
    Ok(())
}

/// The file itself, or the case files of a folder by name.
fn case_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let metadata = path.metadata().with_context(|| path.display().to_string())?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".case.yaml")) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
