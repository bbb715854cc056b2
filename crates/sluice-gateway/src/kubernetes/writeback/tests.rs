use http::{HeaderMap, HeaderValue, Method, Uri, header};
use sluice_mask::Marker;

use super::{check, guarded};
use crate::kubernetes::{attributes, body};

/// The code of the denial, or empty.
fn verdict(line: &str, kind: &'static str, body: &str, masked: bool) -> &'static str {
    let (method, uri) = line.split_once(' ').unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let mut request = attributes(&method.parse::<Method>().unwrap(), &uri.parse::<Uri>().unwrap(), &headers).unwrap();
    body::decode(&mut request, &headers, body.as_bytes()).unwrap();
    check(&request, body.as_bytes(), masked).err().map_or("", |reason| {
        assert!(!reason.message.is_empty() && !reason.fix.is_empty());
        reason.code
    })
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const ONE: &str = "PATCH /api/v1/namespaces/a/secrets/b";

#[test]
fn a_marker_is_never_written() {
    let marker = Marker::new(7);
    let text = String::from_utf8(marker.text().to_vec()).unwrap();
    for (line, kind, body) in [
        ("POST /api/v1/namespaces/a/configmaps", JSON, format!(r#"{{"data":{{"k":"{text}"}}}}"#)),
        ("POST /api/v1/namespaces/a/secrets", JSON, format!(r#"{{"data":{{"k":"{}"}}}}"#, marker.base64())),
        (
            "PUT /apis/apps/v1/namespaces/a/deployments/b",
            JSON,
            format!(r#"{{"env":[{{"value":"postgres://u:{text}@h"}}]}}"#),
        ),
        (ONE, MERGE, format!(r#"{{"stringData":{{"k":"{text}"}}}}"#)),
        (ONE, MERGE, r#"{"stringData":{"k":"\u0073luice-masked:00000007"}}"#.to_owned()),
        (ONE, APPLY, format!("stringData:\n  k: {text}\n")),
    ] {
        assert_eq!(verdict(line, kind, &body, true), "MaskMarker", "{body}");
        assert_eq!(verdict(line, kind, &body, false), "MaskMarker", "{body}");
    }
    assert_eq!(
        verdict(
            "DELETE /api/v1/namespaces/a/secrets/b",
            JSON,
            &format!(r#"{{"preconditions":{{"uid":"{text}"}}}}"#),
            true
        ),
        ""
    );
}

#[test]
fn a_marker_in_a_helm_release_is_found() {
    // base64(base64(gzip({"config":{"password":"sluice-masked:00000007"}}))), as Helm 3 stores a release.
    let release = include_str!("testdata/release.txt").trim();
    let body = format!(r#"{{"type":"helm.sh/release.v1","data":{{"release":"{release}"}}}}"#);
    assert_eq!(verdict("POST /api/v1/namespaces/a/secrets", JSON, &body, true), "MaskMarker");
}

#[test]
fn a_masked_secret_is_not_replaced_as_a_whole() {
    for (line, kind, body) in [
        ("PUT /api/v1/namespaces/a/secrets/b", JSON, r#"{"data":{"k":"eA=="}}"#),
        ("PUT /api/v1/namespaces/a/secrets/b", "application/vnd.kubernetes.protobuf", "k8s\0"),
        (ONE, APPLY, r#"{"data":{"k":"eA=="}}"#),
        (ONE, APPLY, "k: yes"),
        (ONE, MERGE, r#"{"data":null}"#),
        (ONE, MERGE, r#"{"stringData":[]}"#),
        (ONE, MERGE, r#"{"Data":null}"#),
        (ONE, MERGE, "null"),
        (ONE, MERGE, "[]"),
        (ONE, MERGE, r#"{"a":1,"a":2}"#),
        (ONE, STRATEGIC, r#"{"data":null}"#),
        (ONE, STRATEGIC, r#"{"$patch":"replace","data":{"k":"eA=="}}"#),
        (ONE, STRATEGIC, r#"{"data":{"$patch":"replace","k":"eA=="}}"#),
        (ONE, STRATEGIC, r#"{"$retainKeys":["metadata"]}"#),
        (ONE, PATCH, r#"[{"op":"replace","path":"","value":{}}]"#),
        (ONE, PATCH, r#"[{"op":"replace","path":"/data","value":{}}]"#),
        (ONE, PATCH, r#"[{"op":"add","path":"/stringData","value":{}}]"#),
        (ONE, PATCH, r#"[{"op":"remove","path":"/data"}]"#),
        (ONE, PATCH, r#"[{"op":"remove","path":"/metadata"}]"#),
        (ONE, PATCH, r#"[{"op":"replace","path":"x/data","value":{}}]"#),
        (ONE, PATCH, r#"[{"op":"frob","path":"/type"}]"#),
        (ONE, PATCH, r#"[{"path":"/type"}]"#),
        (ONE, PATCH, r#"{"data":{}}"#),
    ] {
        assert_eq!(verdict(line, kind, body, true), "MaskReplace", "{line} {body}");
        assert_eq!(verdict(line, kind, body, false), "", "{line} {body}");
    }
}

#[test]
fn a_json_patch_does_not_ask_for_values() {
    for body in [
        r#"[{"op":"test","path":"/data/k","value":"eA=="}]"#,
        r#"[{"op":"test","path":"/data","value":{}}]"#,
        r#"[{"op":"test","path":"","value":{}}]"#,
        r#"[{"op":"test","path":"/metadata/annotations/x","value":"y"}]"#,
        r#"[{"op":"copy","from":"/data/k","path":"/metadata/labels/k"}]"#,
        r#"[{"op":"move","from":"/data/k","path":"/data/l"}]"#,
        r#"[{"op":"copy","from":"/type","path":"/stringData/k"}]"#,
        r#"[{"op":"copy","from":"/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration","path":"/metadata/labels/k"}]"#,
        r#"[{"op":"copy","from":"/metadata","path":"/x"}]"#,
        r#"[{"op":"replace","path":"/data/k","value":"eA=="},{"op":"test","path":"/data/l","value":"eA=="}]"#,
    ] {
        assert_eq!(verdict(ONE, PATCH, body, true), "MaskProbe", "{body}");
        assert_eq!(verdict(ONE, PATCH, body, false), "", "{body}");
    }
}

#[test]
fn single_keys_are_written() {
    for (line, kind, body) in [
        ("POST /api/v1/namespaces/a/secrets", JSON, r#"{"data":{"k":"eA=="}}"#),
        (ONE, MERGE, r#"{"stringData":{"k":"x"},"metadata":{"labels":{"a":null}}}"#),
        (ONE, MERGE, r#"{"data":{"k":null}}"#),
        (
            ONE,
            STRATEGIC,
            r#"{"data":{"k":"eA=="},"metadata":{"$setElementOrder/finalizers":["a"],"finalizers":["a"]}}"#,
        ),
        (ONE, PATCH, r#"[{"op":"replace","path":"/data/k","value":"eA=="},{"op":"remove","path":"/stringData/l"}]"#),
        (
            ONE,
            PATCH,
            r#"[{"op":"test","path":"/metadata/resourceVersion","value":"7"},{"op":"add","path":"/metadata/annotations/a","value":"b"}]"#,
        ),
        ("PUT /api/v1/namespaces/a/configmaps/b", JSON, r#"{"data":{"k":"x"}}"#),
        ("PUT /apis/example.com/v1/namespaces/a/secrets/b", JSON, r#"{"data":{"k":"x"}}"#),
        ("PATCH /api/v1/namespaces/a/configmaps/b", APPLY, r#"{"data":{"k":"x"}}"#),
        ("DELETE /api/v1/namespaces/a/secrets/b", JSON, ""),
        ("GET /api/v1/namespaces/a/secrets/b", JSON, ""),
    ] {
        assert_eq!(verdict(line, kind, body, true), "", "{line} {body}");
    }
}

/// The answer to a dry run says whether anything would change.
#[test]
fn a_guess_at_a_masked_value_is_not_tried_dry() {
    let dry = "PATCH /api/v1/namespaces/a/secrets/b?dryRun=All";
    for (kind, body) in [
        (MERGE, r#"{"data":{"k":"Z3Vlc3M="}}"#),
        (MERGE, r#"{"metadata":{"labels":{"a":"b"}},"stringData":{"k":"guess"}}"#),
        (STRATEGIC, r#"{"data":{"k":"Z3Vlc3M="}}"#),
        (PATCH, r#"[{"op":"add","path":"/data/k","value":"Z3Vlc3M="}]"#),
        (PATCH, r#"[{"op":"replace","path":"/stringData/k","value":"guess"}]"#),
    ] {
        assert_eq!(verdict(dry, kind, body, true), "MaskProbe", "{body}");
        assert_eq!(verdict(ONE, kind, body, true), "", "{body}");
        assert_eq!(verdict(dry, kind, body, false), "", "{body}");
    }
    assert_eq!(verdict(dry, MERGE, r#"{"metadata":{"labels":{"a":"b"}}}"#, true), "");
    assert_eq!(verdict(dry, PATCH, r#"[{"op":"add","path":"/metadata/labels/a","value":"b"}]"#, true), "");
}

/// The body that is sent, where it is another than the given one.
fn sent(kind: &'static str, body: &str) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let uri = Uri::from_static("/api/v1/namespaces/a/secrets/b");
    let mut request = attributes(&Method::PATCH, &uri, &headers).unwrap();
    body::decode(&mut request, &headers, body.as_bytes()).unwrap();
    check(&request, body.as_bytes(), true).unwrap();
    guarded(&request, body.as_bytes()).map(|body| String::from_utf8(body.to_vec()).unwrap())
}

/// An immutable Secret would answer 200 to its own value and 422 to any other.
#[test]
fn an_immutable_secret_does_not_tell_a_right_guess() {
    for (kind, body, expected) in [
        (MERGE, r#" {"stringData":{"k":"guess"}}"#, r#" {"immutable":null,"stringData":{"k":"guess"}}"#),
        (STRATEGIC, r#"{"data":{"k":"Zw=="}}"#, r#"{"immutable":null,"data":{"k":"Zw=="}}"#),
        (
            PATCH,
            r#"[{"op":"replace","path":"/data/k","value":"Zw=="}]"#,
            r#"[{"op":"add","path":"/immutable","value":null},{"op":"replace","path":"/data/k","value":"Zw=="}]"#,
        ),
    ] {
        let guarded = sent(kind, body).unwrap();
        assert_eq!(guarded, expected);
        serde_json::from_str::<serde_json::Value>(&guarded).unwrap();
    }
    for (kind, body) in [
        (MERGE, r#"{"metadata":{"labels":{"a":"b"}}}"#),
        (MERGE, r#"{"immutable":true}"#),
        (PATCH, r#"[{"op":"add","path":"/immutable","value":true}]"#),
    ] {
        assert_eq!(sent(kind, body), None, "{body}");
    }
    for (kind, body) in [
        (MERGE, r#"{"immutable":true,"data":{"k":"Zw=="}}"#),
        (STRATEGIC, r#"{"Immutable":true,"stringData":{"k":"g"}}"#),
        (PATCH, r#"[{"op":"add","path":"/data/k","value":"Zw=="},{"op":"add","path":"/immutable","value":true}]"#),
        (PATCH, r#"[{"op":"add","path":"/data/k","value":"Zw=="},{"op":"copy","path":"/immutable","from":"/x"}]"#),
    ] {
        assert_eq!(verdict(ONE, kind, body, true), "MaskProbe", "{body}");
        assert_eq!(verdict(ONE, kind, body, false), "", "{body}");
    }
}
