//! Addresses and names that say different things.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use sluice_testkit::Cluster;

use crate::kube::unique;
use crate::pod::{Family, Pod, at};
use crate::scene::Scene;
use crate::trials::{both, one};

/// The pod's CA, as every program in it trusts it.
const CA: &str = "/run/sluice/trust/ca.crt";

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    trials.extend(both("bypass::addresses::a_raw_address_is_out_of_reach", raw_address));
    trials.extend(both("bypass::addresses::a_raw_address_without_sni_is_out_of_reach", without_sni));
    trials.extend(both("bypass::addresses::a_raw_address_with_another_sni_is_out_of_reach", with_another_sni));
    trials.extend(both("bypass::addresses::an_allowed_sni_lands_at_the_real_host", allowed_sni));
    trials.extend(both("bypass::addresses::the_api_servers_own_address_is_no_way_around", api_server_address));
    trials.extend(both("bypass::addresses::another_pod_is_out_of_reach_on_other_ports", other_ports));
    trials.extend(both("bypass::addresses::an_inbound_pull_by_a_peer_gets_nothing", inbound_pull));
    trials.extend(both("bypass::addresses::the_nodes_own_services_are_out_of_reach", node_services));
    trials.push(one("bypass::addresses::the_gateways_own_ports_lead_nowhere", own_ports));
    trials.push(one("bypass::addresses::another_sni_at_a_targets_address_is_denied", || another_name(Place::Sni)));
    trials.push(one("bypass::addresses::another_host_header_is_denied", || another_name(Place::Host)));
    trials.push(one("bypass::addresses::another_authority_is_denied", || another_name(Place::Authority)));
    trials.push(one("bypass::addresses::an_encrypted_hello_is_denied", encrypted_hello));
    trials.push(one("bypass::addresses::instance_metadata_and_wire_server_are_denied", metadata));
    trials
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn raw_address(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    scene
        .peer
        .is_out_of_reach(&scene.agent, family, |mark, address| words(&["tcp", &at(address, 8080), mark]))
        .map(drop)
}

fn without_sni(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    scene
        .peer
        .is_out_of_reach(&scene.agent, family, |mark, address| {
            words(&["https", "-to", &at(address, 443), "-path", &format!("/{mark}")])
        })
        .map(drop)
}

fn with_another_sni(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    scene
        .peer
        .is_out_of_reach(&scene.agent, family, |mark, address| {
            words(&["https", "-to", &at(address, 443), "-name", &format!("{mark}.example.com")])
        })
        .map(drop)
}

/// The name of a target, on the attacker's address: what answers, if anything
/// does, is the target.
fn allowed_sni(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    let cluster = Cluster::get()?;
    let (host, token) = (cluster.host()?, cluster.developer()?);
    let came = scene.peer.is_out_of_reach(&scene.agent, family, |mark, address| {
        let ca = if mark.starts_with("attack") { CA } else { "" };
        let path = format!("/version?{mark}");
        words(&["https", "-to", &at(address, 443), "-name", host, "-path", &path, "-token", &token, "-ca", ca])
    })?;
    if came["error"].is_null() && came["status"] == 200 {
        ensure!(came["body"].as_str().is_some_and(|body| body.contains("gitVersion")), "who answered? {came}");
    }
    // Nothing at all came to the attacker: not even the hello.
    let hellos = scene.peer.arrivals()?;
    let agent = scene.agent.address(family)?.to_string();
    let from_agent: Vec<&Value> =
        hellos.iter().filter(|one| one["from"].as_str().is_some_and(|from| from.contains(&agent))).collect();
    ensure!(from_agent.is_empty(), "the peer saw the agent: {from_agent:?}");
    Ok(())
}

