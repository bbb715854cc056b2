//! The program itself, started as an injected container starts it.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

use crate::pod::{Control, POLICY, Taken};
use crate::wire::{self, Authority};
use crate::world::{LONG, leaves};

/// The volumes of an injected pod.
fn volumes(folder: &Path) {
    for name in ["identity", "private", "trust", "account"] {
        std::fs::create_dir(folder.join(name)).expect("folder");
    }
    for (name, text) in [
        ("namespace", "agents"),
        ("name", "coder-0"),
        ("uid", "6f1c"),
        ("labels", "app=\"coder\""),
        ("annotations", "sluice.dev/triggered-by=\"ci\""),
        ("control-token", "token"),
        ("api-token", "first"),
        ("ca.crt", ""),
    ] {
        std::fs::write(folder.join("identity").join(name), text).expect("file");
    }
}

fn program(folder: &Path, control: &Control, collector: &wire::Server, roots: &str, probes: &str) -> Child {
    let url = |server: &wire::Server| format!("https://127.0.0.1:{}", server.endpoint.port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice-gateway"));
    command.arg("pod").env_clear().env("SLUICE_CONTROL", url(&control.server));
    command.env("SLUICE_COLLECTOR", url(collector)).env("SLUICE_ROOTS", roots).env("SLUICE_SERVICE_ACCOUNT", "coder");
    command.env("SLUICE_PROBES", probes);
    for (flag, name) in [
        ("--identity", "identity"),
        ("--private", "private"),
        ("--trust", "trust"),
        ("--service-account-folder", "account"),
        ("--trail", "trail"),
    ] {
        command.arg(flag).arg(folder.join(name));
    }
    for flag in ["--transparent", "--dns", "--health"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    command.stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("program")
}

/// Reads the log up to a line that holds `needle`.
async fn logged(lines: &mut Lines<BufReader<ChildStderr>>, needle: &str) -> String {
    let mut seen = Vec::new();
    loop {
        let line = tokio::time::timeout(LONG, lines.next_line()).await.expect("in time").expect("log");
        let line = line.unwrap_or_else(|| panic!("ended before {needle:?}: {seen:#?}"));
        if line.contains(needle) {
            return line;
        }
        seen.push(line);
    }
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injected_container_serves_its_pod_and_ends_when_told() {
    let (authority, folder, taken) =
        (Arc::new(Authority::new()), tempfile::tempdir().expect("folder"), Taken::default());
    volumes(folder.path());
    let judge = taken.clone();
    let collector =
        wire::Server::start(authority.credentials(&wire::collector()), move |asked| judge.take(asked)).await;
    let mut control = Control::start(&authority).await;
    control.send("r1", POLICY, &authority.pem);
    let agent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the agent");
    let port = agent.local_addr().expect("address").port();
    let probes = format!(r#"{{"/probe/agent/liveness": {{"tcpSocket": {{"port": {port}}}, "timeoutSeconds": 1}}}}"#);
    let mut program = program(folder.path(), &control, &collector, &authority.pem, &probes);
    let mut log = BufReader::new(program.stderr.take().expect("log")).lines();
    let serving = logged(&mut log, "serving").await;
    assert!(control.report("r1").await.in_force());
    let (_, rest) = serving.split_once("admin=Some(").expect("the address");
    let (health, _) = rest.split_once(')').expect("the address");
    let ready = get(health, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(get(health, "/metrics").await.contains("sluice_control_away 0"));
    let probed = async |kind: &str| get(health, &format!("/probe/agent/{kind}")).await;
    assert!(probed("liveness").await.starts_with("HTTP/1.1 200"));
    assert!(probed("readiness").await.starts_with("HTTP/1.1 404"), "it is not listed");
    drop(agent);
    let dead = async { while !probed("liveness").await.starts_with("HTTP/1.1 503") {} };
    tokio::time::timeout(LONG, dead).await.expect("the node hears of it");

    let token = folder.path().join("account/token");
    assert_eq!(std::fs::read_to_string(&token).expect("token"), "first");
    std::fs::write(folder.path().join("identity/api-token"), "second").expect("renewed");
    let renewed = async {
        while std::fs::read_to_string(&token).expect("token") != "second" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, renewed).await.expect("the agent gets it");

    let pid = rustix::process::Pid::from_raw(program.id().expect("running").cast_signed()).expect("pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
    let status = tokio::time::timeout(LONG, program.wait()).await.expect("in time").expect("ended");
    assert!(status.success(), "{status}");
    let leaves = leaves(&folder.path().join("trail"));
    assert!(leaves.iter().any(|leaf| leaf.to_string().contains("coder-0")));
    assert_eq!(taken.sequences(), [(u64::try_from(leaves.len()).expect("count"), true)], "the collector has all of it");
}
