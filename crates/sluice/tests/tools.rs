//! `sluice policy`, `sluice audit`, `sluice completion` as people call them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use sluice_audit::{Kind, Record, Trail, TrailOptions};
use sluice_core::{SystemClock, Workload};
use sluice_testkit::{Finished, Process, run};
use tempfile::TempDir;

const POLICY: &str = r#"
apiVersion: sluice.dev/v1alpha1
kind: IdentityProvider
metadata: {name: entra}
spec:
  issuers: ["https://login.example/v2.0"]
---
apiVersion: sluice.dev/v1alpha1
kind: GatewayPolicy
metadata: {name: agents, namespace: default}
spec:
  identity: {providers: [entra], workload: Allowed}
  targets:
  - name: aks
    kubernetes: {server: demo.hcp.westeurope.azmk8s.io}
  rules:
  - name: look-around
    subjects: {groups: ["entra:developers"]}
    targets: [aks]
    kubernetes: {verbs: [get, list], resources: [pods], namespaces: [dev]}
    action: Allow
"#;

fn sluice(folder: &Path, arguments: &[&str]) -> Result<Finished> {
    run(Command::new(env!("CARGO_BIN_EXE_sluice")).current_dir(folder).args(arguments))
}

fn ended(finished: &Finished, code: i32, words: &[&str]) -> Result<()> {
    ensure!(finished.status.code() == Some(code), "wanted code {code}: {finished:?}");
    let said = format!("{}{}", finished.stdout, finished.stderr);
    for word in words {
        ensure!(said.contains(word), "no `{word}` in:\n{said}");
    }
    Ok(())
}

fn with_policy() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("policy.yaml"), POLICY)?;
    Ok(folder)
}

#[test]
fn explain_answers_with_its_exit_code() -> Result<()> {
    let folder = with_policy()?;
    let ask =
        |more: &[&str]| sluice(folder.path(), &[&["policy", "explain", "--policy", "policy.yaml"], more].concat());
    let ada = ["--subject", "ada", "--as-groups", "developers"];
    ended(&ask(&[&ada[..], &["get pods -n dev"]].concat())?, 0, &["look-around"])?;
    ended(&ask(&[&ada[..], &["GET /api/v1/namespaces/dev/pods"]].concat())?, 0, &["look-around"])?;
    ended(&ask(&[&ada[..], &["get pods -n prod"]].concat())?, 1, &["prod", "look-around"])?;
    ended(&ask(&["--workload", "get pods -n dev"])?, 1, &["look-around"])?;
    ended(&ask(&[&ada[..], &["--target", "other", "get pods"]].concat())?, 2, &["--target other", "aks"])?;
    ended(&ask(&[&ada[..], &["--provider", "other", "get pods"]].concat())?, 2, &["--provider other", "entra"])?;
    ended(&ask(&[&ada[..], &["fetch pods"]].concat())?, 2, &["fetch"])?;
    ended(&ask(&[&ada[..], &["--namespace", "elsewhere", "get pods"]].concat())?, 2, &["--namespace"])?;
    let json = ask(&[&ada[..], &["-o", "json", "get pods -n dev"]].concat())?;
    let json: serde_json::Value = serde_json::from_str(&json.stdout)?;
    ensure!(json["verdict"] == "Allow", "{json}");
    Ok(())
}

#[test]
fn cases_hold_or_are_shown() -> Result<()> {
    let folder = with_policy()?;
    let case = |namespace: &str, verdict: &str| {
        format!(
            "policies: [policy.yaml]\nsubject: {{provider: entra, groups: [developers]}}\ncases:\n- name: pods of {namespace}\n  command: get pods -n {namespace}\n  expect: {{verdict: {verdict}}}\n"
        )
    };
    fs::write(folder.path().join("good.case.yaml"), case("dev", "Allow"))?;
    ended(&sluice(folder.path(), &["policy", "test", "good.case.yaml"])?, 0, &["1 of 1 cases hold"])?;
    fs::write(folder.path().join("bad.case.yaml"), case("prod", "Allow"))?;
    let both = sluice(folder.path(), &["policy", "test", "."])?;
    ended(&both, 1, &["1 of 2 cases hold", "bad.case.yaml: pods of prod", "expected Allow, got Deny"])?;
    ended(&sluice(folder.path(), &["policy", "test", "missing.case.yaml"])?, 2, &["missing.case.yaml"])?;
    fs::write(folder.path().join("wrong.case.yaml"), "policies: [policy.yaml]\ncasses: []\n")?;
    ended(&sluice(folder.path(), &["policy", "test", "wrong.case.yaml"])?, 2, &["casses"])?;
    Ok(())
}

