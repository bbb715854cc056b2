//! An agent whose gateway dies.

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use sluice_testkit::{Cluster, Process, eventually};

use crate::kube::{Namespace, apply, unique};
use crate::node::kill_gateway;
use crate::peer::Peer;
use crate::pod::{Family, Pod, agent, at};
use crate::policies::{EVERYTHING, policy, until_programmed};
use crate::records::until_end;
use crate::trials::{both, one};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> =
        both("bypass::sidecar::while_the_gateway_is_killed_the_agent_has_no_network", killed).collect();
    trials.push(one("bypass::sidecar::the_trail_lies_where_the_agent_cannot_write", trail_out_of_reach));
    trials
}

/// The agent tries all the time; the gateway is killed three times under it.
fn killed(family: Family) -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", EVERYTHING, "")?)?;
    let peer = Peer::start(&namespace)?;
    let agent = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    let address = at(peer.pod.address(family)?, 8080);
    let mark = unique("attack");
    let mut attack = Process::start(&mut agent.exec_command(&["/bin/probe", "persist", &address, &mark])?)?;
    attack.line("a first round", |line| line.starts_with("round").then_some(()))?;

    for kill in 1..=3 {
        works(&agent)?;
        kill_gateway(&agent)?;
        eventually("the gateway is started again", || {
            let restarts = agent.gateway_restarts()?;
            if restarts >= kill { Ok(()) } else { bail!("{restarts} restarts after {kill} kills") }
        })?;
        eventually("the gateway works again", || works(&agent))?;
    }
    drop(attack);
    let sentinel = unique("sentinel");
    eventually("the same attempt, from a pod that nothing stops", || {
        peer.free.probe(&["tcp", &address, &sentinel])?;
        if peer.saw(&sentinel)? { Ok(()) } else { bail!("it does not reach the peer at all") }
    })?;
    ensure!(!peer.saw(&mark)?, "the agent reached the peer while its gateway was down");

    // Nothing of the trail was lost with it: every process wrote an epoch, and
    // every intent has an outcome, were it `unknown`.
    agent.delete()?;
    let records = until_end(&agent.uid)?;
    let enrolled = records.iter().filter(|record| record["kind"] == "enrol").count();
    ensure!(enrolled >= 4, "{enrolled} epochs of four processes");
    Ok(())
}

fn works(agent: &Pod) -> Result<()> {
    let cluster = Cluster::get()?;
    let (host, token) = (cluster.host()?, cluster.developer()?);
    let came = agent.probe(&[
        "https",
        "-to",
        &format!("{host}:443"),
        "-name",
        host,
        "-path",
        "/api/v1/namespaces/dev",
        "-token",
        &token,
        "-ca",
        "/run/sluice/trust/ca.crt",
    ])?;
    if came["status"] == 200 { Ok(()) } else { bail!("{came}") }
}

fn trail_out_of_reach() -> Result<()> {
    let agent = &crate::scene::Scene::get()?.agent;
    let finished = agent.exec(&["/bin/sh", "-c", "ls /var/lib/sluice/trail /run/sluice/private"])?;
    ensure!(!finished.status.success(), "{}", finished.stdout);
    let finished = agent.exec(&["/bin/sh", "-c", "dd if=/dev/zero of=/run/sluice/trust/fill bs=1024 count=1"])?;
    ensure!(!finished.status.success(), "{}", finished.stderr);
    Ok(())
}
