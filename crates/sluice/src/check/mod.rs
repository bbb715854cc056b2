//! `sluice check`: is the installation healthy, and what to do about what is
//! not.
//!
//! `read` asks, once; everything else is a function of what it read.

mod admission;
mod certificates;
mod facts;
mod finding;
mod install;
mod pods;
mod policies;
mod read;
mod rights;
mod same;
mod templates;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use crate::audit::{Output, printable};
use crate::cluster::{Cluster, ClusterArgs};
use facts::{Facts, Read};
use finding::{Finding, Level};

/// Is the installation healthy, and what to do about what is not
///
/// Looks at the control plane and the collector, webhooks, admission policies,
/// definitions, certificates, policies, every pod that runs behind the gateway
/// or should, and who holds rights that would get around it. Changes nothing.
/// Needs to read the cluster, and to `create pods/portforward` in Sluice's
/// namespace.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kubectl sluice check
  sluice check --kubeconfig admin.kubeconfig -o json | jq 'select(.level == \"problem\")'

Exit codes: 0 healthy (there may be warnings), 1 there are problems, 2 something could not be found out.")]
pub(crate) struct CheckArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Print what is as it should be, too
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints what was found.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    match check(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sluice check: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let facts = runtime.block_on(async {
        let cluster = Cluster::find(&args.cluster).await?;
        // Without an answer every finding would say the same.
        cluster.client.apiserver_version().await.map_err(|error| cluster.said(error))?;
        anyhow::Ok(read::facts(&cluster).await)
    })?;
    let findings = judge(&facts, env!("CARGO_PKG_VERSION"), Timestamp::now());
    let worst = findings.iter().map(|finding| finding.level).max();
    // Whoever stops reading (`| head`) is not told that all is well.
    print(&mut io::stdout().lock(), &findings, args).ok();
    Ok(match worst {
        Some(Level::Problem) => ExitCode::from(1),
        Some(Level::Unknown) => ExitCode::from(2),
        Some(Level::Ok | Level::Warning) | None => ExitCode::SUCCESS,
    })
}

fn judge(facts: &Facts, own: &str, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let same = facts.installed() == Some(own);
    let collector = read::has_collector(&facts.settings);
    let add = &mut findings;
    each(add, "Kubernetes", &facts.minor, |minor| vec![install::kubernetes(*minor)]);
    each(add, "ConfigMap sluice-injection", &facts.settings, |_| vec![install::version(facts.installed(), own)]);
    each(add, "Deployments", &facts.deployments, |found| install::deployments(found, &facts.namespace, collector));
    each(add, "CustomResourceDefinitions", &facts.definitions, |found| install::definitions(found, same));
    admission(add, facts, same);
    certificates(add, facts, collector, now);
    each(add, "GatewayPolicies", &facts.policies, |found| policies::policies(found));
    each(add, "ClusterGatewayPolicies", &facts.cluster_policies, |found| policies::cluster_policies(found));
    each(add, "IdentityProviders", &facts.providers, |found| policies::providers(found));
    workloads(add, facts, collector, now);
    findings
}

fn admission(findings: &mut Vec<Finding>, facts: &Facts, same: bool) {
    let installed = admission::Installed { namespace: &facts.namespace, same };
    each(findings, "MutatingWebhookConfigurations", &facts.mutating, |found| installed.mutating(found));
    each(findings, "ValidatingWebhookConfigurations", &facts.validating, |found| installed.validating(found));
    let both = both(&facts.asserted, &facts.bindings);
    each(findings, "ValidatingAdmissionPolicies", &both, |(found, bindings)| installed.asserted(found, bindings));
}

