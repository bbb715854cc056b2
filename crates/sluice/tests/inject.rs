//! `sluice inject` as people call it: the same result as the webhook's.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_k8s::inject::{InjectionSettings, Placement, inject};
use sluice_testkit::{Finished, run};

fn sluice(folder: &Path, arguments: &[&str]) -> Result<Finished> {
    run(Command::new(env!("CARGO_BIN_EXE_sluice")).current_dir(folder).arg("inject").args(arguments))
}

fn with_input(arguments: &[&str], input: &str) -> Result<(Option<i32>, String, String)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("inject")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

/// A template of a pod that asks. Without a service account folder, of which a
/// file does not say what the API server will make.
fn template() -> Value {
    json!({
        "metadata": {"annotations": {"sluice.dev/inject": "enabled"}, "labels": {"app": "coder"}},
        "spec": {
            "automountServiceAccountToken": false,
            "initContainers": [{"name": "prepare", "image": "example.com/prepare:1"}],
            "containers": [{"name": "agent", "image": "example.com/agent:1", "ports": [{"containerPort": 8080}]}],
        },
    })
}

/// Every kind that has pods, with the place of its template.
fn kinds() -> Vec<(Value, &'static str)> {
    let workload = |kind: &str| json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "coder"}, "spec": {"template": template()}});
    let mut pod = template();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("coder");
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "coder-"}, "spec": {"template": template()}});
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "coder"},
        "spec": {"schedule": "0 4 * * *", "jobTemplate": {"spec": {"template": template()}}},
    });
    vec![
        (pod, ""),
        (workload("Deployment"), "/spec/template"),
        (workload("StatefulSet"), "/spec/template"),
        (workload("DaemonSet"), "/spec/template"),
        (job, "/spec/template"),
        (cron, "/spec/jobTemplate/spec/template"),
    ]
}

fn documents(output: &str) -> Result<Vec<Value>> {
    output.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// What the webhook would make of the pod.
fn expected(pod: &Value) -> Result<Value> {
    inject(pod, Placement::default(), &InjectionSettings::default())
        .map_err(|refusals| anyhow::anyhow!("refused: {refusals:?}"))
}

#[test]
fn every_kind_comes_out_as_the_webhook_makes_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kinds = kinds();
    let text: Vec<String> = kinds.iter().map(|(object, _)| object.to_string()).collect();
    fs::write(folder.path().join("all.yaml"), text.join("\n---\n"))?;
    let done = sluice(folder.path(), &["-f", "all.yaml", "-o", "json"])?;
    ensure!(done.status.success(), "{done:?}");
    let objects = documents(&done.stdout)?;
    ensure!(objects.len() == kinds.len(), "{}", done.stdout);
    for ((before, place), after) in kinds.iter().zip(&objects) {
        let pod = before.pointer(place).context("no template")?;
        ensure!(after.pointer(place) == Some(&expected(pod)?), "{place}: {after}");
        ensure!(after["kind"] == before["kind"], "{after}");
    }
    Ok(())
}

#[test]
fn lists_and_other_objects_stay_what_they_are() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (deployment, place) = kinds().swap_remove(1);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"on": "off"}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [map, deployment]});
    fs::write(folder.path().join("list.json"), list.to_string())?;
    let done = sluice(folder.path(), &["-f", "list.json", "-o", "json"])?;
    ensure!(done.status.success(), "{done:?}");
    let after: Value = serde_json::from_str(&done.stdout)?;
    ensure!(after["items"][0] == map, "{after}");
    let pod = deployment.pointer(place).context("no template")?;
    ensure!(after["items"][1].pointer(place) == Some(&expected(pod)?), "{after}");
    Ok(())
}

#[test]
fn what_is_injected_again_stays_the_same() -> Result<()> {
    let (pod, _) = kinds().swap_remove(0);
    let (code, once, _) = with_input(&["-f", "-"], &pod.to_string())?;
    ensure!(code == Some(0) && once.contains("name: sluice-gateway"), "{once}");
    let (code, twice, _) = with_input(&["-f", "-"], &once)?;
    ensure!(code == Some(0) && once == twice, "{twice}");
    Ok(())
}

#[test]
fn pods_that_do_not_ask_are_left_alone_and_named() -> Result<()> {
    let (mut pod, _) = kinds().swap_remove(0);
    pod["metadata"]["annotations"] = json!({});
    let (code, out, said) = with_input(&["-f", "-", "-o", "json"], &pod.to_string())?;
    ensure!(code == Some(0) && said.contains("Pod/coder does not ask"), "{said}");
    ensure!(serde_json::from_str::<Value>(&out)? == pod, "{out}");
    // A namespace that demands it does not ask either.
    let (code, out, said) = with_input(&["-f", "-", "--required"], &pod.to_string())?;
    ensure!(code == Some(0) && said.is_empty() && out.contains("name: sluice-gateway"), "{said}{out}");
    Ok(())
}

#[test]
fn refused_pods_are_all_named_and_nothing_is_printed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut objects = kinds();
    objects[0].0["spec"]["hostNetwork"] = json!(true);
    objects[5].0["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["securityContext"] =
        json!({"privileged": true});
    let text: Vec<String> = objects.iter().map(|(object, _)| object.to_string()).collect();
    fs::write(folder.path().join("all.yaml"), text.join("\n---\n"))?;
    let refused = sluice(folder.path(), &["-f", "all.yaml"])?;
    ensure!(refused.status.code() == Some(1) && refused.stdout.is_empty(), "{refused:?}");
    for words in [
        "Pod/coder: spec.hostNetwork",
        "CronJob/coder: spec.jobTemplate.spec.template.spec.containers[0].securityContext.privileged",
    ] {
        ensure!(refused.stderr.contains(words), "no `{words}` in {}", refused.stderr);
    }
    Ok(())
}

#[test]
fn what_cannot_be_read_is_no_refusal() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("pod.yaml"), kinds()[0].0.to_string())?;
    fs::write(folder.path().join("settings.json"), r#"{"imaje": "x"}"#)?;
    let wrong = sluice(folder.path(), &["-f", "pod.yaml", "--settings", "settings.json"])?;
    ensure!(wrong.status.code() == Some(2) && wrong.stderr.contains("imaje"), "{wrong:?}");
    fs::write(folder.path().join("settings.json"), r#"{"image": "example.com/gateway:7"}"#)?;
    let other = sluice(folder.path(), &["-f", "pod.yaml", "--settings", "settings.json"])?;
    ensure!(other.status.success() && other.stdout.matches("image: example.com/gateway:7").count() == 2, "{other:?}");
    let (code, out, said) = with_input(&["-f", "-"], "a: [")?;
    ensure!(code == Some(2) && out.is_empty() && said.contains("is not YAML"), "{code:?} {said}");
    let missing = sluice(folder.path(), &["-f", "nowhere.yaml"])?;
    ensure!(missing.status.code() == Some(2) && missing.stderr.contains("nowhere.yaml"), "{missing:?}");
    Ok(())
}
