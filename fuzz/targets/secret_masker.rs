//! One byte that says how to cut, then a document: any cut gives the same, what
//! is accepted is accepted again and stays JSON, nothing below `data` is shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sluice_mask::{Marker, secrets::Masker};

fuzz_target!(|input: &[u8]| {
    let Some((cut, document)) = input.split_first() else { return };
    let whole = mask(document, document.len().max(1));
    assert_eq!(mask(document, usize::from(*cut).max(1)), whole);
    let Some(out) = whole else { return };
    assert!(mask(&out, usize::MAX).is_some());
    if serde_json::from_slice::<Value>(document).is_ok() {
        let shown: Value = serde_json::from_slice(&out).expect("masked JSON is JSON");
        for key in ["data", "stringData"] {
            assert!(shown.get(key).is_none_or(hidden));
        }
    }
});

fn mask(document: &[u8], step: usize) -> Option<Vec<u8>> {
    let mut masker = Masker::new(Marker::new(0x2a));
    let mut out = Vec::new();
    for chunk in document.chunks(step) {
        masker.push(chunk, &mut out).ok()?;
    }
    masker.finish().ok().map(|_| out)
}

fn hidden(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text == "sluice-masked:0000002a" || *text == Marker::new(0x2a).base64(),
        Value::Array(values) => values.iter().all(hidden),
        Value::Object(members) => members.values().all(hidden),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
