//! Pods of agents, and pods beside them.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use sluice_testkit::{Finished, Process, Request};

use crate::kube::{self, Namespace, PATIENCE, admin, kubectl};

/// The image that [`crate::installation`] makes: kubectl, a shell, the probe.
pub(crate) const IMAGE: &str = "sluice.test/agent:1";

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    pub(crate) fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// `ADDRESS:PORT`, as programs take it.
pub(crate) fn at(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// A pod that nobody injects, as JSON.
pub(crate) fn plain(name: &str, command: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": {}},
        "spec": {
            "terminationGracePeriodSeconds": 30,
            "restartPolicy": "Always",
            "containers": [
                {"name": "agent", "image": IMAGE, "imagePullPolicy": "Never", "command": command, "env": []},
            ],
        },
    })
}

/// A pod of an agent, as its developer writes it.
pub(crate) fn agent(name: &str) -> Value {
    let mut pod = plain(name, &["/bin/probe", "wait"]);
    pod["metadata"]["annotations"]["sluice.dev/inject"] = json!("enabled");
    pod
}

/// A pod that runs.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Pod {
    /// Makes it and waits until it is ready.
    pub(crate) fn start(namespace: &Namespace, pod: &Value) -> Result<Self> {
        Self::create(namespace, pod)?;
        Self::ready(namespace, pod["metadata"]["name"].as_str().context("a name")?)
    }

    /// Makes it.
    pub(crate) fn create(namespace: &Namespace, pod: &Value) -> Result<()> {
        admin(Request::new("POST", namespace.core("pods")).json(pod))?.expect(201).map(drop)
    }

    /// Waits until it is ready; when it is not, the reason holds what there is
    /// to read.
    pub(crate) fn ready(namespace: &Namespace, name: &str) -> Result<Self> {
        kube::wait(&namespace.name, &format!("pod/{name}"), "condition=Ready")
            .map_err(|error| anyhow!("{error:#}\n{}", report(&namespace.name, name)))?;
        Self::find(&namespace.name, name)
    }

    /// A pod as it is now.
    pub(crate) fn find(namespace: &str, name: &str) -> Result<Self> {
        let pod = kube::get(&["pod", name, "--namespace", namespace])?;
        let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: pod["metadata"]["uid"].as_str().context("a UID")?.to_owned(),
            addresses: addresses.filter_map(|one| one["ip"].as_str()?.parse().ok()).collect(),
        })
    }

    /// Its own address of that family.
    pub(crate) fn address(&self, family: Family) -> Result<IpAddr> {
        let found = self.addresses.iter().find(|address| family.has(address));
        found.copied().with_context(|| format!("{} has no {} address: {:?}", self.name, family.label(), self.addresses))
    }

    /// Its object.
    pub(crate) fn object(&self) -> Result<Value> {
        kube::get(&["pod", &self.name, "--namespace", &self.namespace])
    }

    /// `kubectl exec` into the agent's container, not yet started.
    pub(crate) fn exec_command(&self, arguments: &[&str]) -> Result<Command> {
        let place = ["exec", "--namespace", &self.namespace, &self.name, "--container", "agent", "--"];
        kube::command(&[&place, arguments].concat())
    }

    /// Runs something in the agent's container, however it ends.
    pub(crate) fn exec(&self, arguments: &[&str]) -> Result<Finished> {
        let mut process = Process::start(&mut self.exec_command(arguments)?)?;
        process.ended(PATIENCE)?;
        process.wait()
    }

    /// One attempt of the probe, from the agent's container.
    pub(crate) fn probe(&self, arguments: &[&str]) -> Result<Value> {
        let finished = self.exec(&[&["/bin/probe"], arguments].concat())?;
        let line = finished.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line)
            .with_context(|| format!("probe {arguments:?} in {}: {}{}", self.name, finished.stdout, finished.stderr))
    }

    /// The agent's own kubectl; its output where it succeeds, else its error.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<Result<String, String>> {
        let finished = self.exec(&[&["/bin/kubectl"], arguments].concat())?;
        Ok(if finished.status.success() { Ok(finished.stdout) } else { Err(finished.stderr) })
    }

    /// What its main container wrote.
    pub(crate) fn log(&self) -> Result<String> {
        kubectl(&["logs", "--namespace", &self.namespace, &self.name, "--container", "agent"])
    }

    /// How often the gateway's container was started again.
    pub(crate) fn gateway_restarts(&self) -> Result<u64> {
        Ok(gateway_status(&self.object()?)?["restartCount"].as_u64().unwrap_or_default())
    }

    /// Deletes it and waits until it is gone.
    pub(crate) fn delete(&self) -> Result<()> {
        kubectl(&["delete", "pod", &self.name, "--namespace", &self.namespace, "--wait", "--timeout=240s"]).map(drop)
    }
}

/// The status of the gateway's container.
pub(crate) fn gateway_status(pod: &Value) -> Result<&Value> {
    let all = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
    all.into_iter().find(|status| status["name"] == "sluice-gateway").context("the pod has no gateway")
}

/// What people would look at when a pod does not become ready.
fn report(namespace: &str, name: &str) -> String {
    let mut text = String::new();
    let lines: [&[&str]; 3] = [
        &["describe", "pod", name],
        &["logs", name, "--container", "sluice-init", "--tail", "30"],
        &["logs", name, "--container", "sluice-gateway", "--tail", "30"],
    ];
    for line in lines {
        let finished = kube::run(&[line, &["--namespace", namespace]].concat());
        match finished {
            Ok(finished) => text.push_str(&format!("--- {}\n{}{}\n", line.join(" "), finished.stdout, finished.stderr)),
            Err(error) => text.push_str(&format!("--- {}: {error:#}\n", line.join(" "))),
        }
    }
    text
}

/// Whether the webhook and the admission policies take a pod; nothing is made.
/// The pod as it would be.
pub(crate) fn admitted(namespace: &Namespace, pod: &Value) -> Result<Value> {
    let answer = dry_run(namespace, pod)?;
    if answer.status != 201 {
        bail!("{}", kube::said(&answer)?);
    }
    answer.json()
}

/// What the API server says to a pod; nothing is made.
pub(crate) fn dry_run(namespace: &Namespace, pod: &Value) -> Result<sluice_testkit::Response> {
    admin(Request::new("POST", format!("{}?dryRun=All", namespace.core("pods"))).json(pod))
}
