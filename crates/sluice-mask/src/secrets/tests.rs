use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Masker, NotMaskable};
use crate::Marker;

const TEXT: &str = "sluice-masked:0000002a";
const BASE64: &str = "c2x1aWNlLW1hc2tlZDowMDAwMDAyYQ==";

fn masked(input: &str) -> Result<(String, u64), NotMaskable> {
    let mut out = Vec::new();
    let mut masker = Masker::new(Marker::new(0x2a));
    masker.push(input.as_bytes(), &mut out)?;
    let values = masker.finish()?;
    Ok((String::from_utf8(out).unwrap(), values))
}

/// What is expected is written with `T` and `B` for the two markers.
fn becomes(input: &str, expected: &str, values: u64) {
    let expected = expected.replace("'T'", &format!("\"{TEXT}\"")).replace("'B'", &format!("\"{BASE64}\""));
    assert_eq!(masked(input), Ok((expected, values)), "{input}");
}

#[test]
fn objects_lists_events_and_tables() {
    becomes(r#"{"kind":"Secret","data":{"a":"eA==","b":""}}"#, r#"{"kind":"Secret","data":{"a":'B',"b":'B'}}"#, 2);
    becomes(r#"{"data":{"a":"eA=="},"kind":"Secret"}"#, r#"{"data":{"a":'B'},"kind":"Secret"}"#, 1);
    becomes(r#"{"stringData":{"a":"x"},"immutable":true}"#, r#"{"stringData":{"a":'T'},"immutable":true}"#, 1);
    becomes(
        r#"{"kind":"SecretList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"},"data":{"k":"eA=="}},{"data":{"k":"eQ=="},"type":"Opaque"}]}"#,
        r#"{"kind":"SecretList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"},"data":{"k":'B'}},{"data":{"k":'B'},"type":"Opaque"}]}"#,
        2,
    );
    becomes(
        "{\"type\":\"ADDED\",\"object\":{\"data\":{\"k\":\"eA==\"}}}\n{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n",
        "{\"type\":\"ADDED\",\"object\":{\"data\":{\"k\":'B'}}}\n{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n",
        1,
    );
    becomes(
        r#"{"kind":"Table","columnDefinitions":[{"name":"Data"}],"rows":[{"cells":["a","Opaque",1],"object":{"data":{"k":"eA=="}}}]}"#,
        r#"{"kind":"Table","columnDefinitions":[{"name":"Data"}],"rows":[{"cells":["a","Opaque",1],"object":{"data":{"k":'B'}}}]}"#,
        1,
    );
    becomes(
        r#"{"kind":"Status","status":"Failure","message":"not found","details":{"name":"x"},"code":404}"#,
        r#"{"kind":"Status","status":"Failure","message":"not found","details":{"name":"x"},"code":404}"#,
        0,
    );
}

/// Answers of a Kubernetes 1.36.3 API server about Secrets whose values all
/// contain `hunter2`, and what is shown of them.
#[test]
fn golden_answers_of_an_api_server() {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/answers"));
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        seen += 1;
        let (out, values) = masked(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(out == std::fs::read_to_string(path.with_extension("masked")).unwrap(), "{}", path.display());
        assert!(values > 0 && !out.contains("hunter2") && !out.contains("aHVudGVy"), "{}", path.display());
    }
    assert_eq!(seen, 8);
}

#[test]
fn the_place_decides_not_the_name() {
    // Below metadata, `data` is a label or a field of managedFields.
    let kept = r#"{"metadata":{"labels":{"data":"x"},"managedFields":[{"fieldsV1":{"f:data":{"f:k":{}},"data":{"k":1}}}]},"type":"data"}"#;
    becomes(kept, kept, 0);
    // Whatever stands in the place of values is not shown.
    becomes(r#"{"data":"eA=="}"#, r#"{"data":'B'}"#, 1);
    becomes(r#"{"data":null}"#, r#"{"data":null}"#, 0);
    becomes(r#"{"data":{"a":null,"b":12,"c":true,"d":-0.5e+1}}"#, r#"{"data":{"a":null,"b":'B',"c":'B',"d":'B'}}"#, 3);
    becomes(
        r#"{"data":{"a":["x",{"data":"y","metadata":"z"}]}}"#,
        r#"{"data":{"a":['B',{"data":'B',"metadata":'B'}]}}"#,
        3,
    );
    becomes(r#"{"data":[1,2]}"#, r#"{"data":['B','B']}"#, 2);
    // Spellings of the key.
    becomes(
        r#"{"d\u0061ta":{"a":"x"},"Data":{"a":"x"},"STRINGDATA":{"a":"x"}}"#,
        r#"{"d\u0061ta":{"a":'B'},"Data":{"a":'B'},"STRINGDATA":{"a":'T'}}"#,
        3,
    );
    becomes(r#"{"data":{"a":"x"},"data":{"a":"y"}}"#, r#"{"data":{"a":'B'},"data":{"a":'B'}}"#, 2);
}

#[test]
fn white_space_and_escapes_of_what_is_kept_are_kept() {
    becomes(
        "{ \"kind\" : \"\\u0053ecret\" ,\n \"data\" : {\n  \"a\\/b\" : \"e\\u0041==\" } }\n",
        "{ \"kind\" : \"\\u0053ecret\" ,\n \"data\" : {\n  \"a\\/b\" : 'B' } }\n",
        1,
    );
}

#[test]
fn the_last_applied_configuration_is_masked_inside() {
    let inner =
        json!({"data": {"k": "eA=="}, "stringData": {"s": "a<b"}, "kind": "Secret", "metadata": {"name": "a\"b\\\n"}})
            .to_string();
    let object = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": inner, "note": "say \"hi\""}}});
    let (out, values) = masked(&object.to_string()).unwrap();
    assert_eq!(values, 2);
    let out: Value = serde_json::from_str(&out).unwrap();
    let annotations = &out["metadata"]["annotations"];
    assert_eq!(annotations["note"], "say \"hi\"");
    let inner: Value =
        serde_json::from_str(annotations["kubectl.kubernetes.io/last-applied-configuration"].as_str().unwrap())
            .unwrap();
    assert_eq!(
        inner,
        json!({"data": {"k": BASE64}, "stringData": {"s": TEXT}, "kind": "Secret", "metadata": {"name": "a\"b\\\n"}})
    );
}

#[test]
fn text_that_go_wrote_comes_out_the_same() {
    let kept = r#"{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"metadata\":{\"note\":\"a \\u003c b \\n\"}}\n","html":"\u003cb\u003e \t"}}}"#;
    becomes(kept, kept, 0);
}

#[test]
fn annotations_that_are_no_json() {
    let with = |key: &str, value: &str| format!(r#"{{"metadata":{{"annotations":{{"{key}":{value}}}}}}}"#);
    let last = "kubectl.kubernetes.io/last-applied-configuration";
    becomes(&with(last, r#""hunter2""#), &with(last, "'T'"), 1);
    becomes(&with(last, r#""\"hunter2\"""#), &with(last, "'T'"), 1);
    becomes(&with(last, "\"\""), &with(last, "\"\""), 0);
    becomes(&with(last, r#""[{\"data\":\"x\"}]""#), &with(last, &format!(r#""[{{\"data\":\"{BASE64}\"}}]""#)), 1);
    becomes(&with(last, r#"{"data":"x"}"#), &with(last, r#"{"data":'T'}"#), 1);
    becomes(&with(last, "7"), &with(last, "'T'"), 1);
    becomes(
        &with("objectset.rio.cattle.io/applied", r#""H4sIAAAA""#),
        &with("objectset.rio.cattle.io/applied", "'T'"),
        1,
    );
    becomes(&with("other", r#""plain\u0020text""#), &with("other", r#""plain text""#), 0);
    becomes(
        &with("other", r#""{\"data\":{\"a\":\"x\"}}""#),
        &with("other", &format!(r#""{{\"data\":{{\"a\":\"{BASE64}\"}}}}""#)),
        1,
    );
    // Broken in the middle: what was read is masked, the rest is not shown.
    becomes(
        &with(last, r#""{\"data\":{\"a\":\"x\"},,\"b\":\"hunter2\"""#),
        &with(last, &format!(r#""{{\"data\":{{\"a\":\"{BASE64}\"}},{TEXT}""#)),
        2,
    );
    becomes(
        &with(last, r#""{\"data\":{\"a\":\"hun""#),
        &with(last, &format!(r#""{{\"data\":{{\"a\":\"{BASE64}\"{TEXT}""#)),
        2,
    );
}

#[test]
fn annotations_within_annotations_end_somewhere() {
    let mut object = json!({"data": {"k": "hunter2"}});
    for _ in 0..8 {
        object = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": object.to_string()}}});
    }
    let (out, values) = masked(&object.to_string()).unwrap();
    assert_eq!(values, 1);
    assert!(!out.contains("hunter2"));
}

#[test]
fn what_is_no_json_object_stops_the_stream() {
    for input in [
        "[",
        "7",
        "\"x\"",
        "null",
        "x",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":-}",
        "{\"a\":1e}",
        "{\"a\":tru}",
        "{\"a\":nul}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u00g0\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":[1 2]}",
        "{\"a\":[}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "{}x",
        "{}}",
        "{\"a\":'x'}",
    ] {
        assert!(matches!(masked(input), Err(NotMaskable::Malformed { .. })), "{input}: {:?}", masked(input));
    }
    for input in ["{", "{\"a", "{\"a\":1", "{\"data\":{\"k\":\"hunter2", "{}{"] {
        assert!(matches!(masked(input), Err(NotMaskable::Truncated { .. })), "{input}");
    }
    assert!(matches!(masked(&format!("{{\"a\":{}", "[".repeat(1000))), Err(NotMaskable::TooDeep { .. })));
    assert_eq!(masked("{\"a\":x}"), Err(NotMaskable::Malformed { offset: 5 }));
    assert_eq!(masked(""), Ok((String::new(), 0)));
}

#[test]
fn a_stream_that_stopped_stays_stopped() {
    let mut masker = Masker::new(Marker::new(1));
    let mut out = Vec::new();
    assert!(masker.push(b"{\"data\":{\"a\":\"x\"},]", &mut out).is_err());
    let shown = out.len();
    assert!(masker.push(b"{}", &mut out).is_err());
    assert_eq!(out.len(), shown);
    assert!(masker.finish().is_err());
}

#[test]
fn a_large_value_needs_no_memory() {
    let mut masker = Masker::new(Marker::new(0x2a));
    let mut out = Vec::new();
    masker.push(b"{\"data\":{\"a\":\"", &mut out).unwrap();
    for _ in 0..1024 {
        masker.push(&[b'A'; 4096], &mut out).unwrap();
    }
    masker.push(b"\"}}", &mut out).unwrap();
    assert_eq!(masker.finish(), Ok(1));
    assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"data\":{{\"a\":\"{BASE64}\"}}}}"));
}

/// Secrets of all shapes, every value of which contains `hunter2`.
fn secret() -> impl Strategy<Value = Value> {
    let key = "[a-zA-Z.\\\\\"é{}-]{1,8}";
    let value = "[ -~é\\n\\t\"\\\\]{0,12}".prop_map(|around| format!("{around}hunter2{around}"));
    let data = prop::collection::btree_map(key, value, 0..4);
    (data.clone(), data, prop::collection::btree_map("[a-z]{1,6}", "[a-z][ -~é]{0,8}", 0..3), any::<bool>()).prop_map(|(data, text, notes, applied)| {
        let mut annotations: Value = json!(notes);
        if applied {
            let inner = json!({"kind": "Secret", "data": data, "stringData": text}).to_string();
            annotations["kubectl.kubernetes.io/last-applied-configuration"] = json!(inner);
        }
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "annotations": annotations}, "data": data, "stringData": text, "type": "Opaque"})
    })
}

fn document() -> impl Strategy<Value = String> {
    let list = prop::collection::vec(secret(), 0..4)
        .prop_map(|items| json!({"kind": "SecretList", "apiVersion": "v1", "items": items}).to_string());
    let table = prop::collection::vec(secret(), 0..4).prop_map(|objects| {
        let rows: Vec<Value> =
            objects.into_iter().map(|object| json!({"cells": ["a", 1.5, null], "object": object})).collect();
        serde_json::to_string_pretty(&json!({"kind": "Table", "rows": rows})).unwrap()
    });
    let watch = prop::collection::vec(secret(), 0..4).prop_map(|objects| {
        objects.into_iter().map(|object| json!({"type": "ADDED", "object": object}).to_string() + "\n").collect()
    });
    prop_oneof![secret().prop_map(|secret| secret.to_string()), list, table, watch]
}

/// The document with every masked place emptied: what must be untouched.
fn skeleton(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "data" | "stringData" => {
                        for value in value.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
                            *value = Value::Null;
                        }
                    }
                    "kubectl.kubernetes.io/last-applied-configuration" => {
                        let mut inner: Value = serde_json::from_str(value.as_str().unwrap()).unwrap();
                        skeleton(&mut inner);
                        *value = inner;
                    }
                    _ => skeleton(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(skeleton),
        _ => {}
    }
}

fn documents(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(crate::fixed_cases())]

    #[test]
    fn no_value_is_shown_and_all_else_is_kept(input in document()) {
        let (out, _) = masked(&input).unwrap();
        prop_assert!(!out.contains("hunter2"), "{}", out);
        let (mut before, mut after) = (documents(&input), documents(&out));
        before.iter_mut().for_each(skeleton);
        after.iter_mut().for_each(skeleton);
        prop_assert_eq!(before, after);
        // Masking twice changes nothing more.
        prop_assert_eq!(&masked(&out).unwrap().0, &out);
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same(input in document(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let whole = masked(&input).unwrap();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let mut masker = Masker::new(Marker::new(0x2a));
        let mut out = Vec::new();
        for pair in cuts.windows(2) {
            masker.push(&input.as_bytes()[pair[0]..pair[1]], &mut out).unwrap();
        }
        prop_assert_eq!(masker.finish(), Ok(whole.1));
        prop_assert_eq!(String::from_utf8(out).unwrap(), whole.0);
    }

    #[test]
    fn byte_by_byte_gives_the_same(input in document()) {
        let whole = masked(&input).unwrap();
        let mut masker = Masker::new(Marker::new(0x2a));
        let mut out = Vec::new();
        for byte in input.as_bytes() {
            masker.push(std::slice::from_ref(byte), &mut out).unwrap();
        }
        prop_assert_eq!(masker.finish(), Ok(whole.1));
        prop_assert_eq!(String::from_utf8(out).unwrap(), whole.0);
    }

    #[test]
    fn a_cut_document_shows_no_value(input in document(), end in any::<prop::sample::Index>()) {
        let mut masker = Masker::new(Marker::new(0x2a));
        let mut out = Vec::new();
        masker.push(&input.as_bytes()[..end.index(input.len() + 1)], &mut out).unwrap();
        prop_assert!(!String::from_utf8_lossy(&out).contains("hunter"));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(input in any::<Vec<u8>>()) {
        let mut out = Vec::new();
        let _ = Masker::new(Marker::new(0)).push(&input, &mut out);
    }

    #[test]
    fn it_accepts_what_is_json_and_nothing_else(input in "[{}\\[\\]:,\"ab0-9.eE+ \\\\untrfals-]{0,24}") {
        let input = format!("{{\"a\":{input}}}");
        let accepted = masked(&input).is_ok();
        let mut stream = serde_json::Deserializer::from_str(&input).into_iter::<serde::de::IgnoredAny>();
        let mut json = true;
        while json && !input[stream.byte_offset()..].trim_ascii().is_empty() {
            json = input[stream.byte_offset()..].trim_start().starts_with('{') && stream.next().is_some_and(|document| document.is_ok());
        }
        prop_assert_eq!(accepted, json, "{}", input);
    }
}
