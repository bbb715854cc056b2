//! Policies and providers: what became of them, by their status.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sluice_k8s::crds::{
    ClusterGatewayPolicy, Condition, GatewayPolicy, IdentityProvider, PolicyStatus, ProviderStatus, condition,
};

use super::finding::Finding;

pub(super) fn policies(found: &[GatewayPolicy]) -> Vec<Finding> {
    let all = found.iter().map(|one| policy("GatewayPolicy", &one.metadata, one.status.as_ref()));
    all.collect()
}

pub(super) fn cluster_policies(found: &[ClusterGatewayPolicy]) -> Vec<Finding> {
    let all = found.iter().map(|one| policy("ClusterGatewayPolicy", &one.metadata, one.status.as_ref()));
    all.collect()
}

pub(super) fn providers(found: &[IdentityProvider]) -> Vec<Finding> {
    found.iter().map(|one| provider(&one.metadata, one.status.as_ref())).collect()
}

/// Namespaces in which agents run and no policy is: everything is denied there.
pub(super) fn without_policy(agents: &BTreeSet<String>, found: &[GatewayPolicy]) -> Vec<Finding> {
    let with: BTreeSet<&str> = found.iter().filter_map(|one| one.metadata.namespace.as_deref()).collect();
    let without = agents.iter().filter(|namespace| !with.contains(namespace.as_str()));
    without
        .map(|namespace| {
            Finding::warning(
                format!("Namespace {namespace}"),
                "its agents have no GatewayPolicy: everything they ask is denied",
                "kubectl apply a GatewayPolicy that selects them; docs/policy.md has one to start from",
            )
        })
        .collect()
}

fn policy(kind: &str, metadata: &ObjectMeta, status: Option<&PolicyStatus>) -> Finding {
    let object = object(kind, metadata);
    let Some(status) = status.filter(|status| status.observed_generation == metadata.generation) else {
        return unseen(object);
    };
    for kind in [condition::ACCEPTED, condition::COMPILED] {
        if let Some(not) = is_false(&status.conditions, kind) {
            let what = format!("is not {}: {}", kind.to_lowercase(), not.message);
            return Finding::problem(object, what, "correct it; until then its last good revision holds");
        }
    }
    let matched = status.matched_pods.unwrap_or(0);
    if matched == 0 {
        let fix = "compare spec.selector with the pods' labels; pods must be annotated and in the policy's namespace";
        return Finding::warning(object, "selects no pod that runs behind the gateway", fix);
    }
    let programmed = status.programmed_pods.unwrap_or(0);
    if is_false(&status.conditions, condition::PROGRAMMED).is_some() || programmed < matched {
        let fix = "wait a moment; if it stays so: kubectl logs POD -c sluice-gateway of those that are behind";
        return Finding::warning(object, format!("only {programmed} of {matched} pods decide by it yet"), fix);
    }
    Finding::ok(object, format!("{matched} pods decide by it"))
}

fn provider(metadata: &ObjectMeta, status: Option<&ProviderStatus>) -> Finding {
    let object = object("IdentityProvider", metadata);
    let Some(status) = status.filter(|status| status.observed_generation == metadata.generation) else {
        return unseen(object);
    };
    match is_false(&status.conditions, condition::ACCEPTED) {
        Some(not) => Finding::problem(object, format!("is not accepted: {}", not.message), "correct it"),
        None => Finding::ok(object, "is accepted"),
    }
}

fn unseen(object: String) -> Finding {
    Finding::warning(
        object,
        "the control plane has not looked at its present generation",
        "wait a moment; if it stays so, see the control plane's log",
    )
}

fn is_false<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|one| one.type_ == kind && one.status == "False")
}

fn object(kind: &str, metadata: &ObjectMeta) -> String {
    let name = metadata.name.as_deref().unwrap_or_default();
    match metadata.namespace.as_deref() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::finding::Level;
    use super::*;

    fn judged(status: Value) -> Finding {
        let found: GatewayPolicy = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "agents", "generation": 2}, "spec": {}, "status": status,
        }))
        .expect("a policy");
        policies(&[found]).remove(0)
    }

    fn not(kind: &str) -> Value {
        json!([{"type": kind, "status": "False", "reason": "R", "message": "spec.rules[0]: no", "lastTransitionTime": ""}])
    }

    #[test]
    fn a_status_says_what_became_of_a_policy() {
        let fine = judged(json!({"observedGeneration": 2, "matchedPods": 2, "programmedPods": 2}));
        assert_eq!(fine.level, Level::Ok, "{fine:?}");
        let old = judged(json!({"observedGeneration": 1, "matchedPods": 2, "programmedPods": 2}));
        assert_eq!(old.level, Level::Warning, "{old:?}");
        assert_eq!(judged(Value::Null).level, Level::Warning);
        let broken = judged(json!({"observedGeneration": 2, "conditions": not("Compiled")}));
        assert!(broken.level == Level::Problem && broken.what.contains("spec.rules[0]: no"), "{broken:?}");
        let alone = judged(json!({"observedGeneration": 2, "matchedPods": 0}));
        assert!(alone.level == Level::Warning && alone.what.contains("no pod"), "{alone:?}");
        let behind = judged(json!({"observedGeneration": 2, "matchedPods": 3, "programmedPods": 1}));
        assert!(behind.level == Level::Warning && behind.what.contains("1 of 3"), "{behind:?}");
    }

    #[test]
    fn agents_without_a_policy_are_named() {
        let agents = BTreeSet::from(["agents".to_owned()]);
        assert_eq!(without_policy(&agents, &[]).len(), 1);
        assert!(without_policy(&BTreeSet::new(), &[]).is_empty());
    }
}
