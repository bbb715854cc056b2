use serde::de::DeserializeSeed;
use serde_json::Value;
use sluice_core::Fact;
use sluice_policy::yaml::too_deep;

use super::json;

/// Reads a YAML body. JSON within YAML is read as JSON; other YAML only where
/// YAML 1.1 (the API server) and 1.2 agree, else it is unknown.
pub(super) fn read(body: &[u8]) -> Fact<Value> {
    if let known @ Fact::Known(_) = json::read(body) {
        return known;
    }
    let Ok(text) = std::str::from_utf8(body) else { return Fact::unknown("the body is not UTF-8") };
    if too_deep(text) {
        return Fact::unknown("the body is YAML with brackets nested deeper than 128; send JSON");
    }
    if let Some(what) = two_readings(text) {
        return Fact::unknown(format!(
            "the body is YAML with {what}, which YAML 1.1 and 1.2 may read differently; send JSON"
        ));
    }
    match json::Once.deserialize(serde_norway::Deserializer::from_str(text)) {
        Ok(value) => Fact::Known(value),
        Err(_) => Fact::unknown("the body is not YAML with one reading; send JSON"),
    }
}

/// Looks at the text alone and errs towards "may differ": a quoted string that
/// looks like one of these makes the body unknown too.
fn two_readings(text: &str) -> Option<&'static str> {
    if text.contains(['&', '*', '!', '%', '\t', '?', '@', '`']) {
        return Some("an anchor, alias, tag, directive, complex key or tab");
    }
    if text.contains("<<") || text.contains("---") || text.contains("...") {
        return Some("a merge key or several documents");
    }
    text.split(|c: char| c.is_whitespace() || "[]{},\"'".contains(c)).map(|word| word.trim_end_matches(':')).find_map(
        |word| {
            let plain_number = word.parse::<i64>().is_ok_and(|number| number.to_string() == word);
            let numeric = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
                && word.len() > 1
                && word.bytes().all(|byte| byte.is_ascii_hexdigit() || b"+-._:xXoOTtZzinNfF".contains(&byte));
            let boolean = ["y", "n", "yes", "no", "on", "off", "~"].contains(&word.to_ascii_lowercase().as_str())
                || ["true", "false", "null"].iter().any(|known| word.eq_ignore_ascii_case(known) && word != *known);
            if plain_number {
                None
            } else if numeric {
                Some("a number-like word")
            } else {
                boolean.then_some("a boolean-like word")
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_yaml_and_json_are_read() {
        let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\ndata:\n  replicas: 3\n  on-call: ops\n  list: [a, b]\n  ready: true\n";
        let read = read(yaml.as_bytes());
        let value = read.known().unwrap();
        assert_eq!(value["data"]["replicas"], 3);
        assert_eq!(value["data"]["ready"], true);
        assert_eq!(super::read(br#"{"a": "yes & no"}"#), Fact::Known(serde_json::json!({"a": "yes & no"})));
    }

    #[test]
    fn yaml_with_two_readings_is_unknown() {
        for body in [
            "a: yes",
            "a: On",
            "no: 1",
            "a: 0777",
            "a: 0o17",
            "a: 1_000",
            "a: 1:20",
            "a: 2001-01-01",
            "a: .5",
            "a: +1",
            "a: 1e3",
            "a: &x 1\nb: *x",
            "a: !!binary aGk=",
            "<<: {a: 1}",
            "a: 1\n---\na: 2",
            "a: 1\na: 2",
            "a: ~",
            "a: TRUE",
            "a: [",
            "\u{7}",
        ] {
            assert!(read(body.as_bytes()).known().is_none(), "{body}");
        }
        assert!(read(b"a: \xff").known().is_none());
    }

    /// A body of brackets must not hold up the gateway.
    #[test]
    fn deep_brackets_are_not_parsed() {
        for open in ["[", "{a: "] {
            let body = format!("x: y\na: {}", open.repeat(200));
            let read = read(body.as_bytes());
            assert!(read.why_unknown().is_some_and(|why| why.contains("deeper")), "{read:?}");
        }
        assert!(read(b"a: [[[[1]]]]\nb: {c: {d: e}}").known().is_some());
    }
}
