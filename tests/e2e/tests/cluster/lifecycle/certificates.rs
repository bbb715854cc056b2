//! Certificates that end and are renewed while agents work.

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sluice_testkit::{Process, eventually};

use super::policy_changes::{MAP, as_developer, ask_often, rules};
use crate::installation::{SYSTEM, install, scale};
use crate::kube::{self, Namespace, apply, kubectl};
use crate::pod::{Pod, agent, dry_run};
use crate::policies::{policy, until_programmed};
use crate::records::{roots, until_end};
use crate::trials::one;

pub(super) fn alone() -> Vec<Trial> {
    vec![one("lifecycle::certificates::leaves_and_authorities_rotate_under_load", rotate)]
}

/// A certificate lives for half a minute, an authority for little more; the
/// agent asks all the time.
fn rotate() -> Result<()> {
    install(&[
        "control.certificateLife=30s",
        "control.authorityLife=4m",
        "control.rotateAfter=60s",
        "control.publishBeforeUse=30s",
    ])?;
    // What it has was signed to live for an hour.
    let restart = ["rollout", "restart", "deployment/sluice-collector", "--namespace", SYSTEM];
    let outcome = kubectl(&restart).and_then(|_| scale("sluice-collector", 1)).and_then(|()| rotated());
    install(&[])?;
    outcome
}

fn rotated() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get, update"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    let webhook = bundle()?;

    // Twenty in a second, for longer than this test may take.
    let mut load = vec!["/bin/probe".to_owned()];
    load.extend(as_developer(&["requests", "20000", "-pause", "50ms"], MAP)?);
    let load: Vec<&str> = load.iter().map(String::as_str).collect();
    let mut load = Process::start(&mut pod.exec_command(&load)?)?;
    // Two generations of the workload's authority, and another of the webhook's.
    for generation in 1..=2 {
        let before = authorities()?;
        eventually_long("another authority", || {
            let now = authorities()?;
            if now != before { Ok(()) } else { bail!("still the same, generation {generation}") }
        })?;
    }
    eventually_long(
        "another authority of the webhook",
        || if bundle()? != webhook { Ok(()) } else { bail!("the same") },
    )?;
    // Everybody still talks to everybody.
    ensure!(!load.is_over()?, "the load ended before the certificates did");
    let answer = dry_run(&namespace, &agent("another"))?;
    ensure!(answer.status == 201, "{}", answer.text());
    apply(&policy(&namespace, "agents", "", &rules("get, list"), "")?)?;
    until_programmed(&namespace, "agents")?;
    drop(load);
    ensure!(roots().is_ok());
    let counts = ask_often(&pod, "50", "/api/v1/namespaces/dev/configmaps")?;
    assert_eq!(counts, json!({"200": 50}));
    assert_eq!(pod.gateway_restarts()?, 0);
    pod.delete()?;
    let records = until_end(&pod.uid)?;
    // Names of the search list that were refused have no command.
    let is_failed = |record: &&Value| match record["kind"].as_str() {
        Some("refused") => !record["body"]["command"].is_null(),
        _ => record["body"]["outcome"] == "failed",
    };
    let failed: Vec<&Value> = records.iter().filter(is_failed).collect();
    ensure!(failed.is_empty(), "{} of {} were not answered: {:?}", failed.len(), records.len(), failed.first());
    Ok(())
}

/// [`eventually`], for what takes minutes by its own clock.
fn eventually_long(what: &str, ask: impl Fn() -> Result<()>) -> Result<()> {
    let mut last = Ok(());
    for _ in 0..5 {
        last = eventually(what, &ask);
        if last.is_ok() {
            return Ok(());
        }
    }
    last
}

fn authorities() -> Result<String> {
    let map = kube::get(&["configmap", "sluice-roots", "--namespace", SYSTEM])?;
    Ok(map["data"]["ca.crt"].as_str().context("no ca.crt")?.to_owned())
}

fn bundle() -> Result<Value> {
    let webhooks = kube::get(&["mutatingwebhookconfiguration", "sluice"])?;
    Ok(webhooks["webhooks"][0]["clientConfig"]["caBundle"].clone())
}
