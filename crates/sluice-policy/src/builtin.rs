//! What holds without any policy, and what no policy can lift.

use sluice_core::kubernetes::{Request, Resource, Scope};
use sluice_core::{Command, Fact};

use crate::{Reason, RuleRef, code};

/// API group of Sluice's own objects.
const OWN_GROUP: &str = "sluice.dev";
/// Subresources that open a stream in both directions.
const STREAMS: [&str; 3] = ["exec", "attach", "portforward"];
/// Paths of a kubelet that run commands in containers, or open streams to them.
const RUNS: [&str; 5] = ["run", "exec", "attach", "portforward", "cri"];

/// The denial that no policy can lift, if there is one.
pub(crate) fn denial(command: &Command, request: &Request) -> Option<Reason> {
    let _ = command;
    if request.impersonates {
        return Some(reason(
            code::BUILTIN_IMPERSONATION,
            "no-impersonation",
            "Impersonate-* and X-Remote-* headers are never forwarded: they would replace who was identified.",
            "Remove --as and --as-group, and such headers.",
        ));
    }
    let resource = request.resource();
    let streams = resource
        .and_then(|resource| resource.subresource.as_deref())
        .is_some_and(|subresource| STREAMS.contains(&subresource));
    if request.upgrades || streams || runs_on_node(request) {
        return Some(reason(
            code::BUILTIN_UPGRADE,
            "no-upgrades",
            "exec, attach, port-forward and other upgrades are not supported yet: what runs inside them would not be \
             seen.",
            "Use logs, or a Job for a command.",
        ));
    }
    let resource = resource?;
    if request.changes_state() && own(request, resource) {
        return Some(reason(
            code::BUILTIN_SLUICE,
            "own-objects",
            "objects of sluice.dev are never written through the gateway that they govern.",
            "Ask whoever keeps the policies of this namespace.",
        ));
    }
    if resource.group.is_empty()
        && resource.resource == "serviceaccounts"
        && resource.subresource.as_deref() == Some("token")
        && request.changes_state()
    {
        let (fact, fix) = match &request.object {
            Fact::Unknown(_) => (
                "the audience of the service account token is not known.",
                "Ask for the token with a JSON body, and name its audience.",
            ),
            Fact::Known(object) if object.as_ref().is_some_and(for_own_audience) => (
                "service account tokens for Sluice's own audience are never made through the gateway.",
                "Ask for another audience.",
            ),
            Fact::Known(_) => return None,
        };
        return Some(reason(code::BUILTIN_TOKEN, "own-tokens", fact, fix));
    }
    None
}

/// The grant of what every client reads before it can ask for anything: which
/// groups, versions and resources there are.
pub(crate) fn is_discovery(request: &Request) -> bool {
    let Scope::NonResource(path) = &request.scope else { return false };
    if request.verb != "get" || request.upgrades || request.impersonates {
        return false;
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let Some(path) = path.strip_prefix('/') else { return false };
    let parts: Vec<&str> = path.split('/').collect();
    if parts.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
        return false;
    }
    matches!(
        parts.as_slice(),
        ["version" | "api" | "apis" | "healthz" | "livez" | "readyz"]
            | ["api", _]
            | ["apis", _]
            | ["apis", _, _]
            | ["openapi", ..]
    )
}

/// The rule that explanations name for [`is_discovery`].
pub(crate) fn discovery() -> RuleRef {
    RuleRef::builtin("discovery")
}

/// Whether it goes, past the API server, to the part of a kubelet that runs
/// commands in containers: `nodes/NAME/proxy/run/…` needs no upgrade for it.
fn runs_on_node(request: &Request) -> bool {
    let of_node = request.resource().is_some_and(|resource| {
        resource.group.is_empty() && resource.resource == "nodes" && resource.subresource.as_deref() == Some("proxy")
    });
    if !of_node {
        return false;
    }
    let path = decoded(request.path.split('?').next().unwrap_or_default());
    let mut parts = path.split(|byte| *byte == b'/').skip_while(|part| *part != b"nodes").skip(3);
    parts.next().is_some_and(|first| RUNS.iter().any(|run| first.eq_ignore_ascii_case(run.as_bytes())))
}

/// Percent escapes undone once, as servers do.
fn decoded(path: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        let escape = after.get(..2).and_then(|text| std::str::from_utf8(text).ok());
        match escape.filter(|_| *byte == b'%').and_then(|text| u8::from_str_radix(text, 16).ok()) {
            Some(value) => {
                out.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    out
}

fn own(request: &Request, resource: &Resource) -> bool {
    let ours = |group: &str| group == OWN_GROUP || group.ends_with(".sluice.dev");
    if ours(&resource.group) {
        return true;
    }
    if resource.group != "apiextensions.k8s.io" || resource.resource != "customresourcedefinitions" {
        return false;
    }
    let name = resource.name.as_deref().or_else(|| {
        let object = request.object.known().and_then(Option::as_ref)?;
        object.pointer("/metadata/name")?.as_str()
    });
    // A definition whose name is not known may be ours.
    name.is_none_or(|name| name.split_once('.').is_some_and(|(_, group)| ours(group)))
}

fn for_own_audience(object: &serde_json::Value) -> bool {
    let audiences = object.pointer("/spec/audiences").and_then(serde_json::Value::as_array);
    audiences.into_iter().flatten().any(|audience| {
        audience.as_str().is_none_or(|audience| {
            let audience = audience.to_ascii_lowercase();
            let audience = audience.split_once("://").map_or(audience.as_str(), |(_, rest)| rest);
            let host = audience.split(['/', ':']).next().unwrap_or("");
            host == OWN_GROUP || host.ends_with(".sluice.dev")
        })
    })
}

fn reason(code: &'static str, rule: &str, message: &str, fix: &str) -> Reason {
    Reason {
        code,
        rule: Some(RuleRef::builtin(rule)),
        message: message.to_owned(),
        fix: fix.to_owned(),
        near_misses: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_does_not_run_commands() {
        let asks = |path: &str| {
            let request =
                Request { path: path.to_owned(), ..crate::cases::request_line("create nodes/proxy n1").unwrap() };
            runs_on_node(&request)
        };
        for path in [
            "/api/v1/nodes/n1/proxy/run/dev/web/web?cmd=id",
            "/api/v1/nodes/n1/proxy/%72un/dev/web/web?cmd=id",
            "/api/v1/nodes/n1/%70roxy/exec/dev/web/web",
            "/api/v1/nodes/n1:10250/proxy/attach/dev/web/web",
            "/api/v1/nodes/nodes/proxy/portForward/dev/web",
            "/api/v1/nodes/n1/proxy/cri/exec/token",
        ] {
            assert!(asks(path), "{path}");
        }
        for path in ["", "/api/v1/nodes/n1/proxy", "/api/v1/nodes/n1/proxy/", "/api/v1/nodes/run/proxy/pods?x=/run"] {
            assert!(!asks(path), "{path}");
        }
        assert!(!asks("/api/v1/nodes/n1/proxy/runningpods/"));
    }
}
