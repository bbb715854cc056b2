//! Arrows between the crates point one way (ARCHITECTURE.md, "The crates").
//! Development dependencies are outside the rule, except for `sluice-core`'s.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// What each crate may use of ours.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sluice-core", &[]),
    ("sluice-tds", &[]),
    ("sluice-mask", &["sluice-core"]),
    ("sluice-policy", &["sluice-core"]),
    ("sluice-audit", &["sluice-core"]),
    ("sluice-k8s", &["sluice-core", "sluice-policy"]),
    ("sluice-wire", &["sluice-core", "sluice-policy", "sluice-audit"]),
    ("sluice-link", &["sluice-core", "sluice-audit", "sluice-wire"]),
    ("sluice-control", &["sluice-core", "sluice-policy", "sluice-audit", "sluice-wire", "sluice-link", "sluice-k8s"]),
    ("sluice-collector", &["sluice-core", "sluice-audit", "sluice-wire", "sluice-link"]),
    ("sluice-gateway", &["sluice-core", "sluice-mask", "sluice-policy", "sluice-audit", "sluice-wire", "sluice-link"]),
    (
        "sluice",
        &["sluice-core", "sluice-mask", "sluice-policy", "sluice-audit", "sluice-gateway", "sluice-k8s", "sluice-wire"],
    ),
    ("sluice-testkit", &["sluice-core", "sluice-mask", "sluice-policy", "sluice-audit", "sluice-gateway"]),
    ("xtask", &["sluice-core", "sluice-mask", "sluice-policy", "sluice-audit", "sluice-gateway", "sluice-k8s"]),
    ("sluice-e2e", &["sluice-testkit"]),
    ("sluice-bench", &["sluice-testkit"]),
];

/// Programs that the gateway must not carry: its size and its attack surface
/// are a feature.
const NOT_IN_THE_GATEWAY: &[&str] = &["kube", "kube-client", "axum", "ring", "openssl", "native-tls"];

fn packages() -> Vec<Package> {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        // Crates of other platforms are not here.
        .other_options(["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned).to_vec())
        .exec()
        .expect("cargo metadata")
        .packages
}

#[test]
fn arrows_point_one_way() {
    let rules: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in packages().iter().filter(|package| package.source.is_none()) {
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
    // `cargo tree` knows what is linked; `cargo metadata` unites the features
    // of the whole workspace, weak ones too.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .args(["tree", "--offline", "--locked", "-p", "sluice-gateway", "--edges", "normal", "--prefix", "none"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let carried: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(carried.contains("rustls") && carried.contains("aws-lc-rs"), "{carried:?}");
    let wrong: Vec<_> = NOT_IN_THE_GATEWAY.iter().filter(|name| carried.contains(*name)).collect();
    assert!(wrong.is_empty(), "the gateway links {wrong:?}");
}
