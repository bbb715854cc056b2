//! Batches over mutual TLS.

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use sluice_audit::Durability;
use sluice_link::CredentialsWatch;
use sluice_wire::{INGEST_PATH, IngestAnswer, IngestRefusal, MAX_BATCH_BYTES};

use crate::bed::{
    Authority, OWN, Running, WAIT, assert_code, link, numbers, open, options, say, ship, spiffe, workload, written,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trail_arrives_whole_over_restarts_of_the_collector() {
    let (authority, folder, spool) = (Authority::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut running = Running::start(&authority, options(folder.path()), None).await;
    let at = running.ingest;
    let credentials = authority.credentials(&spiffe("agents", "a1"));
    let mut number = 0;
    for epoch in 0..2 {
        let trail = open(spool.path(), "agents", "a1");
        let shipping = ship(&trail, at, credentials.clone());
        for _ in 0..3 {
            for _ in 0..20 {
                say(&trail, number, 9_000, Durability::Process).await;
                number += 1;
            }
            running.end().await;
            say(&trail, number, 10, Durability::Process).await;
            number += 1;
            running = Running::start(&authority, options(folder.path()), Some(at)).await;
            // Acknowledged means stored, also right after a start.
            say(&trail, number, 10, Durability::Collector).await;
            number += 1;
            assert_eq!(numbers(&folder.path().join("a1")).last(), Some(&(number as u64 - 1)), "epoch {epoch}");
        }
        trail.end().await.unwrap();
        assert!(shipping.drain(WAIT).await);
    }
    assert_eq!(numbers(&folder.path().join("a1")), (0..number as u64).collect::<Vec<_>>());
    let report = assert_code(&folder.path().join("a1"), 0);
    assert_eq!(report.epochs, 2);
    let text = running.metrics.text(Some(&running.store));
    assert!(text.contains("sluice_collector_trails 2"), "{text}");
    running.end().await;
    // The collector's own trail lies beside the others, and is whole too.
    assert_code(&folder.path().join(OWN), 0);
}

async fn post(at: std::net::SocketAddr, credentials: CredentialsWatch, query: &str, body: Vec<u8>) -> (u16, Bytes) {
    let path = format!("{INGEST_PATH}?{query}");
    let answer = link(at, credentials).send(Method::POST, &path, body.into()).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_their_code_and_status() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let running = Running::start(&authority, options(folder.path()), None).await;
    let [written] = &written(workload("agents", "a1"), 1, 3, 10).await[..] else { panic!() };
    let (start, bytes) = &written.pieces[0];
    let (mine, other) =
        (authority.credentials(&spiffe("agents", "a1")), authority.credentials(&spiffe("agents", "b2")));
    let refusal = |answer: (u16, Bytes)| (answer.0, serde_json::from_slice::<IngestRefusal>(&answer.1).unwrap());

    let refused = refusal(post(running.ingest, other, &start.to_string(), bytes.clone()).await);
    assert!(matches!(refused, (403, IngestRefusal::NotYours { .. })), "{refused:?}");
    let strange = authority.credentials("spiffe://elsewhere.example/ns/agents/sa/coder/pod/a1");
    let refused = refusal(post(running.ingest, strange, &start.to_string(), bytes.clone()).await);
    assert!(matches!(refused, (403, IngestRefusal::NotYours { .. })), "{refused:?}");
    let next = &written.pieces[1];
    let refused = refusal(post(running.ingest, mine.clone(), &next.0.to_string(), next.1.clone()).await);
    assert!(matches!(refused, (409, IngestRefusal::Gap { expected: 1 })), "{refused:?}");
    for (query, body) in [
        (start.to_string(), bytes[..bytes.len() - 1].to_vec()),
        (start.to_string(), vec![0; MAX_BATCH_BYTES + 1]),
        (start.to_string(), Vec::new()),
        ("epoch=1".to_owned(), bytes.clone()),
        (String::new(), bytes.clone()),
    ] {
        let refused = refusal(post(running.ingest, mine.clone(), &query, body).await);
        assert!(
            matches!(refused, (400, IngestRefusal::Malformed { .. } | IngestRefusal::BadSignature { .. })),
            "{refused:?}"
        );
    }
    for _ in 0..2 {
        let (status, body) = post(running.ingest, mine.clone(), &start.to_string(), bytes.clone()).await;
        let answer: IngestAnswer = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, answer.epoch, answer.acknowledged), (200, written.epoch, 1));
    }
    let text = running.metrics.text(None);
    for line in [
        "sluice_collector_batches_total 1",
        "sluice_collector_resent_batches_total 1",
        "sluice_collector_refusals_total{code=\"notYours\"} 2",
        "sluice_collector_refusals_total{code=\"gap\"} 1",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_certificate_of_ours_gets_no_answer() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let running = Running::start(&authority, options(folder.path()), None).await;
    // Signed by another authority; trusts the collector's.
    let (key, chain) = Authority::new().pem(&spiffe("agents", "a1"));
    let credentials = sluice_link::Credentials::from_pem(&key, &chain, &authority.roots()).unwrap();
    let watch = tokio::sync::watch::Sender::new(Some(std::sync::Arc::new(credentials))).subscribe();
    let sent = link(running.ingest, watch).send(Method::POST, INGEST_PATH, Bytes::new()).await;
    assert!(sent.is_err(), "{sent:?}");
    running.end().await;
}
