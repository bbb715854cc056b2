//! `sluice audit … --collector URL`, against a stand-in of the query port.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sluice_audit::{Durability, Kind, Record, Trail, TrailOptions};
use sluice_core::{SystemClock, Workload};
use sluice_testkit::pki::Authority;
use sluice_testkit::{Finished, Process, run};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the stand-in has, and what it was asked.
#[derive(Default)]
struct Held {
    /// Summaries, and the folders of their files.
    trails: Vec<(Value, PathBuf)>,
    /// Answers about records, one after the other; the last stays.
    records: VecDeque<String>,
    /// Paths with their queries.
    asked: Vec<String>,
}

struct StandIn {
    held: Arc<Mutex<Held>>,
    folder: TempDir,
    url: String,
}

impl StandIn {
    async fn start() -> Result<Self> {
        let authority = Authority::new("test")?;
        let tls = authority.server(&["localhost"], &[], &["http/1.1"])?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("roots.pem"), authority.pem())?;
        fs::write(folder.path().join("token"), "secret-token\n")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://127.0.0.1:{}", listener.local_addr()?.port());
        let held = Arc::new(Mutex::new(Held::default()));
        let serving = held.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, held) = (TlsAcceptor::from(tls.clone()), serving.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let answer = answer(&held, &request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        Ok(Self { held, folder, url })
    }

    fn held<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        change(&mut self.held.lock().expect("nobody panicked"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.current_dir(self.folder.path()).arg("audit").args(arguments).args([
            "--collector",
            &self.url,
            "--ca",
            "roots.pem",
            "--token-file",
            "token",
            "--tls-server-name",
            "localhost",
        ]);
        command
    }

    fn sluice(&self, arguments: &[&str]) -> Result<Finished> {
        run(&mut self.command(arguments))
    }
}

fn answer(held: &Mutex<Held>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut held = held.lock().expect("nobody panicked");
    held.asked.push(request.uri().to_string());
    let said = |status: StatusCode, body: Vec<u8>| {
        let mut answer = Response::new(Full::new(Bytes::from(body)));
        *answer.status_mut() = status;
        answer
    };
    let refusal = |status, code: &str| {
        said(status, json!({"code": code, "message": "no", "fix": "show another token"}).to_string().into_bytes())
    };
    if request.headers().get("authorization").is_none_or(|shown| shown != "Bearer secret-token") {
        return refusal(StatusCode::UNAUTHORIZED, "BadToken");
    }
    let parts: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["v1", "trails"] => {
            let all: Vec<&Value> = held.trails.iter().map(|(summary, _)| summary).collect();
            said(StatusCode::OK, json!(all).to_string().into_bytes())
        }
        ["v1", "trails", uid, file] => {
            let of = held.trails.iter().find(|(summary, _)| summary["podUid"] == *uid);
            match of.and_then(|(_, folder)| fs::read(folder.join(file)).ok()) {
                Some(bytes) => said(StatusCode::OK, bytes),
                None => refusal(StatusCode::NOT_FOUND, "NotFound"),
            }
        }
        ["v1", "records"] => {
            let next = if held.records.len() > 1 { held.records.pop_front() } else { held.records.front().cloned() };
            said(StatusCode::OK, next.unwrap_or_default().into_bytes())
        }
        _ => refusal(StatusCode::NOT_FOUND, "NotFound"),
    }
}

/// A trail of five records and its end, and what a collector says of it.
async fn trail(folder: &Path, uid: &str, silent: bool) -> Result<Value> {
    let workload = Workload { namespace: "agents".into(), pod: "coder".into(), uid: uid.into(), ..Workload::default() };
    let options = TrailOptions::new(workload, "test", Arc::new(SystemClock::new()));
    let (trail, _) = Trail::open(folder, options)?;
    for number in 0..5 {
        trail.append(Record::new(Kind::Refused).with("number", number), Durability::Process).await?;
    }
    trail.end().await?;
    let mut files: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("epoch-") {
            files.push(name);
        }
    }
    files.sort();
    let name = files.first().context("no file")?;
    let epoch = name.get("epoch-00000001-".len()..).and_then(|rest| rest.get(..36)).context("no epoch")?;
    Ok(json!({
        "podUid": uid, "namespace": "agents", "serviceAccount": "coder", "pod": "coder", "silent": silent,
        "epochs": [{
            "epoch": epoch, "ordinal": 1, "leaves": 8, "lastHeard": "2026-12-01T08:00:00Z", "ended": true, "files": files,
        }],
    }))
}

