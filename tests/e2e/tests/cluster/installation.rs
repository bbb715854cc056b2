//! Sluice on the cluster, as its users install it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sluice_testkit::{Cluster, Finished, Process, eventually};

use crate::kube::{self, kubectl};
use crate::pod::IMAGE;

/// Namespace of the release.
pub(crate) const SYSTEM: &str = "sluice-system";
/// Name of the release.
const RELEASE: &str = "sluice";
/// `keep`: take the release that is there, and leave it there.
const VARIABLE: &str = "SLUICE_E2E_INSTALLATION";
/// More values for Helm, as `--set` takes them.
const SET: &str = "SLUICE_E2E_SET";

/// The release, for one run of the tests.
pub(crate) struct Installation {
    keep: bool,
}

impl Installation {
    /// Builds the images, installs the chart and waits until it is ready.
    pub(crate) fn make() -> Result<Self> {
        let keep = std::env::var(VARIABLE).is_ok_and(|value| value == "keep");
        agent_image()?;
        let there = release_is_there()?;
        if there && !keep {
            bail!("the release {RELEASE} is installed already; uninstall it, or set {VARIABLE}=keep");
        }
        if !there {
            if !std::env::var(SET).is_ok_and(|set| set.contains("image.tag")) {
                eprintln!("building the images; minutes, where nothing is cached");
                let built = shell(&root().join("tests/images/build"), &["--quick"])?;
                check("tests/images/build", &built)?;
            }
            volume()?;
            install(&[])?;
        }
        provider()?;
        Ok(Self { keep })
    }

    /// Uninstalls, and fails when something of it is left.
    pub(crate) fn remove(self) -> Result<()> {
        // Tests delete theirs in the background.
        let own = format!("sluice-e2e={}", kube::run_label());
        kubectl(&["delete", "namespace", "--selector", &own, "--wait", "--timeout=240s"])?;
        if self.keep {
            return Ok(());
        }
        kubectl(&["delete", "identityprovider", "--all", "--wait"])?;
        kubectl(&["delete", "configmap", "provider-ca", "--namespace", SYSTEM])?;
        let finished = helm(&["uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout", "4m"])?;
        check("helm uninstall", &finished)?;
        eventually("nothing of the release", || {
            let left = left_behind()?;
            if left.is_empty() { Ok(()) } else { bail!("left behind:\n{left}") }
        })?;
        kubectl(&["delete", "namespace", SYSTEM, "--wait"])?;
        kubectl(&["delete", "persistentvolume", VOLUME, "--ignore-not-found"])?;
        let folder = volume_folder()?;
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
    }
}

/// `helm upgrade --install` of the chart with the test's values, and `set`
/// over them.
pub(crate) fn install(set: &[&str]) -> Result<()> {
    let chart = root().join("charts/sluice");
    let values = root().join("tests/e2e/tests/cluster/values.yaml");
    let mut arguments = vec!["upgrade", "--install", RELEASE];
    let (chart, values) = (text(&chart)?, text(&values)?);
    arguments.extend([chart, "--namespace", SYSTEM, "--create-namespace", "--values", values]);
    arguments.extend(["--wait", "--timeout", "5m"]);
    let more = std::env::var(SET).unwrap_or_default();
    for one in set.iter().copied().chain(Some(more.as_str()).filter(|more| !more.is_empty())) {
        arguments.extend(["--set", one]);
    }
    let finished = helm(&arguments)?;
    if !finished.status.success() {
        let pods = kube::run(&["describe", "pods", "--namespace", SYSTEM]).map(|pods| pods.stdout).unwrap_or_default();
        let control = ["logs", "deployment/sluice-control", "--namespace", SYSTEM, "--tail", "30"];
        let control = kube::run(&control).map(|log| log.stdout + &log.stderr).unwrap_or_default();
        bail!("helm upgrade --install: {}{}\n{pods}\n{control}", finished.stdout, finished.stderr);
    }
    // Those of before may still be asked, and would inject what was set before.
    eventually("the replicas of before are gone", || {
        let deployment = kube::get(&["deployment", "sluice-control", "--namespace", SYSTEM])?;
        let selector = "app.kubernetes.io/name=sluice-control";
        let pods = kube::get(&["pods", "--selector", selector, "--namespace", SYSTEM])?;
        let (pods, wanted) = (pods["items"].as_array().map_or(0, Vec::len), &deployment["spec"]["replicas"]);
        if *wanted == pods { Ok(()) } else { bail!("{pods} replicas, not {wanted}") }
    })?;
    // The API server asks the webhook from the moment on that it knows whom to believe.
    eventually("the webhook's CA", || {
        let name = ["mutatingwebhookconfiguration", "sluice"];
        let webhooks = kube::get(&name)?;
        let all = webhooks["webhooks"].as_array().context("no webhooks")?;
        if all.iter().all(|webhook| webhook["clientConfig"]["caBundle"].is_string()) {
            Ok(())
        } else {
            bail!("a webhook has no caBundle")
        }
    })
}

