//! Everything that is not TCP goes nowhere.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use crate::pod::{Family, at};
use crate::scene::Scene;
use crate::trials::both;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    trials.extend(both("bypass::packets::quic_goes_nowhere", |family| udp(family, 443)));
    trials.extend(both("bypass::packets::udp_goes_nowhere", |family| udp(family, 8080)));
    trials.extend(both("bypass::packets::dns_to_a_server_of_the_agents_choice_goes_nowhere", |family| udp(family, 53)));
    trials.extend(both("bypass::packets::icmp_goes_nowhere", icmp));
    trials.extend(both("bypass::packets::sctp_goes_nowhere", sctp));
    trials.extend(both("bypass::packets::neighbours_and_the_gateway_itself_still_work", still_works));
    trials
}

fn udp(family: Family, port: u16) -> Result<()> {
    let scene = Scene::get()?;
    let words = |mark: &str, address| ["udp", &at(address, port), mark].map(str::to_owned).to_vec();
    scene.peer.is_out_of_reach(&scene.agent, family, words).map(drop)
}

fn icmp(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    let words =
        |mark: &str, address: std::net::IpAddr| ["icmp", &address.to_string(), mark].map(str::to_owned).to_vec();
    let came = scene.peer.is_out_of_reach(&scene.agent, family, words)?;
    // The peer's kernel answers an echo by itself.
    ensure!(came["answer"].is_null(), "{came}");
    Ok(())
}

fn sctp(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    let words =
        |mark: &str, address: std::net::IpAddr| ["sctp", &address.to_string(), mark].map(str::to_owned).to_vec();
    scene.peer.is_out_of_reach(&scene.agent, family, words).map(drop)
}

/// What is dropped is not too much: a target answers, again and again.
fn still_works(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    let cluster = sluice_testkit::Cluster::get()?;
    let (host, token) = (cluster.host()?, cluster.developer()?);
    let resolved = scene.agent.probe(&["dns", host])?;
    let addresses = resolved["addresses"].as_array().cloned().unwrap_or_default();
    let mut addresses = addresses.iter().filter_map(|one| one.as_str()?.parse::<std::net::IpAddr>().ok());
    let Some(address) = addresses.find(|address| family.has(address)) else {
        anyhow::bail!("{host} has no {} address in the pod: {resolved}", family.label());
    };
    let came = scene.agent.probe(&[
        "requests",
        "20",
        "-to",
        &at(address, 443),
        "-name",
        host,
        "-token",
        &token,
        "-ca",
        "/run/sluice/trust/ca.crt",
    ])?;
    assert_eq!(came, serde_json::json!({"200": 20}));
    Ok(())
}
