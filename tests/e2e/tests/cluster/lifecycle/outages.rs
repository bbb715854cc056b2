//! Parts of the installation that are away for a while.

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use sluice_testkit::eventually;

use super::policy_changes::{MAP, ask, assert_status, rules};
use crate::installation::scale;
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
    // And what changes afterwards is heard of.
    apply(&policy(&namespace, "agents", "", &rules("get, list"), "")?)?;
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
