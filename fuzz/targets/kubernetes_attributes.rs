//! `METHOD URI`, a line break, a Content-Type: attributes never panic, and
//! what they accept names parts of the path that was sent.
#![no_main]

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use libfuzzer_sys::fuzz_target;
use sluice_gateway::kubernetes::attributes;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (line, kind) = text.split_once('\n').unwrap_or((text, ""));
    let Some((method, uri)) = line.split_once(' ') else { return };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), uri.parse::<Uri>()) else { return };
    let mut headers = HeaderMap::new();
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    let Ok(request) = attributes(&method, &uri, &headers) else { return };
    assert!(!request.verb.is_empty());
    if let Some(resource) = request.resource() {
        assert!(!resource.resource.is_empty());
        for part in [
            Some(&resource.resource),
            resource.subresource.as_ref(),
            resource.namespace.as_ref(),
            resource.name.as_ref(),
        ] {
            assert!(part.is_none_or(|part| !part.is_empty() && part != ".." && !part.contains('/')));
        }
    }
});
