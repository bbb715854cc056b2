//! Records of a pod reach the collector, and who may read them there.

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use sluice_testkit::{Cluster, eventually};

use super::policy_changes::{MAP, assert_status, rules};
use crate::kube::{Namespace, apply};
use crate::pod::{Pod, agent};
use crate::policies::{policy, until_programmed};
use crate::records::{ask, summary, until_end};
use crate::trials::one;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        one("lifecycle::records::deleting_a_pod_drains_its_trail_to_the_end", drained),
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
    let count = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
    assert_eq!((count("intent"), count("outcome"), count("refused"), count("enrol")), (10, 10, 10, 1));
    let summary = summary(&pod.uid)?;
    ensure!(summary["silent"] == false && summary["epochs"][0]["ended"] == true, "{summary}");
    Ok(())
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
    ensure!(answer.status == 403, "{} {}", answer.status, answer.text());
    let answer = ask(&cluster.developer()?, &format!("/v1/records?podUid={}", pod.uid))?;
    ensure!(answer.status == 403, "cluster-wide takes a cluster-wide right: {} {}", answer.status, answer.text());
    let answer = ask("x.y.z", &path)?;
    ensure!(answer.status == 401, "{} {}", answer.status, answer.text());
    Ok(())
}
