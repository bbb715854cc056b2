//! Pods come, go, end, and are many.

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sluice_testkit::{Request, eventually};

use super::policy_changes::{MAP, assert_status, rules};
use crate::installation::SYSTEM;
use crate::kube::{self, Namespace, admin, apply};
use crate::node;
use crate::pod::{Pod, agent};
use crate::policies::{EVERYTHING, policy, until_programmed};
use crate::records::until_end;
use crate::trials::one;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        one("lifecycle::pods::a_job_with_a_sidecar_completes", job),
        one("lifecycle::pods::a_deployment_rolls_out_and_over", rollout),
        one("lifecycle::pods::stock_kubectl_works_by_the_kubeconfig_that_it_finds", stock_kubectl),
        one("lifecycle::pods::the_kubelets_probes_reach_the_agent_through_the_gateway", probes),
    ]
}

pub(super) fn alone() -> Vec<Trial> {
    vec![
        one("lifecycle::pods::thirty_at_once_become_ready", thirty),
        one("lifecycle::pods::everything_on_the_node_ends_and_comes_back", node_restart),
    ]
}

fn template(pod: &Value) -> Value {
    json!({"metadata": {"labels": pod["metadata"]["labels"], "annotations": pod["metadata"]["annotations"]}, "spec": pod["spec"]})
}

fn job() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    namespace.lets_do_everything(&namespace.service_accounts())?;
    apply(&policy(&namespace, "agents", "", EVERYTHING, "")?)?;
    let mut pod = agent("job");
    pod["spec"]["restartPolicy"] = json!("Never");
    // What agents do: no option, no file of its own.
    pod["spec"]["containers"][0]["command"] = json!(["/bin/kubectl", "get", "configmaps", "--output", "name"]);
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"},
        "spec": {"backoffLimit": 3, "template": template(&pod)},
    });
    admin(Request::new("POST", namespace.group("batch/v1", "jobs")).json(&job))?.expect(201)?;
    kube::wait(&namespace.name, "job/job", "condition=Complete")?;
    let log = namespace.kubectl(&["logs", "job/job", "--container", "agent"])?;
    ensure!(log.contains("configmap/kube-root-ca.crt"), "{log}");
    // Its trail came, and ended.
    let pods = kube::get(&["pods", "--namespace", &namespace.name, "--selector", "job-name=job"])?;
    let pods = pods["items"].as_array().context("pods")?;
    let uid = pods.last().and_then(|pod| pod["metadata"]["uid"].as_str()).context("a pod")?;
    let records = until_end(uid)?;
    ensure!(records.len() > 4, "{records:?}");
    Ok(())
}

fn rollout() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "coder"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "coder"}}, "template": template(&agent("coder"))},
    });
    admin(Request::new("POST", namespace.group("apps/v1", "deployments")).json(&deployment))?.expect(201)?;
    let done = ["rollout", "status", "deployment/coder", "--timeout=240s"];
    namespace.kubectl(&done)?;
    until_programmed(&namespace, "agents")?;
    let names = |namespace: &Namespace| -> Result<Vec<String>> {
        let running = [
            "pods",
            "--namespace",
            &namespace.name,
            "--selector",
            "app=coder",
            "--field-selector",
            "status.phase=Running",
        ];
        let pods = kube::get(&running)?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let pods = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(pods.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
    };
    let before = names(&namespace)?;
    assert_eq!(before.len(), 2, "{before:?}");
    namespace.kubectl(&["set", "env", "deployment/coder", "ROUND=2"])?;
    namespace.kubectl(&done)?;
    let after = names(&namespace)?;
    assert_eq!(after.len(), 2, "{after:?}");
    ensure!(before.iter().all(|name| !after.contains(name)), "{before:?} {after:?}");
    until_programmed(&namespace, "agents")?;
    for name in &after {
        assert_status(&Pod::find(&namespace.name, name)?, "GET", MAP, 200)?;
    }
    Ok(())
}

