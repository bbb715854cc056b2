//! YAML that every reader reads alike.
//!
//! kubectl and Helm still read YAML 1.1, where a bare `Off` is a boolean and
//! `1:30` a number; most emitters of YAML 1.2 write both bare. Here a text is
//! written bare only where it cannot be anything else.

use serde_json::Value;

/// One document, in block style, without a leading `---`.
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (key, value)) in fields.iter().enumerate() {
                // The first field of a list's item stands behind its dash.
                if index > 0 || text.is_empty() || text.ends_with('\n') {
                    indent(depth, text);
                }
                text.push_str(&scalar(key));
                text.push(':');
                below(value, depth, matches!(value, Value::Object(_)), text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 || text.is_empty() || text.ends_with('\n') {
                    indent(depth, text);
                }
                text.push('-');
                match item {
                    Value::Object(fields) if !fields.is_empty() => {
                        text.push(' ');
                        block(item, depth + 1, text);
                    }
                    _ => below(item, depth, true, text),
                }
            }
        }
        other => {
            indent(depth, text);
            text.push_str(&flow(other));
            text.push('\n');
        }
    }
}

/// What stands behind `key:` or `-`. Lists below a key are not indented.
fn below(value: &Value, depth: usize, deeper: bool, text: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            text.push('\n');
            block(value, depth + 1, text);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, if deeper { depth + 1 } else { depth }, text);
        }
        Value::String(content) if is_literal(content) => {
            text.push_str(" |\n");
            for line in content.trim_end_matches('\n').split('\n') {
                if !line.is_empty() {
                    indent(depth + 1, text);
                    text.push_str(line);
                }
                text.push('\n');
            }
        }
        other => {
            text.push(' ');
            text.push_str(&flow(other));
            text.push('\n');
        }
    }
}

fn indent(depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(content) => scalar(content),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
        other => other.to_string(),
    }
}

/// Lines that a literal block keeps as they are: printable, ended by one line
/// break, the first not indented.
fn is_literal(content: &str) -> bool {
    let Some(lines) = content.strip_suffix('\n') else { return false };
    lines.contains('\n')
        && !lines.starts_with([' ', '\n'])
        && !lines.ends_with('\n')
        && lines.chars().all(|c| c == '\n' || (c.is_ascii() && !c.is_ascii_control()))
        && lines.split('\n').all(|line| !line.ends_with(' '))
}

/// Bare where nothing else can be read, else quoted as in JSON.
fn scalar(content: &str) -> String {
    const WORDS: [&str; 11] = ["y", "yes", "n", "no", "on", "off", "true", "false", "null", "nan", "inf"];
    let plain = content.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_'))
        && content
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | ' ' | '(' | ')' | ';'))
        && !content.ends_with(' ')
        && !WORDS.contains(&content.to_ascii_lowercase().as_str());
    // A colon within a word is no mapping.
    let colon = content.starts_with(|c: char| c.is_ascii_alphabetic())
        && content.contains(':')
        && !content.ends_with(':')
        && content.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | ':'));
    if plain || colon { content.to_owned() } else { quoted(content) }
}

/// As in JSON; what YAML takes for a line break, or for no character, is
/// escaped too.
fn quoted(content: &str) -> String {
    let mut text = String::new();
    for c in Value::from(content).to_string().chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn document() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "\\PC{0,6}",
            "[a-z: #\\-\n\t'\"|>%@&*!?{}\\[\\],]{0,8}",
            "([a-z ]{0,3}\n){1,4}",
            Just("Off".to_owned()),
            Just("1:30".to_owned()),
            Just("~".to_owned()),
            Just("0x1f".to_owned()),
            Just("\u{85}\u{2028}\u{feff}".to_owned()),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in document()) {
            let text = to_yaml(&value);
            let read: Value = serde_norway::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(read, value, "{}", text);
        }
    }

    #[test]
    fn it_looks_as_people_write_it() {
        let value = json!({
            "kind": "Pod", "list": [{"name": "a", "args": ["x", "Off"]}, {"empty": {}}], "n": 1, "nested": {"a": {"b": null}},
            "pem": "-----BEGIN-----\nAAAA\n-----END-----\n", "url": "https://a.example.com:8444", "yes": "no",
        });
        let expected = "kind: Pod\nlist:\n- name: a\n  args:\n  - x\n  - \"Off\"\n- empty: {}\nn: 1\nnested:\n  a:\n    b: null\n\
            pem: |\n  -----BEGIN-----\n  AAAA\n  -----END-----\nurl: https://a.example.com:8444\n\"yes\": \"no\"\n";
        let text = to_yaml(&value);
        // Order of fields is the map's.
        let mut lines: Vec<&str> = text.lines().collect();
        let mut wanted: Vec<&str> = expected.lines().collect();
        lines.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(lines.len(), wanted.len(), "{text}");
        let read: Value = serde_norway::from_str(&text).expect("YAML");
        assert_eq!(read, value);
    }
}