/// A trail with some records and its end, and the key beside it.
async fn trail(folder: &Path) -> Result<()> {
    let workload = Workload { namespace: "default".into(), pod: "test".into(), ..Workload::default() };
    let options = TrailOptions::new(workload, "test", Arc::new(SystemClock::new()));
    let (trail, _) = Trail::open(&folder.join("trail"), options)?;
    fs::write(folder.join("key.pem"), trail.public_key().to_pem())?;
    for number in 0..5 {
        let record = Record::new(Kind::Refused).with("number", number).with("text", "needle\u{1b}[2J");
        trail.append(record, sluice_audit::Durability::Process).await?;
    }
    trail.end().await?;
    Ok(())
}

#[tokio::test]
async fn a_trail_is_searched_shown_and_judged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    trail(folder).await?;

    let found = sluice(folder, &["audit", "search", "trail", "--text", "NEEDLE"])?;
    ended(&found, 0, &["refused"])?;
    ensure!(found.stdout.lines().count() == 5 && !found.stdout.contains('\u{1b}'), "{}", found.stdout);
    ended(&sluice(folder, &["audit", "search", "--trail", "trail", "--kind", "config"])?, 1, &[])?;
    ended(&sluice(folder, &["audit", "search", "nowhere"])?, 2, &["nowhere"])?;
    ended(&sluice(folder, &["audit", "search"])?, 2, &["--trail"])?;

    let found = sluice(folder, &["audit", "search", "trail", "--kind", "refused", "-o", "json"])?;
    let first: serde_json::Value = serde_json::from_str(found.stdout.lines().next().context("no record")?)?;
    let id = first["id"].as_str().context("no id")?;
    ended(&sluice(folder, &["audit", "show", id, "trail"])?, 0, &[id, "\"number\": 0"])?;
    let other = id.replace(|digit: char| digit.is_ascii_digit(), "0");
    ended(&sluice(folder, &["audit", "show", &other, "trail"])?, 1, &["no record"])?;
    ended(&sluice(folder, &["audit", "tail", "-n", "2", "trail", "--kind", "refused"])?, 0, &["\"number\":4"])?;

    for keys in [&["--key", "key.pem"][..], &[], &["--key", "key.pem", "--key", "key.pem"]] {
        ended(&sluice(folder, &[&["audit", "verify", "trail"], keys].concat())?, 0, &["whole"])?;
    }
    ended(&sluice(folder, &["audit", "verify", "trail", "--key", "nokey"])?, 2, &["nokey"])?;

    let (file, offset) = (first["file"].as_str().context("file")?, first["offset"].as_u64().context("offset")?);
    let file = folder.join(file);
    let mut bytes = fs::read(&file)?;
    let at = usize::try_from(offset)? + 60;
    bytes[at] ^= 1;
    fs::write(&file, bytes)?;
    let broken = sluice(folder, &["audit", "verify", "trail", "--key", "key.pem", "-o", "json"])?;
    ended(&broken, 1, &[])?;
    let report: serde_json::Value = serde_json::from_str(&broken.stdout)?;
    ensure!(report["exitCode"] == 1 && report["findings"][0]["sequence"] == first["sequence"], "{report}");
    ended(&sluice(folder, &["audit", "search", "trail"])?, 2, &["verify"])?;

    // `verify | head`: that nobody reads on does not make it whole.
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let mut unread = Command::new(env!("CARGO_BIN_EXE_sluice"));
    unread.current_dir(folder).args(["audit", "verify", "trail", "--key", "key.pem"]).stdout(writer);
    ensure!(unread.status()?.code() == Some(1), "an invalid trail is no success when nobody reads");
    Ok(())
}

