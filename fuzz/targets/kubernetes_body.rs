//! One byte that chooses verb and form, then a body: decoding and the check of
//! write-back never panic, and a delete is a dry run only if its body says so.
#![no_main]

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use libfuzzer_sys::fuzz_target;
use sluice_gateway::kubernetes::{attributes, body, writeback};

const FORMS: [(&str, &str); 8] = [
    ("POST", "application/json"),
    ("POST", "application/yaml"),
    ("POST", "application/vnd.kubernetes.protobuf"),
    ("DELETE", "application/json"),
    ("DELETE", "application/vnd.kubernetes.protobuf"),
    ("PATCH", "application/json-patch+json"),
    ("PATCH", "application/strategic-merge-patch+json"),
    ("PATCH", "application/apply-patch+yaml"),
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, body)) = input.split_first() else { return };
    let (method, kind) = FORMS[usize::from(*choice) % FORMS.len()];
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let uri = Uri::from_static("/api/v1/namespaces/a/secrets/b?dryRun=All");
    let Ok(method) = method.parse::<Method>() else { return };
    let Ok(mut request) = attributes(&method, &uri, &headers) else { return };
    if body::decode(&mut request, &headers, body).is_err() {
        return;
    }
    if request.dry_run && method == Method::DELETE && !body.is_empty() {
        assert!(request.object.known().and_then(Option::as_ref).is_some_and(|options| options["dryRun"][0] == "All"));
    }
    let marked = sluice_mask::contains_marker(body);
    let check = writeback::check(&request, body, true);
    assert!(!marked || check.is_err() || method == Method::DELETE);
});
