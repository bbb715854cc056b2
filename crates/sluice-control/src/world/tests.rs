use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sluice_policy::spec::Selector;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn pod(namespace: &str, pairs: &[(&str, &str)]) -> Pod {
    Pod {
        namespace: namespace.to_owned(),
        name: "p".to_owned(),
        service_account: "default".to_owned(),
        labels: labels(pairs),
    }
}

fn policy(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "GatewayPolicy",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

fn guard(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "ClusterGatewayPolicy", "metadata": {"name": name}, "spec": spec})
}

fn world(documents: &[Value]) -> World {
    World {
        documents: documents
            .iter()
            .enumerate()
            .map(|(index, document)| read(document, &format!("uid-{index}"), Some(1)))
            .map(|read| (read.name.clone(), Arc::new(read)))
            .collect(),
        pods: BTreeMap::from([
            ("a".to_owned(), pod("agents", &[("app", "coder")])),
            ("b".to_owned(), pod("prod", &[("app", "coder")])),
        ]),
        ..World::default()
    }
}

fn named(world: &World, uid: &str) -> Vec<String> {
    config_for(world, uid).expect("a config").documents.into_iter().map(|document| document.name).collect()
}

fn selector(value: Value) -> Option<Selector> {
    Some(serde_json::from_value(value).expect("a selector"))
}

#[test]
fn a_selector_is_read_as_kubernetes_reads_it() {
    let has = labels(&[("app", "coder"), ("tier", "dev")]);
    let expression = |operator: &str, key: &str, values: Value| {
        let one = match &values {
            Value::Null => json!({"key": key, "operator": operator}),
            values => json!({"key": key, "operator": operator, "values": values}),
        };
        selects(selector(json!({"matchExpressions": [one]})).as_ref(), &has)
    };
    assert!(selects(None, &has));
    assert!(selects(selector(json!({})).as_ref(), &has));
    assert!(selects(selector(json!({"matchLabels": {"app": "coder", "tier": "dev"}})).as_ref(), &has));
    assert!(!selects(selector(json!({"matchLabels": {"app": "coder", "tier": "prod"}})).as_ref(), &has));
    assert!(expression("In", "tier", json!(["dev", "test"])) && !expression("In", "tier", json!(["prod"])));
    assert!(!expression("In", "none", json!(["dev"])));
    assert!(expression("NotIn", "tier", json!(["prod"])) && !expression("NotIn", "tier", json!(["dev"])));
    assert!(expression("NotIn", "none", json!(["dev"])), "an absent label is in no list");
    assert!(expression("Exists", "app", Value::Null) && !expression("Exists", "none", Value::Null));
    assert!(expression("DoesNotExist", "none", Value::Null) && !expression("DoesNotExist", "app", Value::Null));
}

#[test]
fn a_policy_is_for_pods_of_its_namespace_that_it_selects() {
    let world = world(&[
        policy("agents", "all", &json!({})),
        policy("agents", "coders", &json!({"selector": {"matchLabels": {"app": "coder"}}})),
        policy("agents", "others", &json!({"selector": {"matchLabels": {"app": "other"}}})),
        policy("prod", "theirs", &json!({})),
    ]);
    assert_eq!(named(&world, "a"), ["GatewayPolicy/agents/all", "GatewayPolicy/agents/coders"]);
    assert_eq!(named(&world, "b"), ["GatewayPolicy/prod/theirs"]);
    assert!(config_for(&world, "unknown").is_none());
}

#[test]
fn guard_rails_select_namespaces_by_label_and_by_name() {
    let by_name = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "prod"}}});
    let by_label = json!({"namespaceSelector": {"matchLabels": {"env": "live"}}});
    let both =
        json!({"namespaceSelector": {"matchLabels": {"env": "live"}}, "selector": {"matchLabels": {"app": "x"}}});
    let mut world =
        world(&[guard("every", &json!({})), guard("named", &by_name), guard("live", &by_label), guard("both", &both)]);
    assert_eq!(named(&world, "a"), ["ClusterGatewayPolicy/every"]);
    // A namespace that the cache does not know yet has its name at least.
    assert_eq!(named(&world, "b"), ["ClusterGatewayPolicy/every", "ClusterGatewayPolicy/named"]);
    world.namespaces.insert("agents".to_owned(), labels(&[("env", "live")]));
    assert_eq!(named(&world, "a"), ["ClusterGatewayPolicy/every", "ClusterGatewayPolicy/live"]);
}

