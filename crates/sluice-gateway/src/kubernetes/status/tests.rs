use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use sluice_core::kubernetes::Request;
use sluice_policy::{Reason, RuleRef, code};

use super::{Status, described};
use crate::kubernetes::{Reject, attributes};

fn request(line: &str) -> Request {
    let (method, uri) = line.split_once(' ').unwrap();
    attributes(&method.parse::<Method>().unwrap(), &uri.parse::<Uri>().unwrap(), &HeaderMap::new()).unwrap()
}

fn body(status: &Status) -> Value {
    serde_json::from_slice(status.response().body()).unwrap()
}

#[test]
fn golden_a_denial() {
    let reason = Reason {
        code: code::RULE_DENIED,
        rule: Some(RuleRef { policy: "agents/coding-agents".into(), rule: "never-delete".into() }),
        message: "Deployments are removed by the release pipeline".into(),
        fix: "Open a change in the deploy repository".into(),
        near_misses: vec![],
    };
    let status = Status::denied(&request("DELETE /apis/apps/v1/namespaces/prod/deployments/web"), &reason);
    assert_eq!(
        body(&status),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden", "code": 403,
            "message": "sluice denies delete deployments.apps \"web\" in namespace \"prod\" by rule \"never-delete\" of policy \"agents/coding-agents\": \
                        Deployments are removed by the release pipeline. Open a change in the deploy repository.",
            "details": {
                "name": "web", "group": "apps", "kind": "deployments",
                "causes": [
                    {"reason": "SluiceCode", "message": "RuleDenied"},
                    {"reason": "SluicePolicy", "message": "agents/coding-agents"},
                    {"reason": "SluiceRule", "message": "never-delete"},
                    {"reason": "SluiceFix", "message": "Open a change in the deploy repository"},
                ],
            },
        })
    );
    let response = status.response();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["content-length"].to_str().unwrap(), response.body().len().to_string());
}

#[test]
fn a_denial_without_a_rule_tells_near_misses() {
    let reason = Reason {
        code: code::NO_RULE,
        rule: None,
        message: "no Allow covers it.".into(),
        fix: String::new(),
        near_misses: vec!["rule look-around: namespace \"prod\" is not in [dev, staging]".into()],
    };
    let status = Status::denied(&request("GET /api/v1/namespaces/prod/pods"), &reason);
    assert_eq!(status.message(), "sluice denies list pods in namespace \"prod\": no Allow covers it.");
    assert_eq!(
        body(&status)["details"],
        json!({"kind": "pods", "causes": [
            {"reason": "SluiceCode", "message": "NoRule"},
            {"reason": "SluiceNearMiss", "message": "rule look-around: namespace \"prod\" is not in [dev, staging]"},
        ]})
    );
}

#[test]
fn what_is_asked_is_said_in_words() {
    for (line, words) in [
        ("GET /version", "get /version"),
        ("GET /api/v1/namespaces/prod", "get namespaces \"prod\""),
        ("GET /api/v1/nodes", "list nodes"),
        ("GET /api/v1/namespaces/a/pods/b/log", "get pods/log \"b\" in namespace \"a\""),
        ("GET /api/v1/namespaces/a/pods/b/exec", "create pods/exec \"b\" in namespace \"a\""),
    ] {
        assert_eq!(described(&request(line)), words);
    }
}

#[test]
fn a_refusal_keeps_its_code_and_says_what_to_do() {
    let reject =
        Reject::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type is \"x\"", "Send application/json.");
    let status = Status::from(&reject);
    assert_eq!(status.code(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(status.message(), "sluice refuses the request: the Content-Type is \"x\". Send application/json.");
    assert_eq!(body(&status)["reason"], "UnsupportedMediaType");
}

#[test]
fn a_withheld_answer_says_what_happened() {
    let read = Status::withheld(
        &request("GET /api/v1/namespaces/a/secrets/b"),
        StatusCode::OK,
        "its Content-Type is application/yaml",
    );
    assert_eq!(read.code(), StatusCode::BAD_GATEWAY);
    assert!(
        read.message().contains("the API server answered it with 200, but its Content-Type is application/yaml"),
        "{}",
        read.message()
    );
    let write =
        Status::withheld(&request("POST /api/v1/namespaces/a/secrets"), StatusCode::CREATED, "it has no Content-Type");
    assert!(write.message().contains("carried it out with 201"), "{}", write.message());
    let busy = Status::withheld(
        &request("GET /api/v1/secrets"),
        StatusCode::TOO_MANY_REQUESTS,
        "its Content-Type is text/plain",
    );
    assert_eq!(busy.code(), StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn headers_that_go_with_a_code() {
    let busy = Status::new(StatusCode::TOO_MANY_REQUESTS, "slow down").retry_after(7);
    assert_eq!(busy.response().headers()["retry-after"], "7");
    assert_eq!(body(&busy)["details"]["retryAfterSeconds"], 7);
    assert!(
        Status::new(StatusCode::UNAUTHORIZED, "who are you?").response().headers().contains_key("www-authenticate")
    );
    assert!(body(&Status::new(StatusCode::SERVICE_UNAVAILABLE, "x")).get("details").is_none());
}

#[test]
fn what_kubectl_would_swallow_is_a_warning_too() {
    let warning = |code, message: &str| {
        let response = Status::new(code, message).response();
        response.headers().get("warning").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(
        warning(StatusCode::UNAUTHORIZED, r#"sluice: iss is "a\n"…"#).as_deref(),
        Some(r#"299 - "sluice: iss is \"a\\n\"?""#)
    );
    assert!(warning(StatusCode::SERVICE_UNAVAILABLE, &"x\n".repeat(10_000)).unwrap().len() < 1100);
    assert_eq!(warning(StatusCode::FORBIDDEN, "sluice denies get /version"), None);
}