/// The API server by its address: either refused, or behind the gateway (an
/// IP of a target's own is fine), so that the answer is signed by the pod's CA.
fn api_server_address(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    let cluster = Cluster::get()?;
    let node: IpAddr = cluster.variable(if family == Family::V4 { "CLUSTER_V4" } else { "CLUSTER_V6" })?.parse()?;
    let token = cluster.developer()?;
    for port in [443, 6443] {
        for name in ["", cluster.host()?, "kubernetes"] {
            let secret = scene.namespace.core("secrets");
            let words =
                ["https", "-to", &at(node, port), "-name", name, "-path", &secret, "-token", &token].map(str::to_owned);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let came = scene.agent.probe(&words)?;
            let names = came["certificate"].to_string();
            ensure!(
                !names.contains("kubernetes.default.svc.cluster.local"),
                "port {port}, name `{name}`: the API server's own certificate came: {came}"
            );
        }
    }
    // Where nothing stops it, its own certificate comes.
    let came = scene.peer.free.probe(&["https", "-to", &at(node, 443)])?;
    ensure!(came["certificate"].to_string().contains("kubernetes"), "{came}");
    Ok(())
}

/// The kubelet, which runs commands in every container of the node.
fn node_services(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    let node: IpAddr =
        Cluster::get()?.variable(if family == Family::V4 { "CLUSTER_V4" } else { "CLUSTER_V6" })?.parse()?;
    let to = at(node, 10_250);
    let came = scene.agent.probe(&["https", "-to", &to, "-path", "/pods"])?;
    ensure!(came["status"].is_null() && came["certificate"].is_null(), "{came}");
    let came = scene.peer.free.probe(&["https", "-to", &to, "-path", "/pods"])?;
    ensure!(came["status"] == 401, "where nothing stops it, the kubelet answers: {came}");
    Ok(())
}

/// Dialled by the agent itself, not by the kernel's redirect: the original
/// destination is the gateway, which must not dial itself for ever.
fn own_ports() -> Result<()> {
    let scene = Scene::get()?;
    let before = scene.agent.gateway_restarts()?;
    let own = scene.agent.addresses.iter().map(|address| at(*address, 15_001));
    for to in ["127.0.0.1:15001".to_owned(), "[::1]:15001".to_owned()].into_iter().chain(own) {
        for _ in 0..5 {
            let came = scene.agent.probe(&["tcp", &to, "GET / HTTP/1.1\r\nHost: evil.example.com\r\n\r\n"])?;
            ensure!(!came["answer"].to_string().contains("200"), "{to}: {came}");
        }
    }
    assert_eq!(scene.agent.gateway_restarts()?, before);
    let came = scene.agent.probe(&["dns", "kubernetes.default.svc"])?;
    ensure!(came["addresses"].is_array(), "{came}");
    Ok(())
}

fn other_ports(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    for port in [53, 80] {
        scene
            .peer
            .is_out_of_reach(&scene.agent, family, |mark, address| words(&["tcp", &at(address, port), mark]))
            .with_context(|| format!("port {port}"))?;
    }
    Ok(())
}

/// A peer dials the agent, so that no rule about what goes out is asked.
fn inbound_pull(family: Family) -> Result<()> {
    let scene = Scene::get()?;
    let port = if family == Family::V4 { 18_081 } else { 18_082 };
    let listen = format!(":{port}");
    let pull = |from: &Pod, of: &Pod| from.probe(&["tcp", &at(of.address(family)?, port), "give"]);
    let serve = |pod: &Pod, text: &str| -> Result<sluice_testkit::Process> {
        let mut process =
            sluice_testkit::Process::start(&mut pod.exec_command(&["/bin/probe", "serve", &listen, text])?)?;
        process.line("a listener", |line| line.contains("listening").then_some(()))?;
        Ok(process)
    };
    let secret = unique("secret");
    let _serving = serve(&scene.agent, &secret)?;
    let came = pull(&scene.peer.free, &scene.agent)?;
    ensure!(!came.to_string().contains(&secret), "the peer pulled it out: {came}");
    // The agent's own loopback is its own business.
    let own = scene.agent.probe(&[
        "tcp",
        &at(if family == Family::V4 { IpAddr::from([127, 0, 0, 1]) } else { "::1".parse()? }, port),
        "give",
    ])?;
    ensure!(own.to_string().contains(&secret), "{own}");
    let free = unique("free");
    let _free = serve(&scene.peer.pod, &free)?;
    let came = pull(&scene.peer.free, &scene.peer.pod)?;
    ensure!(came.to_string().contains(&free), "where nothing stops it, it works: {came}");
    Ok(())
}

