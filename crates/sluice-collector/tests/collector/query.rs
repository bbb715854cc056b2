//! What people get to see.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use jiff::Timestamp;
use serde_json::Value;
use sluice_audit::{Durability, Kind};
use sluice_collector::query::{Cached, Query, REMEMBERED, Readers, Verb};
use sluice_collector::{Metrics, Shutdown};
use sluice_core::ManualClock;
use sluice_wire::{Code, RecordLine, TrailSummary};

use crate::bed::{
    Authority, OWN, Rights, Running, WAIT, assert_code, identity, open, opened, options, say, ship, spiffe, workload,
    written,
};

/// Two pods in two namespaces, all shipped.
async fn two_pods(authority: &Authority, running: &Running) {
    for (namespace, uid) in [("agents", "a1"), ("others", "b2")] {
        let spool = tempfile::tempdir().unwrap();
        let trail = open(spool.path(), namespace, uid);
        let shipping = ship(&trail, running.ingest, authority.credentials(&spiffe(namespace, uid)));
        for number in 0..20 {
            say(&trail, number, 1_000, Durability::Process).await;
        }
        trail.end().await.unwrap();
        assert!(shipping.drain(WAIT).await);
    }
}

fn lines(body: &[u8]) -> Vec<RecordLine> {
    body.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reader_sees_the_namespaces_that_are_theirs() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let running = Running::start(&authority, options(folder.path()), None).await;
    two_pods(&authority, &running).await;
    running.rights.give("all", Verb::List, "");
    running.rights.give("all", Verb::Get, "");
    running.rights.give("agents", Verb::List, "agents");
    let uids = |body: &[u8]| -> Vec<String> {
        serde_json::from_slice::<Vec<TrailSummary>>(body).unwrap().into_iter().map(|trail| trail.pod_uid).collect()
    };
    for (token, path, status, expected) in [
        ("token-of-all", "/v1/trails", 200, vec!["a1", "b2", OWN]),
        ("token-of-all", "/v1/trails?namespace=others", 200, vec!["b2"]),
        ("token-of-agents", "/v1/trails", 200, vec!["a1"]),
        ("token-of-agents", "/v1/trails?namespace=agents", 200, vec!["a1"]),
    ] {
        let (got, body) = running.read(&authority, path, token).await;
        assert_eq!((got, uids(&body)), (status, expected.into_iter().map(str::to_owned).collect()), "{token} {path}");
    }
    for (token, path, status) in [
        ("", "/v1/trails", 401),
        ("forged", "/v1/trails", 401),
        ("token-of-nobody", "/v1/trails", 403),
        ("token-of-nobody", "/v1/records", 403),
        ("token-of-agents", "/v1/trails?namespace=others", 403),
        ("token-of-agents", "/v1/records?namespace=others", 403),
        ("token-of-agents", "/v1/records?podUid=b2", 404),
        // May list, not get; and whether there is one is not said.
        ("token-of-agents", "/v1/trails/a1", 404),
        ("token-of-agents", "/v1/trails/none", 404),
        ("token-of-all", "/v1/trails?whatever=1", 400),
        ("token-of-all", "/v1/records?kind=nothing", 400),
        ("token-of-all", "/v1/", 404),
        ("token-of-all", "/", 404),
    ] {
        let (got, body) = running.read(&authority, path, token).await;
        let refusal: sluice_wire::Refusal = serde_json::from_slice(&body).unwrap();
        assert_eq!(got, status, "{token} {path}: {refusal}");
        assert!(!refusal.fix.is_empty());
    }
    let (_, body) = running.read(&authority, "/v1/records", "token-of-agents").await;
    assert!(!body.is_empty() && lines(&body).iter().all(|line| line.namespace == "agents"));
    running.end().await;
    // Each read that was answered is in the collector's own trail.
    let reads: Vec<_> = sluice_audit::read::Reader::open(&folder.path().join(OWN))
        .unwrap()
        .map(|entry| entry.unwrap().leaf)
        .filter(|leaf| leaf.kind == Kind::Read)
        .collect();
    assert_eq!(reads.len(), 5);
    assert_eq!(reads[2].body["by"]["username"], "agents");
    assert_eq!(
        (&reads[2].body["what"], &reads[2].body["namespaces"][0]),
        (&Value::from("trails"), &Value::from("agents"))
    );
    assert_code(&folder.path().join(OWN), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_downloaded_trail_is_the_trail() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let running = Running::start(&authority, options(folder.path()), None).await;
    two_pods(&authority, &running).await;
    running.rights.give("all", Verb::Get, "");
    let copy = tempfile::tempdir().unwrap();
    let (status, body) = running.read(&authority, "/v1/trails/a1", "token-of-all").await;
    assert_eq!(status, 200);
    let summary: TrailSummary = serde_json::from_slice(&body).unwrap();
    for file in summary.epochs.iter().flat_map(|epoch| &epoch.files) {
        let path = format!("/v1/trails/a1/{file}");
        let answer = running.get(&authority, &path, "token-of-all").await;
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), length);
        std::fs::write(copy.path().join(file), bytes).unwrap();
    }
    assert_code(copy.path(), 0);
    std::fs::write(folder.path().join("secret"), "s").unwrap();
    let name = &summary.epochs[0].files[0];
    for path in [
        "/v1/trails/..".to_owned(),
        "/v1/trails/../secret".to_owned(),
        "/v1/trails/%2e%2e/secret".to_owned(),
        "/v1/trails/a1/..%2fsecret".to_owned(),
        "/v1/trails/a1/../secret".to_owned(),
        "/v1/trails/a1/meta.json".to_owned(),
        "/v1/trails/a1/".to_owned(),
        format!("/v1/trails/b2/{name}"),
        format!("/v1/trails/a1/./{name}"),
        format!("/v1/trails/a1/{name}/"),
        format!("/v1/trails//{name}"),
        format!("/v1/trails/A1/{name}"),
    ] {
        let (status, _) = running.read(&authority, &path, "token-of-all").await;
        assert_eq!(status, 404, "{path}");
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_filtered_limited_and_followed() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let running = Running::start(&authority, options(folder.path()), None).await;
    two_pods(&authority, &running).await;
    running.rights.give("all", Verb::List, "");
    running.rights.give("all", Verb::Get, "");
    let numbers = |body: &[u8]| -> Vec<(String, u64)> {
        let number = |line: RecordLine| Some((line.pod_uid, line.record["body"]["number"].as_u64()?));
        lines(body).into_iter().filter_map(number).collect()
    };
    let (_, body) = running.read(&authority, "/v1/records?kind=config", "token-of-all").await;
    let all = numbers(&body);
    assert_eq!(all.len(), 40);
    let first = &lines(&body)[0];
    let stored = std::fs::read(folder.path().join("a1").join(&first.file)).unwrap();
    assert!(stored.len() as u64 > first.offset && first.hash.len() == 64);
    let (_, body) = running.read(&authority, "/v1/records?kind=config&podUid=b2&limit=3", "token-of-all").await;
    assert_eq!(numbers(&body), [17, 18, 19].map(|number| ("b2".to_owned(), number)));
    let (_, body) =
        running.read(&authority, "/v1/records?namespace=agents&text=%22NUMBER%22%3A7%2c", "token-of-all").await;
    assert_eq!(numbers(&body), [("a1".to_owned(), 7)]);
    let (_, body) = running.read(&authority, "/v1/records?since=2999-01-01T00:00:00Z", "token-of-all").await;
    assert!(body.is_empty());

    let path = "/v1/records?kind=config&follow=true&limit=1";
    let mut following = running.get(&authority, path, "token-of-all").await.into_body();
    let mut got = Vec::new();
    let spool = tempfile::tempdir().unwrap();
    let trail = open(spool.path(), "later", "c3");
    let shipping = ship(&trail, running.ingest, authority.credentials(&spiffe("later", "c3")));
    for number in 100..110 {
        say(&trail, number, 2_000, Durability::Collector).await;
    }
    let follow = async {
        // A frame may end in the middle of a line.
        let whole = |got: &[u8]| got.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        while numbers(&got[..whole(&got)]).len() < 11 || whole(&got) < got.len() {
            let frame = following.frame().await.expect("it goes on").unwrap();
            got.extend_from_slice(frame.data_ref().unwrap());
        }
    };
    tokio::time::timeout(WAIT, follow).await.unwrap();
    let followed = numbers(&got);
    assert_eq!(followed[0], ("b2".to_owned(), 19));
    assert_eq!(followed[1..], (100..110).map(|number| ("c3".to_owned(), number)).collect::<Vec<_>>());
    assert!(lines(&got).iter().all(|line| line.problem.is_none()));
    trail.end().await.unwrap();
    assert!(shipping.drain(WAIT).await);
    // Shutdown ends what goes on.
    running.end().await;
    while let Some(frame) = tokio::time::timeout(WAIT, following.frame()).await.unwrap() {
        if frame.is_err() {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reader_keeps_no_other_from_reading() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let running = Running::start(&authority, options(folder.path()), None).await;
    two_pods(&authority, &running).await;
    for who in ["one", "other"] {
        running.rights.give(who, Verb::List, "agents");
    }
    let path = "/v1/records?namespace=agents&follow=true";
    let mut following = Vec::new();
    let refused = loop {
        let answer = running.get(&authority, path, "token-of-one").await;
        if answer.status() != 200 {
            break answer;
        }
        following.push(answer);
        assert!(following.len() < 20, "there is an end");
    };
    assert_eq!((refused.status().as_u16(), following.len()), (503, 8));
    let (status, body) = running.read(&authority, "/v1/trails", "token-of-other").await;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_slice::<Vec<TrailSummary>>(&body).unwrap().len(), 1);
    let (status, _) = running.read(&authority, "/v1/records", "token-of-other").await;
    assert_eq!(status, 200);
    drop(following);
    // A place is given back once it is seen that nobody reads.
    let again = async {
        while running.read(&authority, "/v1/records", "token-of-one").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, again).await.unwrap();
    running.end().await;
}

/// A follower whose token or right is gone, and the API server's silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_no_longer_read_follows_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(opened(options(folder.path())).await);
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let (_shutdown, shutdown) = Shutdown::channel();
    let own = tempfile::tempdir().unwrap();
    let trail = open(own.path(), "sluice-system", OWN);
    for change in [Change::Right, Change::Token, Change::Unavailable] {
        let rights = Arc::new(Rights::default());
        rights.give("reader", Verb::List, "agents");
        let query = Arc::new(Query {
            store: store.clone(),
            access: Cached::new(rights.clone(), clock.clone()),
            trail: trail.clone(),
            metrics: Arc::new(Metrics::new()),
            shutdown: shutdown.clone(),
            readers: Readers::default(),
            ask_again: Duration::ZERO,
        });
        let request = http::Request::get("/v1/records?namespace=agents&follow=true")
            .header("authorization", "Bearer token-of-reader")
            .body(Empty::<bytes::Bytes>::new())
            .unwrap();
        let answer = query.answer(request).await;
        assert_eq!(answer.status(), 200);
        match change {
            Change::Right => rights.0.lock().unwrap().clear(),
            Change::Token => rights.deny("reader", Code::BadToken),
            Change::Unavailable => rights.deny("reader", Code::Unavailable),
        }
        clock.advance(REMEMBERED);
        // What comes wakes who follows.
        let uid = format!("a{}", change as u8);
        let [written] = &written(workload("agents", &uid), 1, 1, 10).await[..] else { panic!() };
        let (start, bytes) = &written.pieces[0];
        store.accept(&identity("agents", &uid), start, bytes).unwrap();
        let ended = answer.into_body().collect();
        tokio::time::timeout(WAIT, ended).await.expect("it ends").unwrap();
    }
    trail.end().await.unwrap();
}

#[derive(Clone, Copy)]
enum Change {
    Right,
    Token,
    Unavailable,
}
