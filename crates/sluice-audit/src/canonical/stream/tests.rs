use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeStruct, Serializer};
use serde_json::{Value, json};

use super::values::NUMBER;
use super::*;

fn streamed(value: &impl Serialize) -> String {
    let mut object = Object::new();
    object.member("value", value).unwrap();
    String::from_utf8(object.finish()).unwrap()
}

/// By way of a tree, which is sorted as a whole.
fn built(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap();
    String::from_utf8(to_vec(&json!({ "value": value }))).unwrap()
}

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Wrapped(f32);

#[derive(Serialize)]
struct Pair(u8, &'static str);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Forms {
    Plain,
    One(i64),
    Two(bool, char),
    Named { zeta: Option<u8>, alpha: Option<u8> },
}

#[derive(Serialize)]
struct Everything {
    zebra: Vec<Forms>,
    unit: Unit,
    wrapped: Wrapped,
    pair: Pair,
    tuple: (u64, i8, f64, f64, ()),
    numbered: BTreeMap<i32, &'static str>,
    switched: BTreeMap<bool, u8>,
    wide: (i128, u128),
    #[serde(flatten)]
    flat: BTreeMap<String, Value>,
    #[serde(rename = "a\"\n")]
    escaped: &'static str,
    at: jiff::Timestamp,
    id: uuid::Uuid,
}

#[test]
fn every_form_is_written_as_a_tree_of_it_would_be() {
    let everything = Everything {
        zebra: vec![
            Forms::Plain,
            Forms::One(i64::MIN),
            Forms::Two(true, '"'),
            Forms::Named { zeta: None, alpha: Some(1) },
        ],
        unit: Unit,
        wrapped: Wrapped(0.1),
        pair: Pair(255, "x\u{7f}\u{1}é"),
        tuple: (u64::MAX, -1, 1e300, f64::NAN, ()),
        numbered: BTreeMap::from([(-1, "a"), (10, "b"), (9, "c")]),
        switched: BTreeMap::from([(true, 1), (false, 0)]),
        wide: (-5, 5),
        flat: BTreeMap::from([("tail".into(), json!({ "b": [], "a": {} })), ("a".into(), json!(null))]),
        escaped: "\\",
        at: "2026-12-01T04:00:00.5Z".parse().unwrap(),
        id: uuid::Uuid::from_u128(7),
    };
    assert_eq!(streamed(&everything), built(&everything));
}

#[test]
fn of_two_members_with_one_name_the_later_counts() {
    let mut object = Object::new();
    object.member("b", &1).unwrap();
    object.member("a", &"first").unwrap();
    assert!(object.members(&json!({ "a": "second", "c": { "z": 1, "y": 2 } })).unwrap());
    object.member("b", &3).unwrap();
    assert_eq!(object.finish(), br#"{"a":"second","b":3,"c":{"y":2,"z":1}}"#);
}

#[test]
fn what_is_no_json_leaves_nothing_behind() {
    let mut object = Object::new();
    object.member("a", &1).unwrap();
    let odd_keys = BTreeMap::from([((1, 2), 3)]);
    let error = object.member("b", &json!(null)).and_then(|()| object.member("c", &[&odd_keys])).unwrap_err();
    assert_eq!(error.to_string(), serde_json::to_value(&odd_keys).unwrap_err().to_string());
    assert!(object.members(&(1, odd_keys)).is_err());
    assert!(object.member("d", &u128::MAX).is_err());
    assert!(!object.members(&[1, 2]).unwrap());
    assert!(!object.members(&Forms::Plain).unwrap());
    object.member("e", &json!({ "y": 1, "x": 2 })).unwrap();
    assert_eq!(object.finish(), br#"{"a":1,"b":null,"e":{"x":2,"y":1}}"#);
}

/// As `serde_json` writes its numbers in a build with `arbitrary_precision`.
#[test]
fn a_number_of_any_precision_is_a_number() {
    struct Precise;
    impl Serialize for Precise {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut number = serializer.serialize_struct(NUMBER, 1)?;
            number.serialize_field(NUMBER, "1.50")?;
            number.end()
        }
    }
    assert_eq!(streamed(&[Precise, Precise]), r#"{"value":[1.50,1.50]}"#);
    let mut object = Object::new();
    assert!(!object.members(&Precise).unwrap());
}

/// Keys in any order, some of them twice.
struct Members(Vec<(String, Value)>);

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-c\"\\\\\n\u{0}-\u{20}]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-c\"\\\\\n!]{0,3}", inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_is_written_as_its_tree(value in value()) {
        prop_assert_eq!(streamed(&value), built(&value));
    }

    #[test]
    fn any_order_of_members_comes_out_sorted(members in prop::collection::vec(("[a-c\"\\\\\n!é]{0,3}", value()), 0..30)) {
        let members = Members(members);
        prop_assert_eq!(streamed(&members), built(&members));
    }
}
