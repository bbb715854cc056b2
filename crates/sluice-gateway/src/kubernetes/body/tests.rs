use http::{HeaderMap, HeaderValue, Method, Uri, header};
use proptest::prelude::*;
use serde_json::json;
use sluice_core::Fact;
use sluice_core::kubernetes::Request;

use super::{LIMIT, decode};
use crate::kubernetes::{Reject, attributes};

fn read(line: &str, kind: &str, body: &[u8]) -> Result<Request, Reject> {
    let (method, uri) = line.split_once(' ').unwrap();
    let mut headers = HeaderMap::new();
    if !kind.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
    }
    let mut request = attributes(&method.parse::<Method>().unwrap(), &uri.parse::<Uri>().unwrap(), &headers)?;
    decode(&mut request, &headers, body)?;
    Ok(request)
}

const CREATE: &str = "POST /api/v1/namespaces/a/pods";
const DELETE: &str = "DELETE /api/v1/namespaces/a/pods/b";
const DRY_DELETE: &str = "DELETE /api/v1/namespaces/a/pods/b?dryRun=All";

#[test]
fn objects_are_read_by_content_type() {
    let object = json!({"kind": "Pod", "spec": {"containers": [{"name": "a"}]}});
    let text = object.to_string();
    for kind in ["", "application/json", "application/json; charset=utf-8", "Application/JSON", "application/yaml"] {
        assert_eq!(read(CREATE, kind, text.as_bytes()).unwrap().object, Fact::Known(Some(object.clone())), "{kind}");
    }
    let yaml = b"kind: Pod\nspec:\n  containers:\n  - name: a\n";
    assert_eq!(read(CREATE, "application/yaml", yaml).unwrap().object, Fact::Known(Some(object.clone())));
    assert!(read(CREATE, "application/json", yaml).unwrap().object.known().is_none());
    for kind in ["application/vnd.kubernetes.protobuf", "application/cbor"] {
        assert!(read(CREATE, kind, b"k8s\0").unwrap().object.known().is_none(), "{kind}");
    }
    assert_eq!(read(CREATE, "", b"").unwrap().object, Fact::Known(None));
}

#[test]
fn patches_are_read_by_their_own_types() {
    let line = "PATCH /api/v1/namespaces/a/pods/b";
    let patch = json!([{"op": "remove", "path": "/spec/x"}]);
    assert_eq!(
        read(line, "application/json-patch+json", patch.to_string().as_bytes()).unwrap().object,
        Fact::Known(Some(patch))
    );
    assert_eq!(
        read(line, "application/apply-patch+yaml", b"kind: Pod\n").unwrap().object,
        Fact::Known(Some(json!({"kind": "Pod"})))
    );
    assert!(read(line, "application/merge-patch+json", b"kind: Pod\n").unwrap().object.known().is_none());
    assert!(read(line, "application/apply-patch+cbor", b"{}").unwrap().object.known().is_none());
}

#[test]
fn delete_options_in_a_body_replace_those_in_the_query() {
    let proto = b"k8s\0\x12\x05\x2a\x03All";
    let protobuf = "application/vnd.kubernetes.protobuf";
    for (line, kind, body, dry_run) in [
        (DELETE, "", &b""[..], false),
        (DRY_DELETE, "", b"", true),
        (DELETE, "", br#"{"dryRun":["All"]}"#, true),
        (DELETE, "", br#"{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All","All"]}"#, true),
        (DRY_DELETE, "", b"{}", false),
        (DRY_DELETE, "", br#"{"dryRun":[]}"#, false),
        (DRY_DELETE, "", br#"{"dryRun":null}"#, false),
        (DRY_DELETE, "", br#"{"DryRun":["All"]}"#, false),
        (DRY_DELETE, "", br#"{"gracePeriodSeconds":0}"#, false),
        // Not known to be a dry run: it is none.
        (DRY_DELETE, "", br#"{"dryRun":["All"],"dryRun":[]}"#, false),
        (DRY_DELETE, "", b"not json", false),
        (DELETE, "application/yaml", b"dryRun: [All]\n", true),
        (DELETE, protobuf, proto, true),
        (DRY_DELETE, protobuf, b"k8s\0", false),
        (DRY_DELETE, protobuf, b"\xff", false),
        ("DELETE /api/v1/namespaces/a/pods?dryRun=All", "", b"{}", false),
        ("DELETE /api/v1/namespaces/a/pods", "", br#"{"dryRun":["All"]}"#, true),
        // Options of other verbs are in the query alone.
        ("POST /api/v1/namespaces/a/pods?dryRun=All", "", br#"{"dryRun":[]}"#, true),
        (CREATE, "", br#"{"dryRun":["All"]}"#, false),
    ] {
        assert_eq!(read(line, kind, body).unwrap().dry_run, dry_run, "{line} {}", String::from_utf8_lossy(body));
    }
    for body in [r#"{"dryRun":"All"}"#, r#"{"dryRun":["all"]}"#, r#"{"dryRun":true}"#] {
        let reject = read(DELETE, "", body.as_bytes()).unwrap_err();
        assert!(reject.to_string().contains("dryRun"), "{reject}");
    }
}

#[test]
fn ambiguous_forms_are_refused() {
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json-patch+json",
        "application/json, application/yaml",
    ] {
        assert_eq!(read(CREATE, kind, b"{}").unwrap_err().code, 415, "{kind}");
    }
    assert_eq!(read(CREATE, "", &vec![b' '; LIMIT + 1]).unwrap_err().code, 413);

    let mut headers = HeaderMap::new();
    headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    let mut request = attributes(&Method::POST, &Uri::from_static("/api/v1/pods"), &headers).unwrap();
    assert_eq!(decode(&mut request, &headers, b"{}").unwrap_err().code, 400);

    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert_eq!(decode(&mut request, &headers, b"{}").unwrap_err().code, 415);
}

proptest! {
    #![proptest_config(crate::kubernetes::fixed_cases())]

    #[test]
    fn any_body_is_read_without_a_panic(body in any::<Vec<u8>>(), kind in prop_oneof![
        Just("application/json"), Just("application/yaml"), Just("application/vnd.kubernetes.protobuf"),
    ]) {
        let sealed = [b"k8s\0\x12", &[u8::try_from(body.len().min(127)).unwrap_or(0)][..], &body].concat();
        for line in [CREATE, DELETE] {
            let _ = read(line, kind, &body);
            let _ = read(line, kind, &sealed);
        }
    }

    #[test]
    fn text_is_read_without_a_panic(body in "[ -~\n]{0,60}") {
        let _ = read(CREATE, "application/yaml", body.as_bytes());
    }
}
