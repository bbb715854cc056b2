use base64::Engine;
use serde_json::json;

use super::*;
use crate::patch::apply;

fn request(operation: &str, object: Value) -> AdmissionRequest {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "0000", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": "agents",
            "operation": operation, "userInfo": {"username": "ada", "groups": ["g"]}, "object": object,
            "oldObject": null, "dryRun": true, "options": {},
        },
    });
    AdmissionRequest::parse(review.to_string().as_bytes()).expect("a request")
}

fn asking() -> Value {
    json!({
        "metadata": {"generateName": "coder-", "annotations": {"sluice.dev/inject": "enabled"}},
        "spec": {"containers": [{"name": "agent", "image": "i"}]},
    })
}

#[test]
fn a_pod_that_asks_is_patched() {
    let request = request("CREATE", asking());
    let settings = InjectionSettings::default();
    let review = pod(&request, false, &settings).review(&request);
    assert_eq!(review["response"]["allowed"], json!(true));
    assert_eq!(review["response"]["uid"], json!("0000"));
    assert_eq!(review["response"]["patchType"], json!("JSONPatch"));
    let patch = base64::engine::general_purpose::STANDARD
        .decode(review["response"]["patch"].as_str().expect("a patch"))
        .expect("base64");
    let patch: Vec<Value> = serde_json::from_slice(&patch).expect("JSON");
    assert!(patch.iter().all(|one| one["path"].as_str().is_some_and(|path| !path.is_empty())), "{patch:?}");

    let Answer::Allowed { patch, .. } = pod(&request, false, &settings) else { panic!("refused") };
    let patched = apply(&request.object, &patch).expect("a patch that fits");
    let expected = inject::inject(&request.object, Placement::default(), &settings).expect("injected");
    assert_eq!(patched, expected);
}

#[test]
fn an_injected_pod_is_left_alone() {
    let settings = InjectionSettings::default();
    let injected = inject::inject(&asking(), Placement::default(), &settings).expect("injected");
    assert_eq!(pod(&request("CREATE", injected), false, &settings), Answer::allowed());
}

#[test]
fn only_a_required_namespace_injects_unasked() {
    let silent = json!({"metadata": {}, "spec": {"containers": [{"name": "agent", "image": "i"}]}});
    let settings = InjectionSettings::default();
    assert_eq!(pod(&request("CREATE", silent.clone()), false, &settings), Answer::allowed());
    assert!(
        matches!(pod(&request("CREATE", silent), true, &settings), Answer::Allowed { patch, .. } if !patch.is_empty())
    );
    assert_eq!(pod(&request("UPDATE", asking()), true, &settings), Answer::allowed());
}

#[test]
fn refusals_are_all_told() {
    let mut object = asking();
    object["spec"]["hostNetwork"] = json!(true);
    object["spec"]["hostPID"] = json!(true);
    let request = request("CREATE", object);
    let review = pod(&request, false, &InjectionSettings::default()).review(&request);
    assert_eq!(review["response"]["allowed"], json!(false));
    let message = review["response"]["status"]["message"].as_str().expect("a message");
    assert!(message.contains("spec.hostNetwork") && message.contains("spec.hostPID"), "{message}");
}

#[test]
fn other_reviews_are_not_read() {
    for body in ["", "{}", "[]", r#"{"apiVersion":"admission.k8s.io/v1"}"#] {
        assert!(matches!(AdmissionRequest::parse(body.as_bytes()), Err(Malformed::Json(_))), "{body}");
    }
    let old = r#"{"apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"1","kind":{"version":"v1","kind":"Pod"},"operation":"CREATE"}}"#;
    assert!(matches!(AdmissionRequest::parse(old.as_bytes()), Err(Malformed::Version(_))));
}