#[derive(Clone, Copy)]
enum Place {
    Sni,
    Host,
    Authority,
}

/// A target's address, and another name somewhere.
fn another_name(place: Place) -> Result<()> {
    let scene = Scene::get()?;
    let cluster = Cluster::get()?;
    let host = cluster.host()?;
    let token = cluster.developer()?;
    let mark = unique("attack");
    let (to, path) = (format!("{host}:443"), format!("/api/v1/namespaces/{mark}"));
    let mut words = vec!["https", "-to", &to, "-path", &path, "-token", &token];
    match place {
        Place::Sni => words.extend(["-name", "evil.example.com"]),
        Place::Host => words.extend(["-name", host, "-host", "evil.example.com", "-ca", CA]),
        Place::Authority => words.extend(["-name", host, "-host", "evil.example.com", "-ca", CA, "-http2"]),
    }
    let came = scene.agent.probe(&words)?;
    let refused = match place {
        Place::Sni => came["error"].is_string(),
        _ => came["error"].is_string() || came["status"].as_u64().is_some_and(|status| (400..500).contains(&status)),
    };
    ensure!(refused, "{came}");
    ensure!(!reached(&mark)?, "it reached the API server: {came}");
    // The same with the right name does.
    let honest = unique("sentinel");
    let path = format!("/api/v1/namespaces/{honest}");
    let came = scene.agent.probe(&["https", "-to", &to, "-path", &path, "-token", &token, "-name", host, "-ca", CA])?;
    ensure!(came["status"] == 404 || came["status"] == 403, "{came}");
    ensure!(reached(&honest)?, "{came}");
    Ok(())
}

/// Whether the API server's own record mentions the word.
fn reached(word: &str) -> Result<bool> {
    let path = Cluster::get()?.variable("CLUSTER_AUDIT_LOG")?;
    let log = std::fs::read(path).with_context(|| format!("read {path}"))?;
    Ok(String::from_utf8_lossy(&log).contains(word))
}

/// A hello with one name outside and another, encrypted, inside: nobody may be
/// reached by the inner one.
fn encrypted_hello() -> Result<()> {
    let scene = Scene::get()?;
    let host = Cluster::get()?.host()?;
    let came = scene.agent.probe(&["https", "-to", &format!("{host}:443"), "-name", host, "-hidden", "-ca", CA])?;
    ensure!(came["error"].is_string(), "{came}");
    let address = scene.peer.pod.address(Family::V4)?;
    let came = scene.agent.probe(&["https", "-to", &at(address, 443), "-name", host, "-hidden"])?;
    ensure!(came["error"].is_string(), "{came}");
    let seen = scene.peer.arrivals()?;
    ensure!(
        !seen
            .iter()
            .any(|one| one["from"].as_str().is_some_and(|from| from.contains(&scene.agent.addresses[0].to_string())))
    );
    Ok(())
}

/// Answered at once with a refusal, so that credential chains fall through.
fn metadata() -> Result<()> {
    let scene = Scene::get()?;
    for address in ["169.254.169.254:80", "168.63.129.16:80", "168.63.129.16:32526"] {
        let came = scene.agent.probe(&[
            "https",
            "-plain",
            "-to",
            address,
            "-path",
            "/metadata/identity/oauth2/token",
            "-header",
            "Metadata: true",
        ])?;
        let error = came["error"].as_str().unwrap_or_default();
        let refused = error.contains("refused") || error.contains("reset") || error.contains("EOF");
        let denied = came["status"].as_u64().is_some_and(|status| (400..500).contains(&status));
        ensure!(refused || denied, "{address}: a refusal was expected, not a time-out: {came}");
        ensure!(!came.to_string().contains("access_token"), "{came}");
    }
    Ok(())
}