#[test]
fn providers_go_to_everyone() {
    let provider = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "IdentityProvider", "metadata": {"name": "entra"},
        "spec": {"issuers": ["https://login.example/v2.0"]},
    });
    let world = world(&[provider]);
    assert_eq!(named(&world, "a"), ["IdentityProvider/entra"]);
    assert_eq!(named(&world, "b"), ["IdentityProvider/entra"]);
}

#[test]
fn a_selector_that_cannot_be_read_selects_everyone() {
    let world = world(&[policy("agents", "broken", &json!({"selector": {"matchLabels": "coder"}}))]);
    assert_eq!(named(&world, "a"), ["GatewayPolicy/agents/broken"], "pods keep what they have, and say so");
}

#[test]
fn a_pod_gets_the_bundles_that_its_documents_name_and_no_others() {
    let target = |config_map: &str| {
        json!({
            "identity": {"workload": "Allowed"},
            "targets": [{
                "name": "t", "kubernetes": {"server": "aks.example"}, "caBundleRef": {"configMap": config_map},
            }],
            "rules": [],
        })
    };
    let mut world = world(&[policy("agents", "x", &target("one")), policy("prod", "y", &target("two"))]);
    assert!(config_for(&world, "a").expect("a config").bundles.is_empty(), "not there yet");
    for name in ["agents/one/ca.crt", "prod/two/ca.crt", "agents/two/ca.crt"] {
        world.bundles.insert(name.to_owned(), format!("PEM of {name}"));
    }
    let bundles = |uid: &str| config_for(&world, uid).expect("a config").bundles;
    assert_eq!(bundles("a"), labels(&[("agents/one/ca.crt", "PEM of agents/one/ca.crt")]));
    assert_eq!(bundles("b"), labels(&[("prod/two/ca.crt", "PEM of prod/two/ca.crt")]));
}

#[test]
fn a_revision_names_exactly_what_is_sent() {
    let revision = |world: &World| config_for(world, "a").expect("a config").revision;
    let one = || policy("agents", "one", &json!({"rules": []}));
    let two = || policy("agents", "two", &json!({"rules": []}));
    let base = world(&[one(), two()]);
    let first = revision(&base);
    assert_eq!(first.len(), 16);
    assert_eq!(revision(&world(&[two(), one()])), first, "order is nothing");
    let mut status_changed = world(&[one(), two()]);
    for read in status_changed.documents.values_mut() {
        Arc::make_mut(read).generation = Some(99);
    }
    assert_eq!(revision(&status_changed), first, "a generation alone is nothing");
    let mut elsewhere = world(&[one(), two(), policy("prod", "three", &json!({}))]);
    elsewhere.pods.insert("c".to_owned(), pod("agents", &[]));
    assert_eq!(revision(&elsewhere), first, "what is not sent is nothing");

    assert_ne!(revision(&world(&[one()])), first);
    assert_ne!(revision(&world(&[one(), policy("agents", "two", &json!({"mode": "Audit"}))])), first);
    let mut relabelled = world(&[one(), two()]);
    relabelled.pods.insert("a".to_owned(), pod("agents", &[("app", "coder"), ("new", "")]));
    assert_ne!(revision(&relabelled), first, "labels are sent, too");
}

#[test]
fn a_pod_that_is_over_is_no_pod() {
    let pod = |phase: &str| {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "agents", "uid": "u"}, "spec": {"containers": []},
            "status": {"phase": phase},
        });
        Pod::of(&serde_json::from_value(pod).expect("a pod"))
    };
    assert_eq!(pod("Running").map(|(uid, pod)| (uid, pod.service_account)), Some(("u".into(), "default".into())));
    assert!(pod("Pending").is_some() && pod("Unknown").is_some());
    assert!(pod("Succeeded").is_none() && pod("Failed").is_none());
}

#[test]
fn what_cannot_be_read_says_why_and_keeps_its_name() {
    let read = read(&policy("agents", "x", &json!({"rules": "none"})), "u", Some(3));
    assert_eq!((read.name.as_str(), read.generation), ("GatewayPolicy/agents/x", Some(3)));
    assert!(!read.problems.is_empty());
    assert_eq!(read.scope, Scope::Namespace { namespace: "agents".to_owned(), pods: None });
}
