//! kubectl edits a policy; pods decide by it.

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sluice_testkit::{Cluster, eventually};

use crate::kube::{self, Namespace, apply};
use crate::pod::{Pod, agent};
use crate::policies::{EVERYTHING, condition, policy, until_programmed};
use crate::records::of_pod;
use crate::trials::one;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        one("lifecycle::policy::two_pods_have_different_policies", two_pods),
        one("lifecycle::policy::an_edit_counts_without_a_restart", edit),
        one("lifecycle::policy::one_that_does_not_compile_keeps_the_last_good_one_and_says_so", does_not_compile),
        one("lifecycle::policy::a_hundred_edits_in_a_row_end_with_the_last", hundred_edits),
        one("lifecycle::policy::without_any_everything_is_denied", none_at_all),
    ]
}

/// Developers may `verb` ConfigMaps of `dev`.
pub(super) fn rules(verbs: &str) -> String {
    format!(
        r#"
  - name: maps
    subjects: {{groups: ["entra:developers"]}}
    targets: [aks]
    kubernetes: {{verbs: [{verbs}], resources: [configmaps], namespaces: [dev]}}
    action: Allow
"#
    )
}

/// A request of the agent as a developer; the status, 0 for none.
pub(super) fn ask(pod: &Pod, method: &str, path: &str, body: &str) -> Result<(u64, Value)> {
    let came = probe(pod, &as_developer(&["https", "-method", method, "-body", body], path)?)?;
    Ok((came["status"].as_u64().unwrap_or_default(), came))
}

/// Many requests of the agent as a developer, over one connection; how often
/// which status came.
pub(super) fn ask_often(pod: &Pod, count: &str, path: &str) -> Result<Value> {
    probe(pod, &as_developer(&["requests", count], path)?)
}

/// Arguments of the probe for `what`, with the cluster as its target and a
/// developer's token.
pub(super) fn as_developer(what: &[&str], path: &str) -> Result<Vec<String>> {
    let cluster = Cluster::get()?;
    let (host, token) = (cluster.host()?, cluster.developer()?);
    let to = format!("{host}:443");
    let rest = ["-to", &to, "-name", host, "-path", path, "-token", &token, "-ca", "/run/sluice/trust/ca.crt"];
    Ok(what.iter().chain(&rest).map(|&argument| argument.to_owned()).collect())
}

fn probe(pod: &Pod, arguments: &[String]) -> Result<Value> {
    pod.probe(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(super) const MAP: &str = "/api/v1/namespaces/dev/configmaps/settings";
const MAPS: &str = "/api/v1/namespaces/dev/configmaps";

pub(super) fn assert_status(pod: &Pod, method: &str, path: &str, expected: u64) -> Result<()> {
    let (status, came) = ask(pod, method, path, "")?;
    ensure!(status == expected, "{} {method} {path}: expected {expected}: {came}", pod.name);
    Ok(())
}

fn two_pods() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "getters", "one", &rules("get"), "")?)?;
    apply(&policy(&namespace, "listers", "two", &rules("list"), "")?)?;
    Pod::create(&namespace, &agent("one"))?;
    let two = Pod::start(&namespace, &agent("two"))?;
    let one = Pod::ready(&namespace, "one")?;
    until_programmed(&namespace, "getters")?;
    until_programmed(&namespace, "listers")?;
    assert_status(&one, "GET", MAP, 200)?;
    assert_status(&one, "GET", MAPS, 403)?;
    assert_status(&two, "GET", MAP, 403)?;
    assert_status(&two, "GET", MAPS, 200)?;
    for name in ["getters", "listers"] {
        let status = kube::get(&["gatewaypolicy", name, "--namespace", &namespace.name])?;
        assert_eq!((&status["status"]["matchedPods"], &status["status"]["programmedPods"]), (&json!(1), &json!(1)));
    }
    Ok(())
}