fn certificates(findings: &mut Vec<Finding>, facts: &Facts, collector: bool, now: Timestamp) {
    let control = format!("sluice-control.{}.svc", facts.namespace);
    let webhooks = both(&facts.webhook, &both(&facts.mutating, &facts.validating)).map(|(shown, configurations)| {
        let (mutating, validating) = configurations;
        (shown, admission::bundles(&mutating, &validating))
    });
    each(findings, "Certificate of the webhook", &webhooks, |(shown, bundles)| {
        let mut judged: Vec<Finding> = Vec::new();
        for (name, bundle) in bundles {
            let object = format!("Certificate of the webhook, by the caBundle of {name}");
            judged.push(certificates::served(&object, shown, &control, bundle, now));
            judged.push(certificates::authorities(&format!("caBundle of {name}"), bundle, now));
        }
        judged
    });
    let mut servers = vec![("Certificate of the sidecars' server", &facts.wire, control)];
    if collector {
        let name = format!("sluice-collector.{}.svc", facts.namespace);
        servers.push(("Certificate of the collector", &facts.query, name));
    }
    each(findings, "ConfigMap sluice-roots", &facts.roots, |roots| {
        vec![certificates::authorities("ConfigMap sluice-roots", roots.as_bytes(), now)]
    });
    for (object, shown, name) in servers {
        // Roots that cannot be read were said above.
        let Ok(roots) = &facts.roots else { continue };
        each(findings, object, shown, |shown| vec![certificates::served(object, shown, &name, roots.as_bytes(), now)]);
    }
}

fn workloads(findings: &mut Vec<Finding>, facts: &Facts, collector: bool, now: Timestamp) {
    let workloads = both(&facts.pods, &facts.namespaces);
    let settings = facts.settings.as_ref().ok().and_then(Option::as_ref);
    let allowed = facts.asserted.as_ref().map(|found| admission::allowed_images(found)).unwrap_or_default();
    let expected = pods::Expected {
        image: settings.map_or("", |settings| settings.image.as_str()),
        allowed: &allowed,
        trails: facts.trails.as_deref().ok(),
        now,
    };
    each(findings, "Pods", &workloads, |(pods, namespaces)| pods::pods(pods, namespaces, &expected));
    each(findings, "Deployments and others with pod templates", &facts.unheard, |found| templates::templates(found));
    if collector {
        each(findings, "Trails at the collector", &facts.trails, |trails| {
            vec![Finding::ok("Trails at the collector", format!("{} can be read", trails.len()))]
        });
    }
    let Ok((pods, namespaces)) = &workloads else { return };
    let agents = pods::agent_namespaces(pods, namespaces);
    if let Ok(policies) = &facts.policies {
        findings.extend(policies::without_policy(&agents, policies));
    }
    let accounts = pods::agent_accounts(pods);
    let around = rights::Around { namespace: &facts.namespace, agents: &agents, accounts: &accounts };
    each(findings, "Rights", &facts.rights, |grants| rights::rights(grants, &around));
}

/// What is judged of what was read, or that it could not be read.
fn each<T>(findings: &mut Vec<Finding>, object: &str, read: &Read<T>, judge: impl FnOnce(&T) -> Vec<Finding>) {
    match read {
        Ok(read) => findings.extend(judge(read)),
        Err(why) => findings.push(Finding::unknown(object, why)),
    }
}

fn both<A: Clone, B: Clone>(a: &Read<A>, b: &Read<B>) -> Read<(A, B)> {
    Ok((a.clone()?, b.clone()?))
}

fn print(out: &mut impl Write, findings: &[Finding], args: &CheckArgs) -> io::Result<()> {
    if args.output == Output::Json {
        for finding in findings {
            writeln!(out, "{}", serde_json::to_string(finding)?)?;
        }
        return Ok(());
    }
    let mut counts = [0; 4];
    for finding in findings {
        let level = finding.level;
        counts[level as usize] += 1;
        if level == Level::Ok && !args.verbose {
            continue;
        }
        writeln!(out, "{:<8} {}: {}", level.label(), printable(&finding.object), printable(&finding.what))?;
        if !finding.fix.is_empty() {
            writeln!(out, "         fix: {}", printable(&finding.fix))?;
        }
    }
    let [fine, warnings, unknown, problems] = counts;
    writeln!(out, "{problems} problems, {unknown} unknown, {warnings} warnings, {fine} as they should be")
}