fn ended(finished: &Finished, code: i32, words: &[&str]) -> Result<()> {
    ensure!(finished.status.code() == Some(code), "wanted code {code}: {finished:?}");
    let said = format!("{}{}", finished.stdout, finished.stderr);
    for word in words {
        ensure!(said.contains(word), "no `{word}` in:\n{said}");
    }
    Ok(())
}

fn flip(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let mut bytes = fs::read(&path)?;
            bytes[300] ^= 1;
            fs::write(&path, bytes)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trails_are_fetched_and_judged() -> Result<()> {
    let collector = StandIn::start().await?;
    ended(&collector.sluice(&["verify"])?, 2, &["no trail"])?;
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let summaries = [trail(one.path(), "u1", false).await?, trail(two.path(), "u2", false).await?];
    let [first, second] = summaries.clone();
    collector.held(|held| held.trails = vec![(first, one.path().to_owned()), (second, two.path().to_owned())]);

    let trusted = ["agents/coder (u1): whole", "2 trails, 2 of them whole: whole", "trust on first use"];
    ended(&collector.sluice(&["verify", "--keep-keys", "keys"])?, 0, &trusted)?;
    let kept = collector.sluice(&["verify", "--key", "keys"])?;
    ended(&kept, 0, &["2 of them whole"])?;
    ensure!(!kept.stdout.contains("first use"), "{}", kept.stdout);
    ended(&collector.sluice(&["verify", "--pod", "u2"])?, 0, &["1 trails"])?;
    ended(&collector.sluice(&["verify", "--pod", "agents/other"])?, 2, &["agents/other"])?;

    // A pod whose sidecar went silent is named, and its trail incomplete.
    collector.held(|held| held.trails[1].0["silent"] = json!(true));
    let silent = collector.sluice(&["verify", "-o", "json", "--key", "keys"])?;
    ended(&silent, 4, &["the sidecar is silent since 2026-12-01T08:00:00"])?;
    let reports: Vec<Value> = silent.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(reports[0]["exitCode"] == 0 && reports[1]["exitCode"] == 4 && reports[0]["keys"] == "given", "{reports:?}");

    // Fewer records than the collector says that it has.
    collector.held(|held| held.trails[0].0["epochs"][0]["leaves"] = json!(9));
    ended(&collector.sluice(&["verify", "--pod", "u1"])?, 4, &["says that it has 9 records; there are 8"])?;

    // What was changed is found, and the gravest decides.
    flip(one.path())?;
    ended(&collector.sluice(&["verify", "--key", "keys"])?, 1, &["agents/coder (u1): invalid"])?;

    // A trail made anew is sound by its own keys, and not by those that were kept.
    let anew = tempfile::tempdir()?;
    let forged = trail(anew.path(), "u1", false).await?;
    collector.held(|held| held.trails = vec![(forged, anew.path().to_owned())]);
    ended(&collector.sluice(&["verify"])?, 0, &["whole"])?;
    ended(&collector.sluice(&["verify", "--key", "keys"])?, 1, &["another trail"])?;
    // A file that the collector names and does not have.
    collector.held(|held| held.trails[0].0["epochs"][0]["files"] = json!(["epoch-00000001-x.seg"]));
    ended(&collector.sluice(&["verify"])?, 2, &["NotFound"])?;
    collector.held(|held| held.trails[0].0["epochs"][0]["files"] = json!(["../../token"]));
    ended(&collector.sluice(&["verify"])?, 2, &["../../token"])?;
    Ok(())
}

/// A record as the collector sends it.
fn line(number: u64) -> String {
    let id = format!("01938a3e-0f4b-7c7e-9f3e-{number:012x}");
    let leaf = json!({
        "at": "2026-12-01T08:00:00Z", "body": {"number": number, "text": "\u{1b}[2J"}, "epoch": id, "id": id,
        "kind": "refused", "mono": 1, "prev": "0".repeat(64), "sequence": number, "v": 1,
    });
    json!({"podUid": "u1", "namespace": "agents", "pod": "coder", "record": leaf}).to_string() + "\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_asked_for_as_the_filters_say() -> Result<()> {
    let collector = StandIn::start().await?;
    ended(&collector.sluice(&["search"])?, 1, &[])?;
    collector.held(|held| held.records = VecDeque::from([line(1) + &line(2)]));
    let since = ["--since", "2026-12-01T08:00:00Z", "--kind", "intent,refused", "--subject", "a&b", "--pod", "u1"];
    let found = collector.sluice(&[&["search", "--namespace", "agents"], &since[..]].concat())?;
    ended(&found, 0, &["agents/coder 2026-12-01T08:00:00.000Z", "refused"])?;
    ensure!(found.stdout.lines().count() == 2 && !found.stdout.contains('\u{1b}'), "{}", found.stdout);
    let asked = collector.held(|held| held.asked.last().cloned()).context("nothing was asked")?;
    for part in ["podUid=u1", "namespace=agents", "subject=a%26b", "since=2026", "kind=intent%2Crefused"] {
        ensure!(asked.contains(part), "no `{part}` in {asked}");
    }
    let whole = collector.sluice(&["search", "-o", "json"])?;
    let first: Value = serde_json::from_str(whole.stdout.lines().next().context("no line")?)?;
    ensure!(first["record"]["body"]["number"] == 1 && first["pod"] == "coder", "{first}");

    let damaged = json!({"podUid": "u1", "namespace": "agents", "pod": "coder", "problem": "a checksum is wrong"});
    collector.held(|held| held.records = VecDeque::from([format!("{damaged}\n{}", line(1))]));
    ended(&collector.sluice(&["search"])?, 2, &["agents/coder: a checksum is wrong", "refused"])?;
    ended(&collector.sluice(&["tail"])?, 2, &["a checksum is wrong"])?;
    collector.held(|held| held.records = VecDeque::from(["no json\n".to_owned()]));
    ended(&collector.sluice(&["search"])?, 2, &["no JSON"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_goes_on_when_an_answer_ends_and_says_nothing_twice() -> Result<()> {
    let collector = StandIn::start().await?;
    collector.held(|held| held.records = VecDeque::from([line(1) + &line(2)]));
    let newest = collector.sluice(&["tail", "-n", "2"])?;
    ended(&newest, 0, &["\"number\":2"])?;
    ensure!(collector.held(|held| held.asked.last().is_some_and(|asked| asked.contains("limit=2"))), "limit");

    collector.held(|held| held.records = VecDeque::from([line(1), line(1) + &line(3)]));
    let mut tail = Process::start(&mut collector.command(&["tail", "-f"]))?;
    tail.line("the first record", |line| line.contains("\"number\":1").then_some(()))?;
    tail.error_line("that it asks again", |line| line.contains("asking again").then_some(()))?;
    // Would the first be printed again, it would come before the third.
    tail.line("the next record", |line| line.contains("\"number\":3").then_some(()))?;
    let asked = collector.held(|held| held.asked.last().cloned()).context("nothing was asked")?;
    ensure!(asked.contains("follow=true") && asked.contains("since="), "{asked}");
    tail.signal("TERM")?;
    let said = tail.wait()?.stdout;
    ensure!(said.lines().count() == 2, "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_believed_and_nothing_shown_without_proof() -> Result<()> {
    let collector = StandIn::start().await?;
    fs::write(collector.folder.path().join("token"), "another")?;
    ended(&collector.sluice(&["search"])?, 2, &["BadToken", "show another token"])?;
    collector.held(|held| held.asked.clear());
    fs::write(collector.folder.path().join("roots.pem"), Authority::new("other")?.pem())?;
    ended(&collector.sluice(&["search"])?, 2, &["does not prove that it is localhost"])?;
    ensure!(collector.held(|held| held.asked.is_empty()), "a token was shown to a server without proof");
    fs::write(collector.folder.path().join("roots.pem"), "nothing")?;
    ended(&collector.sluice(&["search"])?, 2, &["--ca roots.pem", "no certificate"])?;
    let plain = ["audit", "search", "--collector", "http://localhost", "--ca", "ca.pem"];
    let folder = collector.folder.path();
    fs::write(folder.join("ca.pem"), Authority::new("third")?.pem())?;
    ended(&run(Command::new(env!("CARGO_BIN_EXE_sluice")).current_dir(folder).args(plain))?, 2, &["https"])?;
    let both = ["audit", "search", "folder", "--collector"];
    ended(&run(Command::new(env!("CARGO_BIN_EXE_sluice")).args(both))?, 2, &["cannot be used with"])?;
    Ok(())
}
