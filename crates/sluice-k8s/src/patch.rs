//! The difference of two JSON documents as a JSON Patch (RFC 6902).

use serde::Serialize;
use serde_json::Value;

/// One operation of a JSON Patch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Puts a value where none is; in a list, before the place.
    Add {
        /// JSON Pointer (RFC 6901).
        path: String,
        /// What is put there.
        value: Value,
    },
    /// Puts a value in place of another.
    Replace {
        /// JSON Pointer (RFC 6901).
        path: String,
        /// What is put there.
        value: Value,
    },
    /// Takes a value away.
    Remove {
        /// JSON Pointer (RFC 6901).
        path: String,
    },
}

/// What turns `from` into `to`; empty when they are equal. Fields are compared
/// one by one, lists place by place: equal places are left alone, and a list
/// that grew or shrank changes at the end of its changed part.
pub fn difference(from: &Value, to: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    compare(from, to, "", &mut operations);
    operations
}

fn compare(from: &Value, to: &Value, at: &str, operations: &mut Vec<Operation>) {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            for key in from.keys().filter(|key| !to.contains_key(*key)) {
                operations.push(Operation::Remove { path: below(at, key) });
            }
            for (key, value) in to {
                match from.get(key) {
                    Some(old) => compare(old, value, &below(at, key), operations),
                    None => operations.push(Operation::Add { path: below(at, key), value: value.clone() }),
                }
            }
        }
        (Value::Array(from), Value::Array(to)) => lists(from, to, at, operations),
        _ if from == to => {}
        _ => operations.push(Operation::Replace { path: at.to_owned(), value: to.clone() }),
    }
}

/// The equal head and the equal tail stay; what is between is compared place by
/// place, then cut or filled up.
fn lists(from: &[Value], to: &[Value], at: &str, operations: &mut Vec<Operation>) {
    let head = from.iter().zip(to).take_while(|(from, to)| from == to).count();
    let most = from.len().min(to.len()) - head;
    let tail = from.iter().rev().zip(to.iter().rev()).take(most).take_while(|(from, to)| from == to).count();
    let (old, new) = (&from[head..from.len() - tail], &to[head..to.len() - tail]);
    let both = old.len().min(new.len());
    // Elements that were put before others: insert, and compare the rest.
    let inserted = if new.len() > old.len() && named_alike(old, &new[new.len() - old.len()..]) {
        new.len() - old.len()
    } else {
        0
    };
    if inserted > 0 {
        for (index, value) in new.iter().take(inserted).enumerate() {
            operations.push(Operation::Add { path: format!("{at}/{}", head + index), value: value.clone() });
        }
        for (index, (old, new)) in old.iter().zip(&new[inserted..]).enumerate() {
            compare(old, new, &format!("{at}/{}", head + inserted + index), operations);
        }
        return;
    }
    for (index, (old, new)) in old.iter().zip(new).enumerate() {
        compare(old, new, &format!("{at}/{}", head + index), operations);
    }
    for index in (both..old.len()).rev() {
        operations.push(Operation::Remove { path: format!("{at}/{}", head + index) });
    }
    for (index, value) in new.iter().enumerate().skip(both) {
        operations.push(Operation::Add { path: format!("{at}/{}", head + index), value: value.clone() });
    }
}

/// Whether two lists have elements of the same names in the same order.
fn named_alike(old: &[Value], new: &[Value]) -> bool {
    !old.is_empty()
        && old.iter().zip(new).all(|(old, new)| {
            let name = old.get("name").and_then(Value::as_str);
            name.is_some() && name == new.get("name").and_then(Value::as_str)
        })
}

fn below(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Applies operations: what an API server does with a patch.
///
/// # Errors
/// The first path that leads nowhere.
pub fn apply(document: &Value, operations: &[Operation]) -> Result<Value, String> {
    let mut document = document.clone();
    for operation in operations {
        let (Operation::Add { path, .. } | Operation::Replace { path, .. } | Operation::Remove { path }) = operation;
        step(&mut document, operation, path).ok_or_else(|| path.clone())?;
    }
    Ok(document)
}

fn step(document: &mut Value, operation: &Operation, path: &str) -> Option<()> {
    let Some((parent, last)) = path.rsplit_once('/') else {
        let (Operation::Add { value, .. } | Operation::Replace { value, .. }) = operation else { return None };
        *document = value.clone();
        return Some(());
    };
    let last = last.replace("~1", "/").replace("~0", "~");
    match (document.pointer_mut(parent)?, operation) {
        (Value::Object(fields), Operation::Add { value, .. }) => {
            fields.insert(last, value.clone());
        }
        (Value::Object(fields), Operation::Replace { value, .. }) => *fields.get_mut(&last)? = value.clone(),
        (Value::Object(fields), Operation::Remove { .. }) => {
            fields.remove(&last)?;
        }
        (Value::Array(items), Operation::Add { value, .. }) => {
            let index = last.parse::<usize>().ok().filter(|index| *index <= items.len())?;
            items.insert(index, value.clone());
        }
        (Value::Array(items), Operation::Replace { value, .. }) => {
            *items.get_mut(last.parse::<usize>().ok()?)? = value.clone();
        }
        (Value::Array(items), Operation::Remove { .. }) => {
            let index = last.parse::<usize>().ok().filter(|index| *index < items.len())?;
            items.remove(index);
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4u8).prop_map(Value::from),
            "[a~/]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[ab~/]{0,2}|name", inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_difference_turns_one_into_the_other(from in document(), to in document()) {
            let operations = difference(&from, &to);
            prop_assert_eq!(apply(&from, &operations), Ok(to.clone()));
            prop_assert_eq!(from == to, operations.is_empty());
        }
    }

    #[test]
    fn what_is_put_first_does_not_rewrite_the_rest() {
        let from = json!({"c": [{"name": "a", "x": 1}, {"name": "b"}]});
        let to = json!({"c": [{"name": "new"}, {"name": "a", "x": 2}, {"name": "b"}]});
        let expected = json!([
            {"op": "add", "path": "/c/0", "value": {"name": "new"}},
            {"op": "replace", "path": "/c/1/x", "value": 2},
        ]);
        assert_eq!(serde_json::to_value(difference(&from, &to)).expect("JSON"), expected);
    }
}
