//! Names: only those of the policy, and each leads to the gateway.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sluice_testkit::Cluster;

use crate::kube::{Namespace, apply, unique};
use crate::pod::{Family, Pod, agent};
use crate::policies::{EVERYTHING, policy};
use crate::records::{eventually_has, of_pod};
use crate::scene::Scene;
use crate::trials::one;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        one("bypass::names::only_names_in_policy_resolve", only_names_in_policy),
        one("bypass::names::a_target_has_an_address_of_the_gateways_own", own_addresses),
        one("bypass::names::another_server_is_not_asked", another_server),
        one("bypass::names::a_tunnel_by_names_is_limited_and_recorded", tunnel),
    ]
}

fn only_names_in_policy() -> Result<()> {
    let scene = Scene::get()?;
    for name in ["evil.example.com", "web.dev.svc.cluster.local", "kube-dns.kube-system.svc", "localhost.example.com"] {
        let came = scene.agent.probe(&["dns", name])?;
        ensure!(came["addresses"].is_null() && came["texts"].is_null(), "{name}: {came}");
    }
    let came = scene.peer.free.probe(&["dns", "web.dev.svc.cluster.local"])?;
    ensure!(came["addresses"].is_array(), "where nothing stops it, it resolves: {came}");
    Ok(())
}

fn own_addresses() -> Result<()> {
    let scene = Scene::get()?;
    let mut all = Vec::new();
    for name in [Cluster::get()?.host()?, "kubernetes.default.svc"] {
        let came = scene.agent.probe(&["dns", name])?;
        let addresses: Vec<IpAddr> = came["addresses"]
            .as_array()
            .with_context(|| format!("{name}: {came}"))?
            .iter()
            .filter_map(|one| one.as_str()?.parse().ok())
            .collect();
        for family in Family::BOTH {
            ensure!(
                addresses.iter().any(|address| family.has(address)),
                "{name} has none of {}: {came}",
                family.label()
            );
        }
        for address in &addresses {
            let synthetic = match address {
                IpAddr::V4(v4) => v4.octets()[0] == 198 && (18..20).contains(&v4.octets()[1]),
                IpAddr::V6(v6) => v6.segments()[0] & 0xfe00 == 0xfc00 && !address.to_string().starts_with("fd77:"),
            };
            ensure!(synthetic, "{name} resolves to {address}, which is a real one");
        }
        all.extend(addresses);
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "each target has an address of its own: {all:?}");
    Ok(())
}

/// Whoever is asked, the gateway answers.
fn another_server() -> Result<()> {
    let scene = Scene::get()?;
    for server in ["10.96.0.10:53", "10.77.0.1:53", "8.8.8.8:53"] {
        let came = scene.agent.probe(&["dns", "web.dev.svc.cluster.local", server])?;
        ensure!(came["addresses"].is_null(), "{server}: {came}");
        let came = scene.agent.probe(&["dns", Cluster::get()?.host()?, server])?;
        ensure!(came["addresses"].to_string().contains("198.1"), "{server} answers for itself: {came}");
    }
    Ok(())
}

/// In a pod where nobody else asks for names: how many are recorded is limited
/// for all of a pod.
fn tunnel() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", EVERYTHING, "")?)?;
    let agent = Pod::start(&namespace, &agent("agent"))?;
    let domain = format!("{}.example.com", unique("tunnel"));
    let counts = agent.probe(&["tunnel", "300", &domain])?;
    ensure!(counts["answered"].is_null(), "{counts}");
    let total: u64 = counts.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    assert_eq!(total, 300, "{counts}");
    let is_it = |record: &Value| record["kind"] == "refused" && record.to_string().contains(&domain);
    eventually_has(&agent.uid, "a record of the tunnel", is_it)?;
    // One for each would let the agent fill the trail.
    let records = of_pod(&agent.uid, "kind=refused")?;
    let recorded = records.iter().filter(|record| is_it(record)).count();
    ensure!(recorded < 300, "{recorded} records of 300 names");
    Ok(())
}
