//! What several policies say together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Policy, Standing};
use crate::compiled::{Audit, AuditMode, Durability, Egress, EgressHost, Limits, Responses, Target, TargetKind};
use crate::documents::Document;
use crate::spec::{EgressOther, GatewayPolicy, TargetSpec};
use crate::subjects::reporter;
use crate::{Problem, bundle, units};

/// Audience of tokens for AKS.
const AKS_AUDIENCE: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

/// The API server of the workload's own cluster, as its clients call it.
const IN_CLUSTER_SERVER: &str = "kubernetes.default.svc";
/// Usual audiences of a cluster's own tokens.
const IN_CLUSTER_AUDIENCES: [&str; 2] =
    ["https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"];

type Selected<'a> = (&'a Document<GatewayPolicy>, Policy);

/// The targets of all policies. One name and one host stand for one another:
/// within a policy, and across policies unless all settings are equal.
pub(super) fn targets(selected: &[Selected<'_>], bundles: Option<&Path>, problems: &mut Vec<Problem>) -> Vec<Target> {
    let mut targets: Vec<(Target, &str)> = Vec::new();
    for (document, policy) in selected {
        let mut own: Vec<Target> = Vec::new();
        for (index, written) in document.content.spec.targets.iter().enumerate() {
            let at = format!("spec.targets[{index}]");
            let Some(target) = target(document, written, &at, bundles, problems) else { continue };
            let mut report = reporter(problems, &document.label, &at);
            if own.iter().any(|other| other.name == target.name) {
                report(".name", format!("another target is called `{}` already; rename one", target.name));
                continue;
            }
            if let Some(other) = own.iter().find(|other| other.host == target.host) {
                report(
                    ".kubernetes.server",
                    format!("`{}` is the host of target `{}` already; remove one of the two", target.host, other.name),
                );
                continue;
            }
            own.push(target.clone());
            let clash = targets.iter().find(|(other, _)| {
                (other.host == target.host || other.name == target.name) && !same_settings(other, &target)
            });
            if let Some((other, owner)) = clash {
                report("", differs(&target, other, owner));
                continue;
            }
            match targets.iter_mut().find(|(other, _)| other.name == target.name) {
                Some((known, _)) => known.providers.extend(policy.providers.iter().cloned()),
                None => targets.push((Target { providers: policy.providers.clone(), ..target }, &policy.name)),
            }
        }
    }
    let mut targets: Vec<Target> = targets.into_iter().map(|(target, _)| target).collect();
    for target in &mut targets {
        target.providers.sort();
        target.providers.dedup();
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    targets
}

fn target(
    document: &Document<GatewayPolicy>,
    written: &TargetSpec,
    at: &str,
    bundles: Option<&Path>,
    problems: &mut Vec<Problem>,
) -> Option<Target> {
    let before = problems.len();
    let mut report = reporter(problems, &document.label, at);
    if let Err(message) = units::name(&written.name) {
        report(".name", message);
    }
    let host = units::host(&written.kubernetes.server);
    if let Err(message) = &host {
        report(".kubernetes.server", message.clone());
    }
    let ports = units::ports(&written.ports);
    if let Err(message) = &ports {
        report(".ports", message.clone());
    }
    for (index, audience) in written.audiences.iter().enumerate() {
        if audience.is_empty() || audience == "*" {
            report(&format!(".audiences[{index}]"), format!("`{audience}` is no audience; write the exact `aud`"));
        }
    }
    let namespace = document.content.metadata.namespace();
    let reference = written.ca_bundle_ref.as_ref();
    let ca_bundle = match reference.map(|reference| bundle::path(reference, Some(namespace), bundles)).transpose() {
        Ok(path) => path,
        Err((field, message)) => {
            report(&format!(".caBundleRef{field}"), message);
            None
        }
    };
    drop(report);
    let (Ok(host), Ok(ports)) = (host, ports) else { return None };
    if problems.len() > before {
        return None;
    }
    let mut audiences = written.audiences.clone();
    if audiences.is_empty() {
        let default: &[&str] = if host == IN_CLUSTER_SERVER { &IN_CLUSTER_AUDIENCES } else { &[AKS_AUDIENCE] };
        audiences.extend(default.iter().map(|audience| (*audience).to_owned()));
    }
    audiences.sort();
    audiences.dedup();
    Some(Target {
        name: written.name.clone(),
        host,
        ports,
        kind: TargetKind::Kubernetes,
        audiences,
        ca_bundle,
        providers: Vec::new(),
    })
}

fn same_settings(a: &Target, b: &Target) -> bool {
    a.name == b.name
        && a.host == b.host
        && a.ports == b.ports
        && a.kind == b.kind
        && a.audiences == b.audiences
        && a.ca_bundle == b.ca_bundle
}

fn differs(target: &Target, other: &Target, owner: &str) -> String {
    let field = if other.name != target.name {
        "name"
    } else if other.host != target.host {
        "kubernetes.server"
    } else if other.ports != target.ports {
        "ports"
    } else if other.audiences != target.audiences {
        "audiences"
    } else {
        "caBundleRef"
    };
    format!(
        "policy {owner} has target `{}` for host `{}` with another {field}; make all settings equal, or remove one",
        other.name, other.host
    )
}

/// An explicit `other: Deny` wins; else the lists together.
pub(super) fn egress(selected: &[Selected<'_>], targets: &[Target], problems: &mut Vec<Problem>) -> Egress {
    let hosts: BTreeSet<&str> = targets.iter().map(|target| target.host.as_str()).collect();
    let mut denied = false;
    let mut allowed: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for (document, _) in selected {
        let Some(written) = &document.content.spec.egress else { continue };
        let mut report = reporter(problems, &document.label, "spec.egress");
        match written.other {
            EgressOther::Deny if !written.allow.is_empty() => {
                report(".allow", "has no effect with `other: Deny`; write `other: Allow`, or remove it".to_owned());
            }
            EgressOther::Deny => denied = true,
            EgressOther::Allow if written.allow.is_empty() => {
                report(".allow", "is empty; list the hosts that are passed through".to_owned());
            }
            EgressOther::Allow => {}
        }
        for (index, rule) in written.allow.iter().enumerate() {
            let at = format!(".allow[{index}]");
            let host = match egress_host(&rule.host) {
                Ok(host) => host,
                Err(message) => {
                    report(&format!("{at}.host"), message);
                    continue;
                }
            };
            if hosts.contains(host.as_str()) {
                report(
                    &format!("{at}.host"),
                    format!("`{host}` is a target, whose traffic is always read; remove it here"),
                );
            }
            match units::ports(&rule.ports) {
                Ok(ports) => allowed.entry(host).or_default().extend(ports),
                Err(message) => report(&format!("{at}.ports"), message),
            }
        }
    }
    if denied {
        return Egress::default();
    }
    let allow = allowed.into_iter().map(|(host, ports)| EgressHost { host, ports: ports.into_iter().collect() });
    Egress { allow: allow.collect() }
}

fn egress_host(text: &str) -> Result<String, String> {
    let Some(parent) = text.strip_prefix("*.") else {
        if text.contains('*') {
            return Err(format!("`{text}` is no host; write a name, or `*.` and a name for every name below it"));
        }
        return units::host(text);
    };
    let parent = units::host(parent)?;
    if !parent.contains('.') {
        return Err(format!("`{text}` would let through a whole top level; write at least two labels after `*.`"));
    }
    Ok(format!("*.{parent}"))
}

/// The smallest of each.
pub(super) fn limits(selected: &[Selected<'_>]) -> Limits {
    let specs = || selected.iter().map(|(document, _)| &document.content.spec.limits);
    Limits {
        commands_per_minute: specs().filter_map(|limits| limits.commands_per_minute).min(),
        response_bytes: specs()
            .filter_map(|limits| limits.response_bytes.as_ref())
            .filter_map(|quantity| units::bytes(quantity).ok())
            .min(),
        concurrent_sessions: specs().filter_map(|limits| limits.concurrent_sessions).min(),
    }
}

/// The strictest of each; the defaults where no policy is selected.
pub(super) fn audit(selected: &[Selected<'_>]) -> Audit {
    let default = Audit::default();
    // Guards say nothing about it.
    let mut said = selected.iter().filter(|(_, policy)| policy.standing == Standing::Namespaced);
    let Some(first) = said.next() else { return default };
    let one = |(document, _): &Selected<'_>| {
        let spec = &document.content.spec;
        Audit {
            mode: spec.audit.mode,
            durability: spec.audit.durability,
            responses: spec.audit.responses,
            max_policy_age: spec
                .max_policy_age
                .as_deref()
                .and_then(|text| units::duration(text).ok())
                .unwrap_or(default.max_policy_age),
        }
    };
    said.map(one).fold(one(first), |all, next| Audit {
        mode: if all.mode == AuditMode::Strict { all.mode } else { next.mode },
        durability: stronger(all.durability, next.durability),
        responses: if all.responses == Responses::Digest { all.responses } else { next.responses },
        max_policy_age: all.max_policy_age.min(next.max_policy_age),
    })
}

/// `Collector` asks for more than `Disk`, that for more than `Auto`, and that
/// for more than `Process`.
fn stronger(a: Durability, b: Durability) -> Durability {
    let rank = |durability| match durability {
        Durability::Process => 0,
        Durability::Auto => 1,
        Durability::Disk => 2,
        Durability::Collector => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}
