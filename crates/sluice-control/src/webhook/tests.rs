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
    let mut options =
        sluice_audit::TrailOptions::new(sluice_core::Workload::default(), "test", Arc::new(SystemClock::new()));
    options.segment_bytes = 1 << 20;
    Webhook {
        settings: watch::channel(Arc::default()).1,
        authorities: watch::channel(Arc::default()).1,
        callers: watch::channel(Arc::default()).1,
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
async fn nobody_but_the_api_server_says_that_a_policy_changed() {
    let folder = tempfile::tempdir().unwrap();
    let none = webhook(folder.path());
    assert_eq!(none.asked("/validate/"), None, "there is no key yet");
    let hour = std::time::Duration::from_secs(3600);
    let authority = || crate::certificates::Authority::create("CA", jiff::Timestamp::now(), hour).unwrap();
    let (before, present) = (authority(), authority());
    let paths = [&before, &present].map(caller::path);
    let webhook = Webhook { callers: watch::channel(Arc::new(Authorities::new(vec![before, present]))).1, ..none };
    for path in &paths {
        assert_eq!(webhook.asked(path), Some(VALIDATE_PATH));
        assert_eq!(webhook.asked(&format!("{path}0")), None);
    }
    let another = caller::path(&authority());
    for path in ["/validate", "/validate/", "/", "", another.as_str()] {
        assert_eq!(webhook.asked(path), None, "{path}");
    }
    assert_eq!(webhook.asked("/inject"), Some(INJECT_PATH));
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

const ROOT: &str = "-----BEGIN CERTIFICATE-----";

fn pod_review(pod: Value) -> AdmissionRequest {
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "r-2", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "namespace": "agents", "userInfo": {"username": "ada"}, "object": pod, "oldObject": null,
        },
    });
    AdmissionRequest::parse(body.to_string().as_bytes()).unwrap()
}

fn asking() -> Value {
    json!({
        "metadata": {"name": "coder", "annotations": {"sluice.dev/inject": "enabled"}},
        "spec": {"containers": [{"name": "agent", "image": "i"}]},
    })
}

fn with_roots(webhook: Webhook) -> Webhook {
    let now = jiff::Timestamp::now();
    let authority = crate::certificates::Authority::create("CA", now, std::time::Duration::from_secs(3600)).unwrap();
    Webhook { authorities: watch::channel(Arc::new(Authorities::new(vec![authority]))).1, ..webhook }
}

#[tokio::test]
async fn a_pod_that_asks_gets_a_gateway_that_knows_the_live_roots() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = with_roots(webhook(folder.path()));
    let answer = webhook.inject(&pod_review(asking()), false);
    let admission::Answer::Allowed { patch, .. } = answer else { panic!("{answer:?}") };
    let patch = serde_json::to_string(&patch).unwrap();
    assert!(patch.contains("sluice-gateway") && patch.contains("SLUICE_ROOTS") && patch.contains(ROOT), "{patch}");
    let silent = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
    let answer = webhook.inject(&pod_review(silent.clone()), false);
    assert!(matches!(&answer, admission::Answer::Allowed { patch, .. } if patch.is_empty()), "{answer:?}");
    let answer = webhook.inject(&pod_review(silent), true);
    assert!(matches!(&answer, admission::Answer::Allowed { patch, .. } if !patch.is_empty()), "{answer:?}");
}

#[tokio::test]
async fn a_pod_that_would_get_around_us_is_refused_with_the_field_and_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = with_roots(webhook(folder.path()));
    let mut pod = asking();
    pod["spec"]["hostNetwork"] = json!(true);
    pod["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    let request = pod_review(pod);
    let review = webhook.inject(&request, false).review(&request);
    assert_eq!(review["response"]["allowed"], false);
    assert_eq!(review["response"]["uid"], "r-2");
    let said = review["response"]["status"]["message"].as_str().unwrap();
    assert!(said.contains("spec.hostNetwork") && said.contains("privileged"), "{said}");
    assert!(said.starts_with("sluice: "), "{said}");
}

#[tokio::test]
async fn a_policy_that_does_not_compile_is_refused_and_the_refusal_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let webhook = webhook(folder.path());
    let object = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "GatewayPolicy",
        "metadata": {"name": "coder", "namespace": "agents"},
        "spec": {
            "identity": {"workload": "Allowed"},
            "targets": [{"name": "aks", "kubernetes": {"server": "aks.example"}}],
            "rules": [{
                "name": "look", "subjects": {"anyone": true}, "targets": ["aksx"], "action": "Allow",
                "kubernetes": {"verbs": ["get"], "resources": ["pods"], "namespaces": ["dev"]},
            }],
        },
    });
    let answer = webhook.validate(&review(object, Value::Null, "CREATE")).await;
    let admission::Answer::Refused(reasons) = &answer else { panic!("{answer:?}") };
    assert!(reasons.iter().any(|one| one.contains("spec.rules[0].targets") && one.contains("aks")), "{reasons:?}");
    webhook.trail.clone().end().await.unwrap();
    let leaves = policy_leaves(folder.path());
    assert_eq!(leaves.len(), 1, "{leaves:#?}");
    assert_eq!((&leaves[0]["admitted"], &leaves[0]["by"]["groups"]), (&json!(false), &json!(["sre"])));
    assert!(leaves[0]["why"].as_str().unwrap().contains("spec.rules[0].targets"), "{leaves:#?}");
}

#[test]
fn a_leaf_names_contents_by_their_digest_and_says_nothing_of_them() {
    let object = json!({"metadata": {"name": "coder"}, "spec": {"secret": "hunter2"}});
    let mut same = object.clone();
    same["metadata"]["labels"] = json!({"a": "b"});
    let request = review(same, object, "UPDATE");
    let record = leaf(&request, &admission::Answer::Allowed { patch: vec![], warnings: vec![] });
    let said = format!("{record:?}");
    assert!(!said.contains("hunter2"), "{said}");
    assert!(said.contains("eve@corp.example") && said.contains("changed"), "{said}");
}
