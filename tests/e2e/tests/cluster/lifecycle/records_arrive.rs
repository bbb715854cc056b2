//! Records of a pod reach the collector, and who may read them there.

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use sluice_testkit::{Cluster, eventually};

use super::policy_changes::{MAP, assert_status, rules};
use crate::kube::{Namespace, apply};
use crate::node::stop_gateway;
use crate::pod::{Pod, agent};
use crate::policies::{policy, until_programmed};
use crate::records::{ask, eventually_has, summary, until_end};
use crate::trials::one;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        one("lifecycle::records::deleting_a_pod_drains_its_trail_to_the_end", drained),
        one("lifecycle::records::a_sidecar_that_vanishes_without_its_end_is_flagged", vanished),
        one("lifecycle::records::a_trail_is_read_by_those_who_may", who_may_read),
    ]
}

fn drained() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    for _ in 0..10 {
        assert_status(&pod, "GET", MAP, 200)?;
        assert_status(&pod, "DELETE", MAP, 403)?;
    }
    pod.delete()?;
    let records = until_end(&pod.uid)?;
    // Names that were refused have no command.
    let counts = |record: &&serde_json::Value, kind: &str| {
        record["kind"] == kind && (kind != "refused" || !record["body"]["command"].is_null())
    };
    let count = |kind: &str| records.iter().filter(|record| counts(record, kind)).count();
    assert_eq!((count("intent"), count("outcome"), count("refused"), count("enrol")), (10, 10, 10, 1));
    for record in records.iter().filter(|record| record["kind"] == "intent") {
        let workload = &record["body"]["command"]["workload"];
        ensure!(workload["pod"] == "agent" && workload["node"] == "node1", "{record}");
    }
    let summary = summary(&pod.uid)?;
    ensure!(summary["silent"] == false && summary["epochs"][0]["ended"] == true, "{summary}");
    Ok(())
}

/// Stopped and gone: nobody could write an `end`.
fn vanished() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    assert_status(&pod, "GET", MAP, 200)?;
    eventually_has(&pod.uid, "its records", |record| record["kind"] == "outcome")?;
    ensure!(summary(&pod.uid)?["silent"] == false, "it is flagged while it runs");
    stop_gateway(&pod)?;
    namespace.kubectl(&["delete", "pod", "agent", "--grace-period=0", "--force"])?;
    // It counts as silent after three heartbeats that did not come.
    let mut flagged = Ok(());
    for _ in 0..4 {
        flagged = eventually("the flag", || {
            let summary = summary(&pod.uid)?;
            if summary["silent"] == true { Ok(()) } else { bail!("{summary}") }
        });
        if flagged.is_ok() {
            break;
        }
    }
    flagged
}

/// An administrator of the namespace may, one of another may not, and the
/// agent neither.
fn who_may_read() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    namespace.lets_do_everything("developers")?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    let cluster = Cluster::get()?;
    let path = format!("/v1/records?namespace={}&podUid={}", namespace.name, pod.uid);
    eventually("records for who may read them", || {
        let answer = ask(&cluster.developer()?, &path)?.expect(200)?;
        if answer.text().contains(&pod.uid) { Ok(()) } else { bail!("{}", answer.text()) }
    })?;
    let stranger = cluster.token(&json!({"upn": "eve@example.com", "groups": ["strangers"]}))?;
    let answer = ask(&stranger, &path)?;
    ensure!(answer.status == 403 || answer.status == 404, "{} {}", answer.status, answer.text());
    // Asked for everything, each gets what is theirs: other trails are there, of other namespaces.
    for (person, may) in [(cluster.developer()?, true), (stranger, false)] {
        let answer = ask(&person, "/v1/records")?;
        let own = |line: &str| may && line.contains(&format!("\"namespace\":\"{}\"", namespace.name));
        let text = answer.text();
        let fits = match answer.status {
            200 => text.lines().filter(|line| !line.is_empty()).all(own),
            status => status == 403,
        };
        ensure!(fits, "{} {text}", answer.status);
    }
    let answer = ask("x.y.z", &path)?;
    ensure!(answer.status == 401, "{} {}", answer.status, answer.text());
    Ok(())
}
