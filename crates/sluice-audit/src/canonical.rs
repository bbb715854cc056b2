//! One value, one spelling: keys sorted by their bytes, no white space,
//! `serde_json`'s escapes and numbers.

use serde_json::{Map, Value, json};

use crate::hash::Hash;

mod stream;

pub(crate) use stream::Object;

/// The bytes of an object, at most `limit` long. Where it is longer, the largest
/// fields are replaced by `{"cut": {"bytes", "sha256", "start"}}`: how long
/// their canonical bytes were, their SHA-256, and how they begin.
pub(crate) fn within(object: Object, limit: usize) -> Vec<u8> {
    let bytes = object.finish();
    if bytes.len() <= limit {
        return bytes;
    }
    // Rare, so that a tree of it may cost something.
    match serde_json::from_slice(&bytes) {
        Ok(value) => shortened(value, bytes, limit),
        Err(_) => to_vec(&stub(&bytes)),
    }
}

fn shortened(mut value: Value, mut bytes: Vec<u8>, limit: usize) -> Vec<u8> {
    while bytes.len() > limit {
        cut(&mut value, bytes.len() - limit);
        let shorter = to_vec(&value);
        if shorter.len() >= bytes.len() {
            // Many small fields: there is no large one to cut.
            return to_vec(&stub(&bytes));
        }
        bytes = shorter;
    }
    bytes
}

/// The bytes of `value`.
pub(crate) fn to_vec(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => write_object(map, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::String(text) => write_string(text, out),
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

/// Sorted here, whatever order the map keeps: that depends on a feature which
/// any crate of a build can turn on.
fn write_object(map: &Map<String, Value>, out: &mut Vec<u8>) {
    let mut fields: Vec<(&String, &Value)> = map.iter().collect();
    fields.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    out.push(b'{');
    for (index, (name, value)) in fields.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

/// A JSON string: `"`, `\` and control characters escaped, all else as it is.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// What stands between the quotes of a JSON string.
fn write_escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (plain, after) = rest.split_at(at);
        out.extend_from_slice(plain);
        match after.first() {
            Some(b'"') => out.extend_from_slice(b"\\\""),
            Some(b'\\') => out.extend_from_slice(b"\\\\"),
            Some(b'\n') => out.extend_from_slice(b"\\n"),
            Some(b'\r') => out.extend_from_slice(b"\\r"),
            Some(b'\t') => out.extend_from_slice(b"\\t"),
            Some(control) => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(hex::encode([*control]).as_bytes());
            }
            None => {}
        }
        rest = after.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Replaces the smallest part that frees `excess` bytes, or the largest field.
fn cut(value: &mut Value, excess: usize) {
    let largest = match value {
        Value::Object(map) => map.iter_mut().map(|(_, child)| child).max_by_key(|child| size(child)),
        Value::Array(items) => items.iter_mut().max_by_key(|child| size(child)),
        _ => None,
    };
    let Some(child) = largest else { return };
    let bytes = size(child);
    if bytes <= STUB {
        return;
    }
    let has_one_that_frees = match &*child {
        Value::Object(map) => map.values().any(|inner| size(inner) >= excess + STUB),
        Value::Array(items) => items.iter().any(|inner| size(inner) >= excess + STUB),
        _ => false,
    };
    if has_one_that_frees {
        cut(child, excess);
    } else {
        *child = stub(&to_vec(child));
    }
}

/// What stands for a part that was cut.
fn stub(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes.get(..START).unwrap_or(bytes)).into_owned();
    json!({ "cut": { "bytes": bytes.len(), "sha256": Hash::of(bytes), "start": text } })
}

fn size(value: &Value) -> usize {
    to_vec(value).len()
}

/// How deep a body may be nested; readers of JSON stop at 128.
const DEPTH: usize = 64;
/// How much of a cut part is kept, in bytes.
const START: usize = 128;
/// More than a stub takes, escapes counted.
const STUB: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn within(value: Value, limit: usize) -> Vec<u8> {
        let mut object = Object::new();
        assert!(object.members(&value).unwrap());
        super::within(object, limit)
    }

    #[test]
    fn keys_are_sorted_and_strings_are_json() {
        let value = json!({"b": [1, -2, 1.5, null, true], "a": {"z": "\u{1}\"\\\n\r\té", "A": {}}});
        let bytes = to_vec(&value);
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            "{\"a\":{\"A\":{},\"z\":\"\\u0001\\\"\\\\\\n\\r\\té\"},\"b\":[1,-2,1.5,null,true]}"
        );
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
    }

    #[test]
    fn a_long_field_is_cut_where_it_is() {
        let long = "x".repeat(10_000);
        let value = json!({"keep": "me", "deep": {"long": long, "short": 1}});
        let bytes = within(value, 2_000);
        assert!(bytes.len() <= 2_000);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["keep"], "me");
        assert_eq!(value["deep"]["short"], 1);
        assert_eq!(value["deep"]["long"]["cut"]["bytes"], 10_002);
        let spelled = format!("\"{}\"", "x".repeat(10_000));
        assert_eq!(value["deep"]["long"]["cut"]["sha256"], Hash::of(spelled.as_bytes()).to_string());
    }

    #[test]
    fn what_is_nested_too_deep_is_cut() {
        let deep = (0..120).fold(json!(1), |inner, _| json!([inner]));
        let bytes = within(json!({ "deep": deep }), 10_000);
        let mut value: Value = serde_json::from_slice(&bytes).unwrap();
        value = value["deep"].take();
        let mut depth = 1;
        while value.is_array() {
            value = value[0].take();
            depth += 1;
        }
        assert_eq!(depth, DEPTH);
        assert!(value["cut"]["bytes"].is_u64());
    }

    #[test]
    fn many_long_fields_all_give_way() {
        let fields: Map<String, Value> =
            (0..20).map(|n| (format!("f{n}"), Value::String("y".repeat(5_000 + n)))).collect();
        assert!(within(Value::Object(fields), 30_000).len() <= 30_000);
    }

    #[test]
    fn a_body_of_small_fields_only_is_cut_as_a_whole() {
        let fields: Map<String, Value> = (0..20_000).map(|n| (format!("f{n}"), Value::from(n))).collect();
        let bytes = within(Value::Object(fields), 3_000);
        assert!(bytes.len() <= 3_000);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert!(value["cut"]["bytes"].as_u64().unwrap() > 100_000);
    }
}
