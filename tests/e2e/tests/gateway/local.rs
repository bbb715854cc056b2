//! `sluice run` before the real API server.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sluice_testkit::{ASK_JAVA, Cluster, Finished, Seat, Trail, binaries, run};
use tempfile::TempDir;

use crate::world::{real_policy, real_provider};

seats!(kubectl_under_sluice_run, java_under_sluice_run, there_is_no_other_way_out);

const LOOK: &str = r#"
  - name: look-around
    subjects: {groups: ["entra:developers"]}
    targets: [aks]
    kubernetes: {verbs: [get, list, watch], resources: ["*"], namespaces: [dev]}
    action: Allow
"#;

/// A folder of a user who runs commands under `sluice run`.
struct Desk {
    cluster: &'static Cluster,
    folder: TempDir,
    seat: Seat,
}

impl Desk {
    fn new(seat: Seat) -> Result<Self> {
        let cluster = Cluster::get()?;
        let folder = tempfile::Builder::new().prefix("sluice-e2e-run-").tempdir()?;
        let desk = Self { cluster, folder, seat };
        for name in ["policy", "work"] {
            fs::create_dir(desk.file(name))?;
            seat.own(&desk.file(name))?;
        }
        seat.own(desk.folder.path())?;
        fs::write(desk.file("policy/policy.yaml"), real_policy(LOOK, "")?)?;
        fs::write(desk.file("policy/provider.yaml"), real_provider()?)?;
        let kubeconfig = format!(
            r#"apiVersion: v1
kind: Config
current-context: it
contexts: [{{name: it, context: {{cluster: it, user: me}}}}]
clusters: [{{name: it, cluster: {{server: "https://{}:443"}}}}]
users: [{{name: me, user: {{token: {}}}}}]
"#,
            cluster.host()?,
            cluster.developer()?
        );
        fs::write(desk.file("work/kubeconfig"), kubeconfig)?;
        binaries::copy(binaries::sluice()?, &desk.file("sluice"))?;
        Ok(desk)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Result<Command> {
        let mut command = self.seat.command(self.file("sluice"));
        let (provider, provider_address) = self.cluster.provider(self.seat)?;
        command
            .args(["run", "--namespace", "agents", "--policy"])
            .arg(self.file("policy"))
            .arg("--trail")
            .arg(self.file("trail"))
            .arg("--key-out")
            .arg(self.file("trail.pub"))
            .args(["--map", &format!("{}:443={}", self.cluster.host()?, self.cluster.address(self.seat)?)])
            .args(["--map", &format!("{provider}={provider_address}")])
            .arg("--")
            .env("HOME", self.file("work"))
            .env("KUBECONFIG", self.file("work/kubeconfig"))
            .current_dir(self.file("work"));
        Ok(command)
    }

    fn run(&self, words: &[&str]) -> Result<Finished> {
        run(self.command()?.args(words))
    }
}

fn kubectl_under_sluice_run(seat: Seat) -> Result<()> {
    let desk = Desk::new(seat)?;
    let kubectl = desk.cluster.variable("KUBECTL")?;
    let pods = desk.run(&[kubectl, "get", "pods", "--namespace", "dev"])?;
    ensure!(pods.status.success() && pods.stdout.contains("web-"), "{}{}", pods.stdout, pods.stderr);
    let secret = desk.run(&[kubectl, "get", "secret", "db", "--namespace", "dev", "--output", "yaml"])?;
    ensure!(secret.status.success() && secret.stdout.contains("password:"), "{}{}", secret.stdout, secret.stderr);
    ensure!(!secret.stdout.contains("ZGV2LWRhdGFiYXNlLXBhc3N3b3Jk"), "{}", secret.stdout);
    let denied = desk.run(&[kubectl, "delete", "deployment", "web", "--namespace", "dev"])?;
    assert_eq!(denied.status.code(), Some(1), "{}", denied.stderr);
    ensure!(denied.stderr.contains("Forbidden") && denied.stderr.contains("sluice"), "{}", denied.stderr);
    let verified = Trail::new(desk.file("trail"), Some(desk.file("trail.pub"))).verify()?;
    assert_eq!(verified.code, 0, "{}", verified.text);
    Ok(())
}

/// Java trusts nobody but the store that it is told of.
fn java_under_sluice_run(seat: Seat) -> Result<()> {
    let desk = Desk::new(seat)?;
    fs::write(desk.file("work/Ask.java"), ASK_JAVA)?;
    let (host, token) = (desk.cluster.host()?, desk.cluster.developer()?);
    let ask = |path: &str| desk.run(&["java", "Ask.java", &format!("https://{host}{path}"), &token]);
    for (path, status, word) in [
        ("/version", "200", "gitVersion"),
        ("/api/v1/namespaces/dev/secrets/db", "200", "password"),
        ("/api/v1/namespaces/prod/pods", "403", "sluice"),
    ] {
        let answer = ask(path)?;
        ensure!(answer.status.success(), "{path}: {}", answer.stderr);
        ensure!(answer.stdout.starts_with(&format!("{status}\n")), "{path}: {}", answer.stdout);
        ensure!(answer.stdout.contains(word), "{path}: {}", answer.stdout);
        ensure!(!answer.stdout.contains("ZGV2LWRhdGFiYXNlLXBhc3N3b3Jk"), "{path}: {}", answer.stdout);
    }
    Ok(())
}

fn there_is_no_other_way_out(seat: Seat) -> Result<()> {
    let desk = Desk::new(seat)?;
    let host = desk.cluster.host()?.to_owned();
    let (v4, v6) = (desk.cluster.variable("CLUSTER_V4")?, desk.cluster.variable("CLUSTER_V6")?);
    let port = desk.cluster.variable("CLUSTER_API_PORT")?;
    // Nothing that is reached answers with the API server's own words.
    for url in [
        format!("https://{v4}:{port}/version"),
        format!("https://[{v6}]:{port}/version"),
        format!("https://{v4}/version"),
        format!("http://{v4}:{port}/version"),
        "https://other.example/version".to_owned(),
        "https://127.0.0.1:6443/version".to_owned(),
    ] {
        let finished = desk.run(&["curl", "--silent", "--fail", "--insecure", "--max-time", "30", &url])?;
        ensure!(!finished.status.success() && !finished.stdout.contains("gitVersion"), "{url}: {}", finished.stdout);
    }
    let lies = desk.run(&[
        "curl",
        "--silent",
        "--fail",
        "--insecure",
        "--max-time",
        "30",
        "--connect-to",
        &format!("other.example:443:{host}:443"),
        "https://other.example/version",
    ])?;
    ensure!(!lies.status.success(), "another name on the target's address: {}", lies.stdout);
    let honest = desk.run(&["curl", "--silent", "--max-time", "30", &format!("https://{host}/version")])?;
    ensure!(honest.stdout.contains("Unauthorized"), "without a token: {}{}", honest.stdout, honest.stderr);
    let records = Trail::new(desk.file("trail"), None).records().context("the trail of it")?;
    ensure!(!records.is_empty(), "nothing was recorded");
    Ok(())
}