#[tokio::test]
async fn tail_follows_what_is_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    trail(folder.path()).await?;
    let mut tail = Process::start(
        Command::new(env!("CARGO_BIN_EXE_sluice"))
            .current_dir(folder.path())
            .args(["audit", "tail", "-f", "-n", "1", "trail", "--kind", "refused"]),
    )?;
    tail.line("the newest record", |line| line.contains("\"number\":4").then_some(()))?;
    let options = TrailOptions::new(Workload::default(), "next", Arc::new(SystemClock::new()));
    let (next, _) = Trail::open(&folder.path().join("trail"), options)?;
    next.append(Record::new(Kind::Refused).with("number", 99), sluice_audit::Durability::Process).await?;
    tail.line("the record of the next run", |line| line.contains("\"number\":99").then_some(()))?;
    next.end().await?;
    Ok(())
}

#[test]
fn policies_of_a_cluster_are_tried_without_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = "kubernetes: {server: demo.hcp.westeurope.azmk8s.io}";
    let in_cluster = POLICY.replace(server, &format!("{server}\n    caBundleRef: {{configMap: aks-ca}}"));
    fs::write(folder.path().join("policy.yaml"), &in_cluster)?;
    let case = "
policies: [policy.yaml]
cases:
- {name: look, subject: {provider: entra, groups: [developers]}, command: get pods -n dev, expect: {verdict: Allow}}
";
    fs::write(folder.path().join("look.case.yaml"), case)?;
    ended(&sluice(folder.path(), &["policy", "test", "look.case.yaml"])?, 0, &["1 of 1 cases hold"])?;
    let explain = ["policy", "explain", "--policy", "policy.yaml", "--subject", "ada", "--as-groups", "developers"];
    ended(&sluice(folder.path(), &[&explain[..], &["get pods -n dev"]].concat())?, 0, &["look-around"])?;
    // One file is of one place.
    let both = in_cluster.replace("spec:\n  issuers", "spec:\n  caBundleRef: {file: ca.pem}\n  issuers");
    fs::write(folder.path().join("policy.yaml"), both)?;
    let refused = sluice(folder.path(), &[&explain[..], &["get pods -n dev"]].concat())?;
    ended(&refused, 2, &["spec.caBundleRef.file", "in a cluster write `configMap`"])
}

#[test]
fn a_cluster_that_does_not_answer_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let server = format!("https://{}", listener.local_addr()?);
    drop(listener);
    let kubeconfig = format!(
        "{{apiVersion: v1, kind: Config, current-context: prod, \
         clusters: [{{name: c, cluster: {{server: '{server}'}}}}], users: [{{name: u, user: {{token: t}}}}], \
         contexts: [{{name: prod, context: {{cluster: c, user: u}}}}]}}"
    );
    fs::write(folder.path().join("config"), kubeconfig)?;
    let words = [server.as_str(), "context `prod` of config", "Connection refused", "--context or --kubeconfig"];
    for command in [&["check"][..], &["audit", "search", "--collector"]] {
        let finished = sluice(folder.path(), &[command, &["--kubeconfig", "config"]].concat())?;
        ended(&finished, 2, &words)?;
        ensure!(!finished.stderr.contains("ServiceError"), "{}", finished.stderr);
    }
    Ok(())
}

#[test]
fn completions_know_the_subcommands_and_hide_our_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for shell in ["bash", "zsh", "fish"] {
        let script = sluice(folder.path(), &["completion", shell])?;
        ended(
            &script,
            0,
            &["audit", "policy", "token-file", "check", "inject", "sluice-namespace", "keep-keys", "collector"],
        )?;
        ensure!(!script.stdout.contains("__inside") && !script.stdout.contains("__init "), "{shell}");
    }
    ended(&sluice(folder.path(), &["version"])?, 0, &["sluice "])?;
    let help = sluice(folder.path(), &["--help"])?;
    ended(&help, 0, &["Exit codes"])?;
    ensure!(!help.stdout.contains("__inside"), "{}", help.stdout);
    ended(&sluice(folder.path(), &["run", "--help"])?, 0, &["Examples:", "kubectl get pods", "Exit code"])?;
    Ok(())
}