/// Sets how many replicas a deployment of ours has, and waits until it is so.
pub(crate) fn scale(deployment: &str, replicas: u32) -> Result<()> {
    let count = format!("--replicas={replicas}");
    kubectl(&["scale", "deployment", deployment, &count, "--namespace", SYSTEM])?;
    let name = format!("deployment/{deployment}");
    if replicas == 0 {
        let selector = format!("app.kubernetes.io/name={deployment}");
        let limit = format!("--timeout={}s", kube::PATIENCE.as_secs());
        return kubectl(&["wait", "pods", "--selector", &selector, "--namespace", SYSTEM, "--for=delete", &limit])
            .map(drop);
    }
    kubectl(&["rollout", "status", &name, "--namespace", SYSTEM, "--timeout=240s"]).map(drop)
}

/// Root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const VOLUME: &str = "sluice-e2e-collector";

fn volume_folder() -> Result<PathBuf> {
    Ok(Path::new(Cluster::get()?.variable("CLUSTER_STATE")?).join("volumes/collector"))
}

/// A volume for the collector's claim: the test bed provisions none.
fn volume() -> Result<()> {
    let folder = volume_folder()?;
    fs::create_dir_all(&folder)?;
    // The collector is no root, and `hostPath` knows no fsGroup.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    kube::apply(&format!(
        r#"apiVersion: v1
kind: PersistentVolume
metadata: {{name: {VOLUME}}}
spec:
  capacity: {{storage: 8Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: sluice-e2e
  hostPath: {{path: "{}"}}
"#,
        folder.display()
    ))
    .map(drop)
}

/// Who vouches for the people in the tests.
fn provider() -> Result<()> {
    let cluster = Cluster::get()?;
    let ca = fs::read_to_string(cluster.variable("PROVIDER_CA")?)?;
    let map = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "provider-ca", "namespace": SYSTEM},
        "data": {"ca.crt": ca},
    });
    kube::apply(&map.to_string())?;
    let (v1, v2, tenant) =
        (cluster.variable("ISSUER_V1")?, cluster.variable("ISSUER_V2")?, cluster.variable("TENANT_ID")?);
    kube::apply(&format!(
        r#"apiVersion: sluice.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: entra}}
spec:
  issuers: ["{v2}", "{v1}"]
  tenants: ["{tenant}"]
  claims: {{subject: oid, groups: groups, roles: roles, kubernetesUser: upn}}
  caBundleRef: {{configMap: provider-ca}}
"#
    ))?;
    kube::wait(SYSTEM, "identityprovider/entra", "condition=Accepted")
}

/// The image of agents and peers: kubectl, a shell, the probe.
fn agent_image() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let probe = folder.path().join("probe");
    let output = Command::new("go")
        .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
        .arg(&probe)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .current_dir(root().join("tests/go/probe"))
        .output()
        .context("run go build")?;
    if !output.status.success() {
        bail!("the probe does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let kubectl = Cluster::get()?.variable("KUBECTL")?;
    let mut arguments = vec![
        IMAGE.to_owned(),
        format!("{kubectl}=/bin/kubectl"),
        format!("{}=/bin/probe", probe.display()),
        "/bin/busybox=/bin/busybox".to_owned(),
    ];
    for applet in ["sh", "ls", "cat", "wget", "nc", "ping", "nslookup", "dd", "sleep", "test", "true"] {
        arguments.push(format!("busybox->/bin/{applet}"));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    check("tests/cluster/image", &shell(&root().join("tests/cluster/image"), &arguments)?)
}

fn release_is_there() -> Result<bool> {
    Ok(helm(&["status", RELEASE, "--namespace", SYSTEM])?.status.success())
}

fn helm(arguments: &[&str]) -> Result<Finished> {
    let cluster = Cluster::get()?;
    let mut command = Command::new(cluster.variable("HELM")?);
    command.arg("--kubeconfig").arg(cluster.variable("KUBECONFIG_ADMIN")?).args(arguments);
    finish(command, Duration::from_secs(420))
}

fn shell(script: &Path, arguments: &[&str]) -> Result<Finished> {
    let mut command = Command::new(script);
    command.args(arguments);
    // Images are built in it, with optimisation, on a machine that may be slow.
    finish(command, Duration::from_secs(3600))
}

fn finish(mut command: Command, limit: Duration) -> Result<Finished> {
    let mut process = Process::start(&mut command)?;
    process.ended(limit)?;
    process.wait()
}

fn check(what: &str, finished: &Finished) -> Result<()> {
    if !finished.status.success() {
        bail!("{what}: {}{}", finished.stdout, finished.stderr);
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))
}

/// Objects whose names begin as ours do.
fn left_behind() -> Result<String> {
    let cluster_wide = "customresourcedefinitions,clusterroles,clusterrolebindings,validatingadmissionpolicies,\
                        validatingadmissionpolicybindings,mutatingwebhookconfigurations,\
                        validatingwebhookconfigurations,priorityclasses";
    let namespaced = "all,secrets,configmaps,serviceaccounts,roles,rolebindings,leases,persistentvolumeclaims,\
                      networkpolicies,poddisruptionbudgets";
    let everything = kubectl(&["get", cluster_wide, "--output", "name"])?
        + &kubectl(&["get", namespaced, "--namespace", SYSTEM, "--output", "name"])?;
    let ours = |line: &&str| {
        let name = line.rsplit('/').next().unwrap_or_default();
        name.starts_with("sluice") || name.ends_with(".sluice.dev")
    };
    Ok(everything.lines().filter(ours).collect::<Vec<_>>().join("\n"))
}