/// Once as the pod's own account, once with a developer's token.
fn stock_kubectl() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    namespace.lets_do_everything(&namespace.service_accounts())?;
    apply(&policy(&namespace, "agents", "", EVERYTHING, "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    let listed = pod.kubectl(&["get", "pods", "--output", "name", "--namespace", &namespace.name])?;
    ensure!(listed.as_ref().is_ok_and(|text| text.contains("pod/agent")), "{listed:?}");
    // Without one kubectl asks all the same, and is told.
    let refused = pod.kubectl(&["--context", "aks", "get", "pods", "--namespace", "dev"])?;
    let told = refused.as_ref().is_err_and(|said| said.contains("Warning: sluice: ") && said.contains("--token TOKEN"));
    ensure!(told, "{refused:?}");
    let token = sluice_testkit::Cluster::get()?.developer()?;
    let listed = pod.kubectl(&[
        "--context",
        "aks",
        "--token",
        &token,
        "get",
        "secret",
        "db",
        "--namespace",
        "dev",
        "--output",
        "jsonpath={.data.password}",
    ])?;
    let text = listed.map_err(anyhow::Error::msg)?;
    // Masked, by default.
    ensure!(text.starts_with("c2x1aWNlLW1hc2tlZD"), "{text}");
    Ok(())
}

fn probes() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let mut pod = agent("agent");
    let serve = "echo yes >/www/ready && exec /bin/busybox httpd -f -p 127.0.0.1:8081 -h /www";
    pod["spec"]["containers"][0]["command"] = json!(["/bin/sh", "-c", serve]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "www", "mountPath": "/www"}]);
    pod["spec"]["volumes"] = json!([{"name": "www", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/ready", "port": 8081}, "periodSeconds": 1, "failureThreshold": 1});
    pod["spec"]["containers"][0]["livenessProbe"] = json!({"tcpSocket": {"port": 8081}, "periodSeconds": 1});
    let pod = Pod::start(&namespace, &pod)?;
    let shell = |line: &str| -> Result<()> {
        let finished = pod.exec(&["/bin/sh", "-c", line])?;
        ensure!(finished.status.success(), "{line}: {}", finished.stderr);
        Ok(())
    };
    shell("/bin/busybox rm /www/ready")?;
    kube::wait(&namespace.name, "pod/agent", "condition=Ready=false")?;
    shell("echo yes >/www/ready")?;
    kube::wait(&namespace.name, "pod/agent", "condition=Ready")?;
    let object = pod.object()?;
    assert_eq!(object["status"]["containerStatuses"][0]["restartCount"], 0, "{}", object["status"]);
    Ok(())
}

fn thirty() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let mut pod = agent("crowd");
    pod["spec"]["terminationGracePeriodSeconds"] = json!(10);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "crowd"},
        "spec": {"replicas": 30, "progressDeadlineSeconds": 900, "selector": {"matchLabels": {"app": "crowd"}}, "template": template(&pod)},
    });
    admin(Request::new("POST", namespace.group("apps/v1", "deployments")).json(&deployment))?.expect(201)?;
    namespace.kubectl(&["rollout", "status", "deployment/crowd", "--timeout=280s"])?;
    until_programmed(&namespace, "agents")?;
    let object = kube::get(&["gatewaypolicy", "agents", "--namespace", &namespace.name])?;
    assert_eq!(object["status"]["programmedPods"], 30, "{}", object["status"]);
    let pods = kube::get(&["pods", "--namespace", &namespace.name])?;
    let restarts: u64 = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pod| crate::pod::gateway_status(pod).ok()?["restartCount"].as_u64())
        .sum();
    assert_eq!(restarts, 0);
    namespace.end()
}

/// Every process of the node is killed at once, those of Kubernetes too.
fn node_restart() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    apply(&policy(&namespace, "agents", "", &rules("get"), "")?)?;
    let pod = Pod::start(&namespace, &agent("agent"))?;
    until_programmed(&namespace, "agents")?;
    assert_status(&pod, "GET", MAP, 200)?;
    node::restart()?;
    eventually("the pod starts anew", || {
        let restarts = pod.gateway_restarts()?;
        if restarts > 0 { Ok(()) } else { bail!("{restarts}") }
    })?;
    for deployment in ["sluice-control", "sluice-collector"] {
        kube::kubectl(&[
            "rollout",
            "status",
            &format!("deployment/{deployment}"),
            "--namespace",
            SYSTEM,
            "--timeout=240s",
        ])?;
    }
    let pod = Pod::ready(&namespace, "agent")?;
    until_programmed(&namespace, "agents")?;
    assert_status(&pod, "GET", MAP, 200)?;
    assert_status(&pod, "DELETE", MAP, 403)?;
    pod.delete()?;
    until_end(&pod.uid).map(drop)
}
