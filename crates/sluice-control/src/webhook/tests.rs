use serde_json::{Value, json};
use sluice_core::SystemClock;

use super::*;

fn review(object: Value, old: Value, operation: &str) -> AdmissionRequest {
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "r-1", "kind": {"group": "sluice.dev", "version": "v1alpha1", "kind": "GatewayPolicy"},
            "operation": operation, "name": "coder", "namespace": "agents",
            "userInfo": {"username": "eve@corp.example", "groups": ["sre"]}, "object": object, "oldObject": old,
        },
    });
    AdmissionRequest::parse(body.to_string().as_bytes()).unwrap()
}

fn webhook(folder: &std::path::Path) -> Webhook {
    let mut options = sluice_audit::TrailOptions::new(
        sluice_core::Workload::default(),
        "test",
        Arc::new(SystemClock::new()),
    );
    options.segment_bytes = 1 << 20;
    Webhook {
        settings: watch::channel(Arc::default()).1,
        authorities: watch::channel(Arc::default()).1,
        trail: Trail::open(folder, options).unwrap().0,
        metrics: Arc::default(),
    }
}

fn policy_leaves(folder: &std::path::Path) -> Vec<Value> {
    // Leaves are JSON in the segments: what lies between `{` and the next frame.
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let bytes = std::fs::read(path).unwrap();
            for start in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"{\"at\"")) {
                let mut values = serde_json::Deserializer::from_slice(&bytes[start..]).into_iter::<Value>();
                let leaf = values.next().unwrap().unwrap();
                if leaf["kind"] == "policy" {
                    found.push(leaf["body"].clone());
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn who_changed_which_policy_is_in_the_trail() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = webhook(folder.path());
    let spec = json!({"targets": [], "rules": []});
    let object = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "GatewayPolicy",
        "metadata": {"name": "coder", "namespace": "agents"}, "spec": spec,
    });
    webhook.validate(&review(object.clone(), Value::Null, "CREATE")).await;
    webhook.validate(&review(Value::Null, object.clone(), "DELETE")).await;
    let mut dry = review(object, Value::Null, "CREATE");
    dry.dry_run = Some(true);
    webhook.validate(&dry).await;
    webhook.trail.clone().end().await.unwrap();
    let leaves = policy_leaves(folder.path());
    assert_eq!(leaves.len(), 2, "{leaves:#?}");
    assert_eq!(leaves[0]["by"]["username"], "eve@corp.example");
    assert_eq!(leaves[0]["operation"], "CREATE");
    assert_eq!(leaves[0]["before"], Value::Null);
    assert_eq!(leaves[0]["changed"], true);
    assert_eq!(leaves[1]["before"], leaves[0]["spec"]);
    assert_eq!(leaves[1]["admitted"], true);
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = webhook(folder.path());
    webhook.trail.clone().end().await.unwrap();
    let answer = webhook.validate(&review(Value::Null, json!({"spec": {}}), "DELETE")).await;
    let admission::Answer::Refused(reasons) = answer else { panic!("{answer:?}") };
    assert!(reasons[0].contains("cannot be recorded"), "{reasons:?}");
}

#[tokio::test]
async fn nothing_is_injected_before_there_are_roots() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = webhook(folder.path());
    let answer = webhook.inject(&review(json!({}), Value::Null, "CREATE"), true);
    assert!(matches!(answer, admission::Answer::Refused(_)), "{answer:?}");
}
