//! Parts of the installation that are away for a while.

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sluice_testkit::eventually;

use super::policy_changes::{MAP, ask, ask_often, assert_status, rules};
use crate::installation::{install, scale};
use crate::kube::{Namespace, apply, unique};
use crate::node::kill_gateway;
use crate::pod::{Pod, agent};
use crate::policies::{policy, until_programmed};
use crate::records::until_end;
use crate::trials::one;

pub(super) fn alone() -> Vec<Trial> {
    vec![
        one("lifecycle::outages::without_the_control_plane_sidecars_go_on", control_down),
        one("lifecycle::outages::without_the_collector_reads_spool_and_changes_are_denied", collector_down),
        one("lifecycle::outages::a_trail_without_room_denies_until_there_is_some", trail_full),
        one("lifecycle::outages::a_gateway_that_is_killed_while_the_collector_is_away_loses_nothing", both_down),
    ]
}

fn control_down() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    assert_status(&pod, "GET", MAP, 200)?;
    scale("sluice-control", 0)?;
    let outcome = goes_on(&pod);
    scale("sluice-control", 2)?;
    outcome?;
    // And what changes afterwards is heard of. Services lead to a pod a moment after it is ready.
    let changed = policy(&namespace, "agents", "", &rules("get, list"), "")?;
    eventually("the webhook answers", || apply(&changed))?;
    until_programmed(&namespace, "agents")?;
    assert_status(&pod, "GET", "/api/v1/namespaces/dev/configmaps", 200)
}

fn goes_on(pod: &Pod) -> Result<()> {
    for _ in 0..5 {
        assert_status(pod, "GET", MAP, 200)?;
        assert_status(pod, "DELETE", MAP, 403)?;
    }
    // Even a gateway that starts anew: the last policy lies in the pod.
    kill_gateway(pod)?;
    eventually("the gateway starts without the control plane", || {
        if pod.gateway_restarts()? == 0 {
            bail!("not yet");
        }
        assert_status(pod, "GET", MAP, 200)
    })?;
    assert_status(pod, "DELETE", MAP, 403)
}

/// The body of a ConfigMap to make in `dev`.
fn map(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).to_string()
}

fn collector_down() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get, create, delete"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    let name = unique("made");
    let maps = "/api/v1/namespaces/dev/configmaps";
    let (status, came) = ask(&pod, "POST", maps, &map(&name))?;
    ensure!(status == 201, "with the collector, it is made: {came}");
    scale("sluice-collector", 0)?;
    let late = unique("late");
    let outcome = while_collector_is_down(&pod, maps, &name, &late);
    scale("sluice-collector", 1)?;
    outcome?;
    // Everything arrives, each once, and changes are let through again.
    eventually("changes are let through again", || {
        let (status, came) = ask(&pod, "POST", maps, &map(&late))?;
        if status == 201 || status == 409 { Ok(()) } else { bail!("{came}") }
    })?;
    for name in [&name, &late] {
        let (status, came) = ask(&pod, "DELETE", &format!("{maps}/{name}"), "")?;
        ensure!(status == 200, "{came}");
    }
    pod.delete()?;
    let records = until_end(&pod.uid)?;
    let spooled = records.iter().filter(|record| record["kind"] == "intent" && record.to_string().contains("\"get\""));
    ensure!(spooled.count() >= 20, "the reads of the meantime are not all there");
    Ok(())
}

fn while_collector_is_down(pod: &Pod, maps: &str, made: &str, late: &str) -> Result<()> {
    for _ in 0..20 {
        assert_status(pod, "GET", MAP, 200)?;
    }
    // A change waits for the collector, and is then denied: it was not made.
    let (status, came) = ask(pod, "POST", maps, &map(late))?;
    ensure!(status == 503, "a change without its record: {came}");
    let (status, came) = ask(pod, "DELETE", &format!("{maps}/{made}"), "")?;
    ensure!(status == 503, "a change without its record: {came}");
    let there = crate::kube::run(&["get", "configmap", late, "--namespace", "dev"])?;
    ensure!(!there.status.success(), "the change was made: {}", there.stdout);
    let there = crate::kube::run(&["get", "configmap", made, "--namespace", "dev"])?;
    ensure!(there.status.success(), "the change was made: {}", there.stderr);
    assert_eq!(pod.gateway_restarts()?, 0);
    Ok(())
}

/// The trail's volume is small and nobody takes the records.
fn trail_full() -> Result<()> {
    install(&["gateway.trailSize=2Mi"])?;
    let outcome = (|| {
        let namespace = Namespace::new(&json!({}))?;
        apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
        let pod = Pod::start(&namespace, &agent("agent"))?;
        until_programmed(&namespace, "agents")?;
        scale("sluice-collector", 0)?;
        let filled = until_full(&pod);
        scale("sluice-collector", 1)?;
        let allowed = filled?;
        eventually("there is room again", || assert_status(&pod, "GET", MAP, 200))?;
        assert_eq!(pod.gateway_restarts()?, 0);
        pod.delete()?;
        let records = until_end(&pod.uid)?;
        let is = |record: &&Value, kind: &str| record["kind"] == kind && record["body"]["status"] == 200;
        let answered = records.iter().filter(|record| is(record, "outcome")).count();
        ensure!(answered >= allowed, "{allowed} were answered, the trail has {answered}");
        Ok(())
    })();
    install(&[])?;
    outcome
}

/// Asks until it is denied for want of room; how often it was answered.
fn until_full(pod: &Pod) -> Result<usize> {
    let mut allowed = 0;
    for _ in 0..20 {
        let counts = ask_often(pod, "1000", MAP)?;
        allowed += usize::try_from(counts["200"].as_u64().unwrap_or_default())?;
        if counts["503"].is_u64() {
            let (status, came) = ask(pod, "GET", MAP, "")?;
            ensure!(status == 503, "{came}");
            let body = came["body"].as_str().unwrap_or_default();
            ensure!(body.contains("trail") && body.contains("full"), "{body}");
            return Ok(allowed);
        }
    }
    bail!("{allowed} requests fit into the trail")
}

fn both_down() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    scale("sluice-collector", 0)?;
    let outcome = (|| {
        for _ in 0..10 {
            assert_status(&pod, "GET", MAP, 200)?;
        }
        kill_gateway(&pod)?;
        eventually("the gateway works again", || {
            if pod.gateway_restarts()? == 0 {
                bail!("not yet");
            }
            assert_status(&pod, "GET", MAP, 200)
        })
    })();
    scale("sluice-collector", 1)?;
    outcome?;
    pod.delete()?;
    let records = until_end(&pod.uid)?;
    let intents = records.iter().filter(|record| record["kind"] == "intent").count();
    ensure!(intents >= 11, "{intents} of at least 11 intents arrived");
    Ok(())
}
