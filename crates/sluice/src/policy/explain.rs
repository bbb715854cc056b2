//! `sluice policy explain`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use sluice_core::{Action, Command, CommandTarget, Fact, Intent, IntentSource, Subject, SubjectKind, Workload};
use sluice_policy::Compiled;
use sluice_policy::cases::request_line;

use super::{read_http, read_offline};
use crate::audit::Output;
use crate::workload::WorkloadArgs;

/// Say how one command would be decided, and why, rule by rule
///
/// Nothing is sent anywhere. Exit codes: 0 it would be allowed, 1 it would be
/// denied, 2 the question cannot be asked (usage, a policy that does not compile).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluice policy explain --policy policy/ --subject ada@example.com --as-groups developers 'get pods -n dev'
  sluice policy explain --policy policy/ --workload --service-account ci 'delete deployment dev/web'
  sluice policy explain --policy policy/ --subject ada --target prod-aks 'GET /api/v1/namespaces/dev/secrets/db'")]
pub(super) struct ExplainArgs {
    /// Policy file, or folder of policy files
    #[arg(long, value_name = "FILE", required = true)]
    policy: Vec<PathBuf>,
    /// Who asks: the subject of a token, and its name at the API server
    #[arg(long, value_name = "NAME", required_unless_present = "workload")]
    subject: Option<String>,
    /// Groups of the token
    #[arg(long, value_name = "GROUP,…", value_delimiter = ',')]
    as_groups: Vec<String>,
    /// Roles of the token
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',')]
    as_roles: Vec<String>,
    /// Identity provider of the token; needed where the policy has several
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The workload asks as itself, without a token
    #[arg(long, conflicts_with_all = ["subject", "as_groups", "as_roles", "provider"])]
    workload: bool,
    /// Target that is asked; needed where the policy has several
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    #[command(flatten)]
    stands_for: WorkloadArgs,
    /// Declared intent
    #[arg(long, value_name = "TEXT")]
    intent: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// The command: as for kubectl (`get pods -n dev`), or `METHOD /path`
    #[arg(value_name = "COMMAND")]
    command: String,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let workload = args.stands_for.workload("explain".to_owned(), "explain".to_owned());
    let compiled = read_offline(&args.policy, &workload)?;
    for warning in compiled.warnings() {
        eprintln!("sluice policy: {warning}");
    }
    let command = Command {
        at: jiff::Timestamp::now(),
        subject: subject(args, &compiled, &workload)?,
        target: target(args.target.as_deref(), &compiled)?,
        workload,
        intents: args.intent.iter().map(|text| Intent { source: IntentSource::Header, text: text.clone() }).collect(),
        actions: vec![action(&args.command)?],
    };
    let explanation = compiled.explain(&command);
    match args.output {
        Output::Text => print!("{explanation}"),
        Output::Json => println!("{}", serde_json::to_string(&explanation)?),
    }
    Ok(if explanation.verdict == "Allow" { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn action(line: &str) -> anyhow::Result<Action> {
    let http = line
        .trim()
        .split_once(' ')
        .map(|(method, path)| (method, path.trim()))
        .filter(|(_, path)| path.starts_with('/'));
    let request = match http {
        Some((method, path)) => read_http(&method.to_ascii_uppercase(), path),
        None => request_line(line),
    };
    match request {
        Ok(request) => Ok(Action::Kubernetes(Box::new(request))),
        Err(why) => bail!("command `{line}`: {why}"),
    }
}

fn subject(args: &ExplainArgs, compiled: &Compiled, workload: &Workload) -> anyhow::Result<Subject> {
    let Some(name) = &args.subject else { return Ok(Subject::workload(workload)) };
    let names = || compiled.providers().iter().map(|provider| provider.name.as_str()).collect::<Vec<_>>().join(", ");
    let provider = match (&args.provider, compiled.providers()) {
        (None, [only]) => only,
        (None, []) => bail!(
            "--subject {name}: no policy that applies here has an identity provider; see `--namespace` and `--labels`"
        ),
        (None, _) => bail!("--provider is needed; there are {}", names()),
        (Some(wanted), providers) => match providers.iter().find(|provider| provider.name == *wanted) {
            Some(provider) => provider,
            None => bail!("--provider {wanted}: there is no such provider; there are {}", names()),
        },
    };
    Ok(Subject {
        kind: SubjectKind::Token,
        provider: provider.name.clone(),
        issuer: provider.issuers.first().cloned().unwrap_or_default(),
        id: name.clone(),
        kubernetes_user: Some(name.clone()),
        groups: Fact::Known(args.as_groups.iter().cloned().collect()),
        roles: Fact::Known(args.as_roles.iter().cloned().collect()),
        token_id: None,
        expires: None,
    })
}

fn target(name: Option<&str>, compiled: &Compiled) -> anyhow::Result<CommandTarget> {
    let names = || compiled.targets().iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match (name, compiled.targets()) {
        (None, [only]) => only,
        (_, []) => bail!("no policy that applies here has a target; see `--namespace` and `--labels`"),
        (None, _) => bail!("--target is needed; there are {}", names()),
        (Some(name), targets) => match targets.iter().find(|target| target.name == name || target.host == name) {
            Some(target) => target,
            None => bail!("--target {name}: there is no such target; there are {}", names()),
        },
    };
    Ok(CommandTarget {
        name: found.name.clone(),
        host: found.host.clone(),
        port: found.ports.first().copied().unwrap_or(443),
    })
}
