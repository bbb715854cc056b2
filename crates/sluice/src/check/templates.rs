//! What pods are made from, where it asks for the gateway in vain.

use serde_json::Value;
use sluice_k8s::inject::{Misplaced, misplaced, template_of};
use sluice_k8s::names;

use super::finding::Finding;

/// Kinds that people write, and where they are listed.
pub(super) const KINDS: [(&str, &str); 5] = [
    ("Deployment", "/apis/apps/v1/deployments"),
    ("StatefulSet", "/apis/apps/v1/statefulsets"),
    ("DaemonSet", "/apis/apps/v1/daemonsets"),
    ("CronJob", "/apis/batch/v1/cronjobs"),
    ("Job", "/apis/batch/v1/jobs"),
];

/// One whose request nobody reads.
#[derive(Debug, Clone)]
pub(super) struct Unheard {
    /// `Deployment agents/coder`.
    object: String,
    misplaced: Misplaced,
}

/// Looks at one object; what a CronJob made is as that.
pub(super) fn unheard(kind: &str, object: &Value) -> Option<Unheard> {
    if object.pointer("/metadata/ownerReferences").is_some() {
        return None;
    }
    let text = |field: &str| object.pointer(field).and_then(Value::as_str).unwrap_or_default();
    let name = format!("{kind} {}/{}", text("/metadata/namespace"), text("/metadata/name"));
    Some(Unheard { object: name, misplaced: misplaced(object, template_of(kind)?)? })
}

/// All of them.
pub(super) fn templates(unheard: &[Unheard]) -> Vec<Finding> {
    let finding = |Unheard { object, misplaced: Misplaced { from, to } }: &Unheard| {
        let what =
            format!("has {} in {from}, where nobody reads it: its pods do not ask for the gateway", names::INJECT);
        Finding::warning(object, what, format!("move it to {to}"))
    };
    unheard.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_asks_in_vain_is_told_where_to_ask() {
        let mut object = json!({
            "metadata": {"name": "coder", "namespace": "agents", "annotations": {names::INJECT: "enabled"}},
            "spec": {"template": {"metadata": {"labels": {"app": "coder"}}}},
        });
        let found: Vec<Unheard> = unheard("Deployment", &object).into_iter().collect();
        let [finding] = templates(&found).try_into().expect("one");
        assert_eq!(finding.object, "Deployment agents/coder");
        assert!(finding.what.contains("in metadata.annotations"), "{}", finding.what);
        assert_eq!(finding.fix, "move it to spec.template.metadata.annotations");
        object["spec"]["template"]["metadata"]["annotations"] = json!({names::INJECT: "enabled"});
        assert!(unheard("Deployment", &object).is_none());
    }
}
