//! Arrows between the crates point one way (ARCHITECTURE.md, "The crates").
//! Development dependencies are outside the rule, except for `sluice-core`'s.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// What each crate may use of ours.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sluice-core", &[]),
    ("sluice-mask", &["sluice-core"]),
    ("sluice-policy", &["sluice-core"]),
    ("sluice-audit", &["sluice-core"]),
    ("sluice-k8s", &["sluice-core", "sluice-policy"]),
    ("sluice-gateway", &["sluice-core", "sluice-mask", "sluice-policy", "sluice-audit"]),
    ("sluice", &["sluice-core", "sluice-mask", "sluice-policy", "sluice-audit", "sluice-gateway", "sluice-k8s"]),
    ("sluice-testkit", &["sluice-core", "sluice-mask", "sluice-policy", "sluice-audit", "sluice-gateway"]),
    ("xtask", &["sluice-core", "sluice-mask", "sluice-policy", "sluice-audit", "sluice-gateway", "sluice-k8s"]),
    ("sluice-e2e", &["sluice-testkit"]),
];

/// Programs that the gateway must not carry: its size and its attack surface
/// are a feature.
const NOT_IN_THE_GATEWAY: &[&str] = &["kube", "kube-client", "axum", "ring", "openssl", "native-tls"];

fn packages() -> (Vec<Package>, cargo_metadata::Resolve) {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .other_options(["--offline".to_owned(), "--locked".to_owned()])
        .exec()
        .expect("cargo metadata");
    (metadata.packages, metadata.resolve.expect("a resolved graph"))
}

#[test]
fn arrows_point_one_way() {
    let rules: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in packages().0.iter().filter(|package| package.source.is_none()) {
        let name = package.name.as_str();
        let Some(allowed) = rules.get(name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        for dependency in &package.dependencies {
            let ours = rules.contains_key(dependency.name.as_str());
            let judged = dependency.kind != DependencyKind::Development || name == "sluice-core";
            if ours && judged && !allowed.contains(&dependency.name.as_str()) {
                wrong.push(format!("{name} uses {}", dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_gateway_carries_no_second_tls_and_no_cluster_client() {
    let (packages, resolve) = packages();
    let name_of: BTreeMap<_, _> = packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let mut queue: Vec<_> = packages
        .iter()
        .filter(|package| package.name.as_str() == "sluice-gateway")
        .map(|package| &package.id)
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    while let Some(id) = queue.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| &node.id == id).expect("a node for each package");
        for dependency in &node.deps {
            if dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) {
                queue.push(&dependency.pkg);
            }
        }
    }
    let carried: Vec<_> =
        seen.iter().filter_map(|id| name_of.get(*id)).filter(|name| NOT_IN_THE_GATEWAY.contains(name)).collect();
    assert!(carried.is_empty(), "the gateway links {carried:?}");
}
