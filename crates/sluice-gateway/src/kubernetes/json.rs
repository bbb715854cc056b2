use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use sluice_core::Fact;

/// Reads one JSON document. Duplicate keys make it unknown: readers differ in
/// which of the two counts.
pub(super) fn read(body: &[u8]) -> Fact<Value> {
    let mut source = serde_json::Deserializer::from_slice(body);
    match Once.deserialize(&mut source).and_then(|value| source.end().map(|()| value)) {
        Ok(value) => Fact::Known(value),
        Err(error) => Fact::unknown(format!("the body is not JSON with one reading: {}", place(&error))),
    }
}

/// What went wrong and where, without quoting the body: it may hold secrets.
fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "an object has a key twice, or a number is too large",
        serde_json::error::Category::Eof => "it ends too early",
        _ => "syntax error",
    };
    format!("{what} at line {} column {}", error.line(), error.column())
}

/// A value whose objects have each key once.
pub(super) struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = source.next_element_seed(Once)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = source.next_key_seed(Key)? {
            if map.contains_key(&key) {
                return Err(de::Error::custom("duplicate key"));
            }
            map.insert(key, source.next_value_seed(Once)?);
        }
        Ok(Value::Object(map))
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_with_one_reading_is_read() {
        assert_eq!(
            read(br#"{"a":[1,-2,2.5,true,null,"x"]}"#),
            Fact::Known(serde_json::json!({"a": [1, -2, 2.5, true, null, "x"]}))
        );
    }

    #[test]
    fn json_with_two_readings_is_unknown() {
        let deep = "[".repeat(5000);
        for body in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"\u0062":2}}"#,
            "{",
            "{} {}",
            "",
            "a: b",
            r#"{"a":1e999}"#,
            r#""\ud800""#,
            &deep,
        ] {
            assert!(read(body.as_bytes()).known().is_none(), "{body:.40}");
        }
        assert!(read(b"{\"a\":\"\xff\"}").known().is_none());
    }

    #[test]
    fn the_reason_does_not_quote_the_body() {
        let why = read(br#"{"data":{"hunter2":1,"hunter2":2}}"#);
        assert!(!why.why_unknown().unwrap_or_default().contains("hunter2"));
    }
}
