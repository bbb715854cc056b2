use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use sluice_audit::{Kind, Record};
use sluice_k8s::admission::{AdmissionRequest, Answer};

/// Who changed what: the `policy` leaf of an admission. Contents are named by
/// their digest: the leaf proves which policy it was, and says nothing of it.
pub fn leaf(review: &AdmissionRequest, answer: &Answer) -> Record {
    let (spec, before) = (review.object.get("spec"), review.old_object.get("spec"));
    let (admitted, why) = match answer {
        Answer::Allowed { .. } => (true, None),
        Answer::Refused(reasons) => (false, Some(reasons.join("; "))),
    };
    let object = if review.object.is_null() { &review.old_object } else { &review.object };
    let name = match review.name.as_str() {
        "" => object.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default(),
        name => name,
    };
    let mut record = Record::new(Kind::Policy)
        .with("operation", &review.operation)
        .with("kind", &review.kind.kind)
        .with("namespace", &review.namespace)
        .with("name", name)
        .with(
            "by",
            json!({
                "username": review.user_info.username,
                "uid": review.user_info.uid,
                "groups": review.user_info.groups,
            }),
        )
        .with("spec", spec.map(digest_of))
        .with("before", before.map(digest_of))
        .with("changed", spec != before)
        .with("admitted", admitted)
        .with("request", &review.uid);
    if let Some(why) = why {
        record = record.with("why", why);
    }
    record
}

/// SHA-256 of the JSON, as `serde_json` writes it (keys sorted).
fn digest_of(value: &Value) -> String {
    hex::encode(digest(&SHA256, value.to_string().as_bytes()).as_ref())
}
