use serde_json::json;

use super::*;

#[test]
fn every_layer_lies_on_something() {
    for kind in &KINDS {
        let bare = (kind.spec)();
        for (place, _) in overlay::layers(kind.kind) {
            // What one layer adds, another may refine.
            let mut schema = bare.clone();
            overlay::lay(kind.kind, &mut schema);
            assert!(overlay::at(&mut schema, place).is_some(), "{}: {place}", kind.kind);
        }
    }
}

#[test]
fn nothing_of_a_definition_is_lost() {
    for (kind, definition) in KINDS.iter().zip(definitions()) {
        let schema = definition.spec.versions[0].schema.clone().and_then(|schema| schema.open_api_v3_schema);
        let mut written = serde_json::to_value(schema).expect("JSON");
        crate::generate::whole_numbers(&mut written);
        assert_eq!(written["properties"]["spec"], kind.spec_schema(), "{}", kind.kind);
        assert_eq!(written["properties"]["status"], (kind.status)(), "{}", kind.kind);
    }
}

#[test]
fn every_field_is_described_and_structural() {
    fn walk(place: &str, schema: &Value, wrong: &mut Vec<String>) {
        for banned in ["$ref", "$defs", "oneOf", "anyOf", "const", "title", "default"] {
            if schema.get(banned).is_some() {
                wrong.push(format!("{place} has {banned}"));
            }
        }
        if schema.get("type").is_none() && schema.get("x-kubernetes-int-or-string").is_none() {
            wrong.push(format!("{place} has no type"));
        }
        if let Some(items) = schema.get("items") {
            walk(&format!("{place}[]"), items, wrong);
        }
        for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if below.get("description").and_then(Value::as_str).is_none_or(|text| text.len() < 4) {
                wrong.push(format!("{place}.{name} is not described"));
            }
            walk(&format!("{place}.{name}"), below, wrong);
        }
    }
    let mut wrong = Vec::new();
    for kind in &KINDS {
        walk("spec", &kind.spec_schema(), &mut wrong);
        walk("status", &(kind.status)(), &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn objects_become_documents() {
    let object: GatewayPolicy = serde_json::from_value(json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "GatewayPolicy",
        "metadata": {"name": "a", "namespace": "n", "uid": "x", "managedFields": [], "labels": {"a": "b"}},
        "spec": {"mode": "Audit", "unknown": 1}, "status": {"conditions": [], "matchedPods": 3},
    }))
    .expect("an object");
    assert_eq!(
        object.document(),
        json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "GatewayPolicy", "metadata": {"name": "a", "namespace": "n"},
            "spec": {"mode": "Audit", "unknown": 1},
        })
    );
}

#[test]
fn one_object_is_checked_by_itself() {
    let policy =
        |spec: Value| json!({"kind": "GatewayPolicy", "metadata": {"name": "a", "namespace": "n"}, "spec": spec});
    let fine = json!({
        "identity": {"providers": ["not-there-yet"]},
        "targets": [{"name": "t", "kubernetes": {"server": "a.example.com"}, "caBundleRef": {"configMap": "ca"}}],
        "rules": [{
            "name": "r", "subjects": {"groups": ["not-there-yet:x"]}, "targets": ["t"], "action": "Allow",
            "kubernetes": {"verbs": ["get"], "resources": ["pods"], "namespaces": ["*"]},
        }],
    });
    assert_eq!(check(&policy(fine.clone())), Ok(Vec::new()));

    let mut misspelt = fine.clone();
    misspelt["rules"][0]["wehn"] = json!("false");
    let problems = check(&policy(misspelt)).expect_err("a misspelling");
    assert!(
        problems[0].starts_with("spec.rules[0].wehn: the field `wehn` is unknown; did you mean `when`?"),
        "{problems:?}"
    );

    let mut outside = fine;
    outside["targets"][0]["caBundleRef"] = json!({"file": "/x"});
    assert!(check(&policy(outside)).is_err());

    let rails = json!({"kind": "ClusterGatewayPolicy", "metadata": {"generateName": "r-"}, "spec": {"rules": [{
        "name": "r", "subjects": {"groups": ["entra:x"]}, "kubernetes": {"verbs": ["delete"]}, "action": "Deny",
    }]}});
    assert_eq!(check(&rails), Ok(Vec::new()));
    let idp = json!({"kind": "IdentityProvider", "metadata": {"name": "a"}, "spec": {"issuers": ["http://x"]}});
    assert!(check(&idp).is_err());
}
