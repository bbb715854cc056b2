//! `sluice inject`: what the webhook would make of a pod, offline.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use sluice_k8s::inject::{InjectedFile, InjectionSettings, NotInjected, inject_file};

use crate::audit::Output;

/// Largest file that is read.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Print objects with the gateway put into their pods, as the webhook would
#[derive(Debug, Args)]
#[command(after_help = "Pods, Deployments and everything else with a pod template are injected where the annotation
sluice.dev/inject: enabled asks for it; other objects are printed as they are.

Examples:
  sluice inject -f deployment.yaml
  kubectl get deployment coder -o yaml | sluice inject -f - --required

Exit codes: 0 done, 1 a pod is refused, 2 could not find out.")]
pub(crate) struct InjectArgs {
    /// YAML or JSON of any number of objects; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Inject every pod, as in a namespace with the label sluice.dev/required
    #[arg(long)]
    required: bool,
    /// What the containers are made of: `settings.json` of ConfigMap
    /// sluice-injection. Absent: this program's defaults
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How to print; text: YAML
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Prints the injected objects.
pub(crate) fn run(args: &InjectArgs) -> ExitCode {
    match injected(args) {
        Ok(Ok(file)) => print(&file, args.output),
        Ok(Err(NotInjected::Unreadable(why))) => {
            eprintln!("sluice inject: --file {}: {why}", args.file.display());
            ExitCode::from(2)
        }
        Ok(Err(NotInjected::Refused(refusals))) => {
            for refusal in refusals {
                eprintln!("sluice inject: {refusal}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("sluice inject: {error:#}");
            ExitCode::from(2)
        }
    }
}

type Outcome = Result<InjectedFile, NotInjected>;

fn injected(args: &InjectArgs) -> anyhow::Result<Outcome> {
    let text = read(&args.file).with_context(|| format!("--file {}", args.file.display()))?;
    let settings = match &args.settings {
        Some(path) => {
            let text = read(path).with_context(|| format!("--settings {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("--settings {}", path.display()))?
        }
        None => InjectionSettings::default(),
    };
    Ok(inject_file(&text, args.required, &settings))
}

fn print(file: &InjectedFile, output: Output) -> ExitCode {
    for who in &file.left {
        eprintln!("sluice inject: {who} does not ask (annotation sluice.dev/inject: enabled) and is left alone");
    }
    let mut out = std::io::stdout().lock();
    let written = match output {
        Output::Text => out.write_all(file.yaml.as_bytes()),
        Output::Json => file.objects.iter().try_for_each(|object| writeln!(out, "{object}")),
    };
    if let Err(error) = written {
        eprintln!("sluice inject: standard output: {error}");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

fn read(path: &Path) -> anyhow::Result<String> {
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(fs::File::open(path)?) };
    let mut text = String::new();
    source.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        bail!("has more than {MAX_BYTES} bytes; split it");
    }
    Ok(text)
}
