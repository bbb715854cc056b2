//! kubectl as an administrator, and waits that watch.

use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sluice_testkit::{Cluster, Finished, Process, Request, Response};

/// How long anything on the cluster may take before a test says that it did
/// not come. Far above what it needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// kubectl, not yet started.
pub(crate) fn command(arguments: &[&str]) -> Result<Command> {
    let cluster = Cluster::get()?;
    let mut command = Command::new(cluster.variable("KUBECTL")?);
    command.arg("--kubeconfig").arg(cluster.variable("KUBECONFIG_ADMIN")?).args(arguments);
    Ok(command)
}

/// Runs kubectl to its end, however it ends.
pub(crate) fn run(arguments: &[&str]) -> Result<Finished> {
    let mut process = Process::start(&mut command(arguments)?)?;
    process.ended(PATIENCE + Duration::from_secs(60))?;
    process.wait()
}

/// Runs kubectl; what it wrote, when it succeeds.
pub(crate) fn kubectl(arguments: &[&str]) -> Result<String> {
    let finished = run(arguments)?;
    if !finished.status.success() {
        bail!("kubectl {}: {}{}", arguments.join(" "), finished.stdout, finished.stderr);
    }
    Ok(finished.stdout)
}

/// `kubectl get … -o json`.
pub(crate) fn get(arguments: &[&str]) -> Result<Value> {
    let text = kubectl(&[&["get"], arguments, &["--output", "json"]].concat())?;
    serde_json::from_str(&text).with_context(|| format!("kubectl get {arguments:?}"))
}

/// `kubectl apply` of that text.
pub(crate) fn apply(yaml: &str) -> Result<String> {
    let finished = try_apply(yaml)?;
    if !finished.status.success() {
        bail!("kubectl apply: {}\n{yaml}", finished.stderr);
    }
    Ok(finished.stdout)
}

/// The same, however it ends.
pub(crate) fn try_apply(yaml: &str) -> Result<Finished> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(yaml.as_bytes())?;
    let path = file.path().to_str().context("a path in UTF-8")?;
    run(&["apply", "--filename", path])
}

/// `kubectl wait`, which watches.
pub(crate) fn wait(namespace: &str, what: &str, until: &str) -> Result<()> {
    let limit = format!("--timeout={}s", PATIENCE.as_secs());
    kubectl(&["wait", "--namespace", namespace, what, &format!("--for={until}"), &limit]).map(drop)
}

/// Asks the API server as a cluster administrator.
pub(crate) fn admin(request: Request) -> Result<Response> {
    Cluster::get()?.admin(request)
}

/// A strategic merge patch.
pub(crate) fn patch(path: &str, patch: &Value) -> Request {
    Request::new("PATCH", path).body("application/strategic-merge-patch+json", patch.to_string())
}

/// What an API server said: empty when it took the object, else its message.
pub(crate) fn said(answer: &Response) -> Result<String> {
    if (200..300).contains(&answer.status) {
        return Ok(String::new());
    }
    Ok(answer.json()?["message"].as_str().context("a Status has a message")?.to_owned())
}

/// Fails unless the API server refused, in these words.
pub(crate) fn assert_refused(what: &str, answer: &Response, words: &str) -> Result<()> {
    let message = said(answer)?;
    if !message.contains(words) {
        bail!("{what}: expected a refusal with `{words}`, the API server said ({}) `{message}`", answer.status);
    }
    Ok(())
}

/// Value of the label `sluice-e2e` of every namespace of this run.
pub(crate) fn run_label() -> String {
    format!("run-{}", std::process::id())
}

/// A word that no other call in any run gives; fit for names and labels.
pub(crate) fn unique(word: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{word}-{:x}-{}", now.as_millis() & 0xff_ffff_ffff, NEXT.fetch_add(1, Ordering::SeqCst))
}

/// A namespace of a test's own, with what its policies refer to. Deleted when
/// dropped, in the background.
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    /// Makes one; `labels` beside the test's own.
    pub(crate) fn new(labels: &Value) -> Result<Self> {
        let name = unique("agents");
        let mut all = json!({"sluice-e2e": run_label()});
        for (label, value) in labels.as_object().into_iter().flatten() {
            all[label] = value.clone();
        }
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": all}});
        admin(Request::new("POST", "/api/v1/namespaces").json(&object))?.expect(201)?;
        let namespace = Self { name };
        let ca = std::fs::read_to_string(Cluster::get()?.ca_file()?)?;
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cluster-ca"}, "data": {"ca.crt": ca},
        });
        admin(Request::new("POST", namespace.core("configmaps")).json(&map))?.expect(201)?;
        wait(&namespace.name, "serviceaccount/default", "create")?;
        wait(&namespace.name, "configmap/kube-root-ca.crt", "create")?;
        Ok(namespace)
    }

    /// `/api/v1/namespaces/NAME/REST`.
    pub(crate) fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
    }

    /// `/apis/GROUP_VERSION/namespaces/NAME/REST`.
    pub(crate) fn group(&self, group_version: &str, rest: &str) -> String {
        format!("/apis/{group_version}/namespaces/{}/{rest}", self.name)
    }

    /// kubectl in this namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        kubectl(&[arguments, &["--namespace", &self.name]].concat())
    }

    /// Lets a group of people, or of service accounts, do everything here, so
    /// that what it is denied, the gateway denied.
    pub(crate) fn lets_do_everything(&self, group: &str) -> Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"generateName": "everything-"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        });
        let path = self.group("rbac.authorization.k8s.io/v1", "rolebindings");
        admin(Request::new("POST", path).json(&binding))?.expect(201).map(drop)
    }

    /// Its service accounts, as RBAC knows them.
    pub(crate) fn service_accounts(&self) -> String {
        format!("system:serviceaccounts:{}", self.name)
    }

    /// Deletes it and waits until it is gone, its pods drained.
    pub(crate) fn end(&self) -> Result<()> {
        kubectl(&["delete", "namespace", &self.name, "--ignore-not-found", "--wait", "--timeout=240s"]).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // One that stays behind harms no later run: names are never used twice.
        let _ = admin(Request::new("DELETE", format!("/api/v1/namespaces/{}", self.name)));
    }
}
