//! What only the node itself can do to a pod: end its processes, read its
//! folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sluice_testkit::Cluster;

use crate::installation::root;
use crate::pod::{Pod, gateway_status};

/// Ends every process of the pod's gateway with SIGKILL.
pub(crate) fn kill_gateway(pod: &Pod) -> Result<()> {
    let object = pod.object()?;
    let id = container_id(gateway_status(&object)?)?;
    signal("-KILL", &processes(&id)?)
}

/// Stops the pod's gateway in the middle of what it does, for good: it hears no
/// request to end.
pub(crate) fn stop_gateway(pod: &Pod) -> Result<()> {
    let object = pod.object()?;
    let id = container_id(gateway_status(&object)?)?;
    signal("-STOP", &processes(&id)?)
}

/// Ends every process of the node with SIGKILL: all pods, kubelet, containerd,
/// the API server, etcd. What stays is beside it: the holder of its
/// namespaces, the name server, the identity provider. Then starts it again.
pub(crate) fn restart() -> Result<()> {
    let beside = [processes("holder")?, processes("names")?, processes("provider")?].concat();
    let mut node = processes(&cgroup_of_all()?)?;
    node.retain(|process| !beside.contains(process));
    signal("-KILL", &node)?;
    let output = Command::new(root().join("tests/cluster/up")).output().context("run tests/cluster/up")?;
    if !output.status.success() {
        bail!("the node does not come back:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A file in a volume of a pod, as the node sees it.
pub(crate) fn volume_file(pod: &Pod, kind: &str, volume: &str, file: &str) -> Result<String> {
    let path = kubelet(&format!("pods/{}/volumes/kubernetes.io~{kind}/{volume}/{file}", pod.uid))?;
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// A path below the kubelet's folder; its mounts are in the node's mount
/// namespace.
fn kubelet(rest: &str) -> Result<PathBuf> {
    let holder = Path::new(Cluster::get()?.variable("CLUSTER_RUN")?).join("holder.pid");
    let holder = fs::read_to_string(&holder).with_context(|| format!("read {}", holder.display()))?;
    let state = Cluster::get()?.variable("CLUSTER_STATE")?;
    Ok(PathBuf::from(format!("/proc/{}/root{state}/kubelet/{rest}", holder.trim())))
}

fn container_id(status: &Value) -> Result<String> {
    let id = status["containerID"].as_str().context("the container does not run")?;
    Ok(id.rsplit('/').next().unwrap_or(id).to_owned())
}

/// The name of the cgroup that holds all of the cluster.
fn cgroup_of_all() -> Result<String> {
    let path = Path::new(Cluster::get()?.variable("CLUSTER_CGROUP")?);
    Ok(path.file_name().and_then(|name| name.to_str()).context("CLUSTER_CGROUP has a name")?.to_owned())
}

/// Processes of the cgroups of that name, and below.
fn processes(name: &str) -> Result<Vec<u32>> {
    let cgroups = Cluster::get()?.variable("CLUSTER_CGROUP")?;
    let output = Command::new("find").args([cgroups, "-type", "d", "-name", name]).output()?;
    let folders = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found = Vec::new();
    for folder in folders.lines() {
        let output =
            Command::new("find").args([folder, "-name", "cgroup.procs", "-exec", "cat", "{}", "+"]).output()?;
        found
            .extend(String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.trim().parse::<u32>().ok()));
    }
    if found.is_empty() {
        bail!("no process is in a cgroup {name} below {cgroups}");
    }
    Ok(found)
}

fn signal(signal: &str, processes: &[u32]) -> Result<()> {
    let ids: Vec<String> = processes.iter().map(ToString::to_string).collect();
    // One that ended by itself in between is as dead.
    Command::new("kill").arg(signal).args(&ids).output().context("run kill").map(drop)
}
