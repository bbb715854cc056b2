//! What policy allows arrives as it would without the gateway: writes.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sluice_testkit::{Namespace, Protocol, Request, Response, Seat};

use crate::transparency::headers;
use crate::world::{EVERYTHING, Real};

seats!(writes_on_http1, writes_on_http2);

fn writes_on_http1(seat: Seat) -> Result<()> {
    writes(seat, Protocol::Http1)
}

fn writes_on_http2(seat: Seat) -> Result<()> {
    writes(seat, Protocol::Http2)
}

/// The same writes in two namespaces, whose names are of one length.
fn writes(seat: Seat, protocol: Protocol) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let one = real.cluster.namespace()?;
    let other = real.cluster.namespace()?;
    let mut direct = real.cluster.direct(seat, protocol)?;
    let mut through = real.client(protocol)?;
    let (ours, theirs) = (requests(&one), requests(&other));
    assert!(ours.len() >= 15, "{} writes", ours.len());
    for (mine, yours) in ours.into_iter().zip(theirs) {
        let what = format!("{} {}", mine.method, mine.path);
        let expected = direct.send(&mine.bearer(&real.token)).with_context(|| format!("direct: {what}"))?;
        let got = through.send(&yours.bearer(&real.token)).with_context(|| format!("through: {what}"))?;
        assert_eq!(got.status, expected.status, "{what}: {}", got.text());
        assert_eq!(comparable_headers(&got), comparable_headers(&expected), "{what}");
        assert_eq!(normal(&got, &other), normal(&expected, &one), "{what}");
    }
    Ok(())
}

/// A length differs with the digits of a version; it must be there, and true.
fn comparable_headers(response: &Response) -> Vec<(String, String)> {
    let mut headers = headers(response);
    for (name, value) in &mut headers {
        if name == "content-length" {
            assert_eq!(*value, response.body.len().to_string(), "a false content-length");
            "as the body".clone_into(value);
        }
    }
    headers
}

/// The body with what differs between two objects of one shape made neutral.
fn normal(response: &Response, namespace: &Namespace) -> String {
    let text = match serde_json::from_slice::<Value>(&response.body) {
        Ok(mut value) => {
            reduce(&mut value);
            value.to_string()
        }
        Err(_) => response.text(),
    };
    without_version(&text).replace(&namespace.name, "NAMESPACE")
}

/// A message of the API server that names a stored version.
fn without_version(text: &str) -> String {
    match text.split_once("in record (") {
        Some((before, rest)) => {
            format!("{before}in record {}", rest.trim_start_matches(|digit: char| digit.is_ascii_digit()))
        }
        None => text.to_owned(),
    }
}

fn reduce(value: &mut Value) {
    const VOLATILE: &[&str] =
        &["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "time", "clusterIP", "clusterIPs"];
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if VOLATILE.contains(&name.as_str()) {
                    *field = Value::from("volatile");
                } else {
                    reduce(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(reduce),
        _ => {}
    }
}

fn requests(namespace: &Namespace) -> Vec<Request> {
    let maps = namespace.core("configmaps");
    let one = namespace.core("configmaps/one");
    let deployments = namespace.group("apps/v1", "deployments");
    let map = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"made-by": "e2e"}}, "data": {"key": "value ☃"},
        })
    };
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "idle"}},
            "template": {
                "metadata": {"labels": {"app": "idle"}},
                "spec": {"containers": [{"name": "idle", "image": "sluice.test/busybox:1"}]},
            },
        },
    });
    let post = |path: &str, body: &Value| Request::new("POST", path).json(body);
    let patch = |path: &str, kind: &str, body: &str| {
        Request::new("PATCH", path).body(&format!("application/{kind}"), body.to_owned())
    };
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": namespace.name, "verb": "get", "resource": "pods"}},
    });
    vec![
        post(&maps, &map("one")),
        post(&maps, &map("one")),
        post(&maps, &map("Not_A_Name")),
        post(&format!("{maps}?dryRun=All&fieldManager=e2e"), &map("dry")),
        post(
            &format!("{maps}?fieldValidation=Strict"),
            &json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}, "dta": {}}),
        ),
        Request::new("POST", maps.clone()).body(
            "application/yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two, labels: {made-by: e2e}}\n",
        ),
        Request::new("PUT", one.clone()).json(&map("one")),
        Request::new("PUT", one.clone()).json(&map("another")),
        patch(&one, "merge-patch+json", r#"{"data": {"merged": "yes"}}"#),
        patch(&one, "json-patch+json", r#"[{"op": "add", "path": "/data/json", "value": "yes"}]"#),
        patch(&one, "json-patch+json", r#"[{"op": "test", "path": "/data/json", "value": "no"}]"#),
        patch(&one, "strategic-merge-patch+json", r#"{"metadata": {"labels": {"strategic": "yes"}}}"#),
        patch(
            &format!("{}?fieldManager=e2e&force=true", namespace.core("configmaps/applied")),
            "apply-patch+yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied, labels: {made-by: e2e}}\ndata: {a: b}\n",
        ),
        post(&deployments, &deployment),
        patch(&format!("{deployments}/idle/scale"), "merge-patch+json", r#"{"spec": {"replicas": 0}}"#),
        post(
            &namespace.core("services"),
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "idle"}, "spec": {"ports": [{"port": 80}]}}),
        ),
        post(
            &namespace.core("serviceaccounts"),
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}),
        ),
        post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review),
        post(
            &namespace.core("pods/absent/eviction"),
            &json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "absent"}}),
        ),
        post("/api/v1/namespaces", &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "not-mine"}})),
        Request::new("DELETE", one.clone())
            .json(&json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": "1"}})),
        Request::new("DELETE", one.clone())
            .json(&json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]})),
        Request::new("DELETE", one.clone()),
        Request::new("DELETE", one),
        Request::new("DELETE", format!("{maps}?labelSelector=made-by%3De2e")),
    ]
}