fn edit() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("list"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    assert_status(&pod, "GET", MAP, 403)?;
    apply(&policy(&namespace, "agents", "", &rules("list, get"), "")?)?;
    eventually("the edit counts", || assert_status(&pod, "GET", MAP, 200))?;
    assert_eq!(pod.gateway_restarts()?, 0);
    Ok(())
}

/// What the API server and the webhook take, because each policy by itself is
/// right, and what cannot be compiled together.
fn does_not_compile() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    let before = revision(&namespace, "agents")?;

    // What is wrong by itself is refused at once, with the field.
    let misspelt = policy(&namespace, "agents", "", &rules("get, lisst"), "")?;
    let finished = kube::try_apply(&misspelt)?;
    ensure!(!finished.status.success() && finished.stderr.contains("lisst"), "{}{}", finished.stdout, finished.stderr);

    // The same target with other settings in a second policy.
    let other =
        policy(&namespace, "other", "", &rules("list"), "")?.replace("name: own\n", "name: own\n    ports: [6443]\n");
    apply(&other)?;
    let conflict = eventually("a condition that says so", || {
        for name in ["other", "agents"] {
            let object = kube::get(&["gatewaypolicy", name, "--namespace", &namespace.name])?;
            match condition(&object, "Compiled") {
                Some(found) if found["status"] == "False" => return Ok(found.clone()),
                _ => {}
            }
        }
        bail!("none is False")
    })?;
    let message = conflict["message"].as_str().unwrap_or_default();
    ensure!(message.contains("own") && message.contains("ports"), "{conflict}");
    // The pod goes on with what it had.
    assert_status(&pod, "GET", MAP, 200)?;
    assert_status(&pod, "GET", MAPS, 403)?;
    assert_eq!(revision(&namespace, "agents")?, before);

    // A provider that is not there.
    let nobody = policy(&namespace, "other", "", &rules("list"), "")?.replace("entra", "nobody");
    apply(&nobody)?;
    eventually("a condition that says so", || {
        let object = kube::get(&["gatewaypolicy", "other", "--namespace", &namespace.name])?;
        match condition(&object, "Accepted") {
            Some(found) if found["status"] == "False" && found["reason"] == "ProviderNotFound" => Ok(()),
            found => bail!("{found:?}"),
        }
    })?;
    assert_status(&pod, "GET", MAP, 200)?;

    // Put right, it counts.
    apply(&policy(&namespace, "other", "", &rules("list").replace("name: maps", "name: lists"), "")?)?;
    until_programmed(&namespace, "other")?;
    until_programmed(&namespace, "agents")?;
    assert_status(&pod, "GET", MAPS, 200)
}

fn revision(namespace: &Namespace, name: &str) -> Result<Value> {
    let object = kube::get(&["gatewaypolicy", name, "--namespace", &namespace.name])?;
    Ok(object["status"]["revision"].clone())
}

fn hundred_edits() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    for edit in 1..=100 {
        let verbs = if edit % 2 == 0 { "get" } else { "list" };
        let text = rules(verbs).replace("name: maps", &format!("name: maps-{edit}"));
        apply(&policy(&namespace, "agents", "", &text, "")?)?;
    }
    until_programmed(&namespace, "agents")?;
    let (status, came) = ask(&pod, "GET", MAPS, "")?;
    ensure!(status == 403, "{came}");
    assert_status(&pod, "GET", MAP, 200)?;
    assert_eq!(pod.gateway_restarts()?, 0);
    // The command was decided by the last of them.
    eventually("the record names the last rule", || {
        let records = of_pod(&pod.uid, "kind=intent")?;
        if records.iter().any(|record| record["body"]["rule"].to_string().contains("maps-100")) {
            Ok(())
        } else {
            bail!("{:?}", records.last())
        }
    })
}

fn none_at_all() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    let (status, came) = ask(&pod, "GET", MAP, "")?;
    ensure!(status != 200, "{came}");
    // A policy that comes later counts at once.
    apply(&policy(&namespace, "agents", "", EVERYTHING, "")?)?;
    until_programmed(&namespace, "agents")?;
    eventually("it counts", || assert_status(&pod, "GET", MAP, 200))
}
