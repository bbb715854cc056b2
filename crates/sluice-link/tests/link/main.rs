//! Against a server in this process that has a CA of its own.

mod server;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use server::{Answer, Asked, Authority, DOMAIN, Here, POD, Server, collector, control, in_order, json, streamed};
use sluice_audit::ship::{Batch, SendError, Transport};
use sluice_core::SystemClock;
use sluice_link::{
    Backoff, ConfigEvent, ConfigStream, Credentials, EnrolOptions, Enrolment, FirstRoots, IngestTransport, Link,
    Reporter, Server as Role, StreamOptions,
};
use sluice_wire::{Code, IngestAnswer, IngestRefusal, MAX_LINE_BYTES, Refusal, Report};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

const HOUR: Duration = Duration::from_secs(3600);

fn soon() -> Backoff {
    Backoff::new(Duration::from_millis(5), Duration::from_millis(20))
}

fn options(server: &Server, roots: &str, folder: &Path) -> EnrolOptions {
    let token_file = folder.join("token");
    std::fs::write(&token_file, "the-token\n").expect("token");
    EnrolOptions {
        control: server.endpoint.clone(),
        roots: FirstRoots::Pem(roots.to_owned()),
        trust_domain: DOMAIN.into(),
        token_file,
        folder: Some(folder.join("kept")),
        resolver: Arc::new(Here),
        clock: Arc::new(SystemClock::new()),
        backoff: soon(),
    }
}

/// A control plane that enrols everybody as [`POD`].
async fn enrolling(authority: &Arc<Authority>, life: Duration) -> Server {
    let signer = authority.clone();
    Server::start(authority.credentials(&control()), move |asked| match asked.path.as_str() {
        "/v1/enrol" => signer.enrol(&asked.body, POD, life, &signer.pem),
        _ => json(200, &()),
    })
    .await
}

/// A link of an enrolled pod.
fn link(server: &Server, role: Role, authority: &Authority) -> Link {
    let pod = authority.credentials(&POD.parse().expect("identity"));
    let (_, credentials) = watch::channel(Some(Arc::new(pod)));
    Link::new(server.endpoint.clone(), role, DOMAIN, Arc::new(Here), credentials)
}

/// Waits until the enrolment fails, and says why.
async fn failure(enrolment: &Enrolment) -> String {
    let mut status = enrolment.status();
    let failing = status.wait_for(|status| status.failing.is_some()).await.expect("status").failing.clone();
    failing.expect("failing").to_string()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("folder")
}

#[tokio::test]
async fn a_token_becomes_an_identity() {
    let (authority, folder) = (Arc::new(Authority::new()), folder());
    let server = enrolling(&authority, HOUR).await;
    let enrolment = Enrolment::start(options(&server, &authority.pem, folder.path())).expect("starts");
    let credentials = enrolment.enrolled().await;
    assert_eq!(credentials.identity().to_string(), POD);
    let asked = server.asked();
    assert_eq!(
        asked.first().map(|asked| (asked.path.as_str(), asked.bearer.as_deref(), asked.peer.clone())),
        Some(("/v1/enrol", Some("Bearer the-token"), None))
    );

    let link = Link::new(server.endpoint.clone(), Role::Control, DOMAIN, Arc::new(Here), enrolment.credentials());
    link.send(http::Method::POST, "/v1/report", Bytes::new()).await.expect("answer");
    let seen = server.asked().last().cloned().expect("asked");
    assert_eq!(seen.peer.map(|peer| peer.to_string()).as_deref(), Some(POD), "the certificate is shown");
}

#[tokio::test]
async fn who_is_not_the_control_plane_gets_no_token() {
    let (authority, other, folder) = (Arc::new(Authority::new()), Authority::new(), folder());
    for (shown, wanted) in [
        (
            authority.credentials(&collector()),
            "is of spiffe://sluice.local/collector, not of spiffe://sluice.local/control",
        ),
        (authority.credentials(&POD.parse().expect("identity")), "is of spiffe://sluice.local/ns/agents"),
        (other.credentials(&control()), "invalid peer certificate"),
    ] {
        let server = Server::start(shown, |_| json(500, &())).await;
        let enrolment = Enrolment::start(options(&server, &authority.pem, folder.path())).expect("starts");
        let why = failure(&enrolment).await;
        assert!(why.contains(wanted) && why.contains("https://control.test:"), "{why}");
        assert!(server.asked().is_empty());
        assert!(enrolment.credentials().borrow().is_none());
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time_and_new_roots_take_the_place_of_old_ones() {
    let (authority, next, folder) = (Arc::new(Authority::new()), Authority::new(), folder());
    let (signer, both, mut times) = (authority.clone(), format!("{}{}", authority.pem, next.pem), 0);
    let server = Server::start(authority.credentials(&control()), move |asked| {
        times += 1;
        match times {
            1 => signer.enrol(&asked.body, POD, Duration::from_secs(3), &signer.pem),
            _ => signer.enrol(&asked.body, POD, HOUR, &both),
        }
    })
    .await;
    let enrolment = Enrolment::start(options(&server, &authority.pem, folder.path())).expect("starts");
    let first = enrolment.enrolled().await;
    assert_eq!(first.roots().len(), 1);
    let mut credentials = enrolment.credentials();
    let renewed = credentials
        .wait_for(|present| present.as_ref().is_some_and(|present| !Arc::ptr_eq(present, &first)))
        .await
        .expect("renewed")
        .clone()
        .expect("credentials");
    assert!(first.expires() > jiff::Timestamp::now(), "before the first ended");
    assert_eq!(renewed.roots().len(), 2);
    assert_eq!(renewed.key().cert.len(), 1);
    assert_eq!(enrolment.status().borrow().enrolments, 2);
}

#[tokio::test]
async fn roots_that_change_in_their_file_are_asked_for_at_once() {
    let (authority, next, folder) = (Arc::new(Authority::new()), Authority::new(), folder());
    let (signer, mut roots) = (authority.clone(), vec![authority.pem.clone()]);
    let both = format!("{}{}", authority.pem, next.pem);
    roots.push(both.clone());
    let server = Server::start(authority.credentials(&control()), move |asked| {
        let given = if roots.len() > 1 { roots.remove(0) } else { roots[0].clone() };
        signer.enrol(&asked.body, POD, HOUR, &given)
    })
    .await;
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, &authority.pem).expect("roots");
    let options = EnrolOptions { roots: FirstRoots::File(file.clone()), ..options(&server, "", folder.path()) };
    let enrolment = Enrolment::start(options).expect("starts");
    assert_eq!(enrolment.enrolled().await.roots().len(), 1);
    std::fs::write(&file, &both).expect("roots");
    let mut credentials = enrolment.credentials();
    let renewed = |present: &Option<Arc<Credentials>>| present.as_ref().is_some_and(|one| one.roots().len() == 2);
    credentials.wait_for(renewed).await.expect("renewed");
    assert_eq!(enrolment.status().borrow().enrolments, 2);
}

#[tokio::test]
async fn a_process_that_starts_again_goes_on_with_what_it_kept() {
    let (authority, folder) = (Arc::new(Authority::new()), folder());
    let server = enrolling(&authority, HOUR).await;
    let options = options(&server, &authority.pem, folder.path());
    let first = Enrolment::start(options.clone()).expect("starts").enrolled().await;
    drop(server);
    let again = Enrolment::start(options).expect("starts again");
    let present = again.credentials().borrow().clone().expect("at once");
    assert_eq!(present.key().cert, first.key().cert);
    for file in std::fs::read_dir(folder.path().join("kept")).expect("folder") {
        let file = file.expect("file");
        assert_eq!(file.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[tokio::test]
async fn a_lost_certificate_is_asked_for_with_the_same_key() {
    let (authority, folder) = (Arc::new(Authority::new()), folder());
    let server = enrolling(&authority, HOUR).await;
    let options = options(&server, &authority.pem, folder.path());
    Enrolment::start(options.clone()).expect("starts").enrolled().await;
    std::fs::write(folder.path().join("kept/workload.json"), "{").expect("damaged");
    Enrolment::start(options).expect("starts again").enrolled().await;
    let keys: Vec<_> = server
        .asked()
        .iter()
        .map(|asked| {
            let request: sluice_wire::EnrolRequest = serde_json::from_slice(&asked.body).expect("request");
            let csr = rcgen::CertificateSigningRequestParams::from_pem(&request.csr).expect("CSR");
            rcgen::PublicKeyData::subject_public_key_info(&csr.public_key)
        })
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys.first(), keys.last());
}

#[tokio::test]
async fn a_refusal_is_told_and_tried_again() {
    let (authority, folder) = (Arc::new(Authority::new()), folder());
    let (signer, mut refusals) = (authority.clone(), 2);
    let server = Server::start(authority.credentials(&control()), move |asked| {
        if refusals > 0 {
            refusals -= 1;
            return json(503, &Refusal::new(Code::UnknownPod, "no such pod", "try again in a moment"));
        }
        signer.enrol(&asked.body, POD, HOUR, &signer.pem)
    })
    .await;
    let enrolment = Enrolment::start(options(&server, &authority.pem, folder.path())).expect("starts");
    let why = failure(&enrolment).await;
    assert!(why.contains("/v1/enrol") && why.contains("UnknownPod") && why.contains("try again"), "{why}");
    enrolment.enrolled().await;
    assert_eq!(enrolment.status().borrow().failing, None);
}

#[tokio::test]
async fn a_certificate_of_another_domain_is_not_taken() {
    let (authority, folder) = (Arc::new(Authority::new()), folder());
    let signer = authority.clone();
    let server = Server::start(authority.credentials(&control()), move |asked| {
        signer.enrol(&asked.body, "spiffe://other.local/ns/a/sa/b/pod/c", HOUR, &signer.pem)
    })
    .await;
    let enrolment = Enrolment::start(options(&server, &authority.pem, folder.path())).expect("starts");
    let why = failure(&enrolment).await;
    assert!(why.contains("other.local"), "{why}");
    assert!(enrolment.credentials().borrow().is_none());
}

fn stream(server: &Server, authority: &Authority, silence: Duration) -> ConfigStream {
    ConfigStream::start(link(server, Role::Control, authority), StreamOptions { silence, backoff: soon() })
}

async fn next(stream: &mut ConfigStream) -> ConfigEvent {
    tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("an event").expect("open")
}

#[tokio::test]
async fn a_config_line_may_come_in_pieces() {
    let authority = Authority::new();
    let (sender, answer) = streamed();
    let mut answer = Some(answer);
    let server = Server::start(authority.credentials(&control()), move |_| answer.take().expect("one stream")).await;
    let mut stream = stream(&server, &authority, HOUR);
    let line =
        r#"{"revision":"r1","documents":[{"name":"GatewayPolicy/a/b","yaml":"x"}],"selectorLabels":{"app":"coder"}}"#;
    let (first, rest) = line.split_at(30);
    sender.send(Bytes::from(format!("{{}}\n{first}"))).expect("open");
    assert_eq!(next(&mut stream).await, ConfigEvent::Heartbeat);
    sender.send(Bytes::from(format!("{rest}\n{{}}\n"))).expect("open");
    let ConfigEvent::Config(config) = next(&mut stream).await else { panic!("no config") };
    assert_eq!((config.revision.as_str(), config.documents.len()), ("r1", 1));
    assert_eq!(next(&mut stream).await, ConfigEvent::Heartbeat);
}

#[tokio::test]
async fn a_stream_that_is_broken_is_opened_again() {
    let authority = Authority::new();
    let (too_long, first) = streamed();
    let (silent, second) = streamed();
    let (garbage, third) = streamed();
    let (ended, fourth) = streamed();
    let (good, fifth) = streamed();
    let mut answers = vec![fifth, fourth, third, second, first];
    let server = Server::start(authority.credentials(&control()), move |_| answers.pop().expect("a stream")).await;
    for _ in 0..=(MAX_LINE_BYTES / 65536) {
        too_long.send(Bytes::from(vec![b' '; 65536])).expect("open");
    }
    garbage.send(Bytes::from_static(b"{\"revision\":\"half\"}\n")).expect("open");
    drop(ended);
    good.send(Bytes::from_static(b"{}\n")).expect("open");
    let mut stream = stream(&server, &authority, Duration::from_millis(300));
    for wanted in ["longer than", "no heartbeat", "cannot be read", "ended by the server"] {
        let ConfigEvent::Away(error) = next(&mut stream).await else { panic!("not away: {wanted}") };
        let text = error.to_string();
        assert!(text.contains(wanted) && text.contains("/v1/config"), "{text}");
    }
    assert_eq!(next(&mut stream).await, ConfigEvent::Heartbeat);
    drop(silent);
}

#[tokio::test]
async fn a_stream_that_is_refused_says_why() {
    let authority = Authority::new();
    let refusal = Refusal::new(Code::UnknownPod, "no injected pod", "try again");
    let server = Server::start(authority.credentials(&control()), move |_| json(503, &refusal)).await;
    let ConfigEvent::Away(error) = next(&mut stream(&server, &authority, HOUR)).await else { panic!("not away") };
    assert_eq!(error.refusal.map(|refusal| refusal.code), Some(Code::UnknownPod));
}

#[tokio::test]
async fn the_newest_report_arrives() {
    let authority = Authority::new();
    let (arrived, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let mut fails = 1;
    let server = Server::start(authority.credentials(&control()), move |asked: &Asked| {
        if fails > 0 {
            fails -= 1;
            return json(503, &Refusal::new(Code::Unavailable, "not now", "try again"));
        }
        let _ = arrived.send(serde_json::from_slice::<Report>(&asked.body).expect("report"));
        json(200, &serde_json::json!({}))
    })
    .await;
    let reporter = Reporter::start(link(&server, Role::Control, &authority), soon());
    let report = |revision: &str| Report {
        revision: revision.into(),
        compiled: true,
        problems: Vec::new(),
        version: "1".into(),
    };
    reporter.report(report("r1"));
    assert_eq!(reports.recv().await.expect("report").revision, "r1");
    reporter.report(report("r2"));
    assert_eq!(reports.recv().await.expect("report").revision, "r2");
}

fn batch(epoch: Uuid) -> Batch {
    Batch { ordinal: 1, epoch, segment: 2, offset: 64, last: 9, rest: false, bytes: b"frames".as_slice().into() }
}

#[tokio::test]
async fn batches_are_answered() {
    let (authority, epoch) = (Authority::new(), Uuid::now_v7());
    let acknowledge = move |epoch| -> Box<dyn Fn() -> Answer + Send> {
        Box::new(move || json(200, &IngestAnswer { epoch, acknowledged: 9 }))
    };
    let server = Server::start(
        authority.credentials(&collector()),
        in_order(vec![
            acknowledge(epoch),
            Box::new(|| json(409, &IngestRefusal::Gap { expected: 4 })),
            Box::new(|| json(507, &IngestRefusal::Full { message: "no room".into() })),
            acknowledge(Uuid::nil()),
        ]),
    )
    .await;
    let mut transport = IngestTransport::new(link(&server, Role::Collector, &authority));
    assert_eq!(transport.send(&batch(epoch)).await, Ok(9));
    assert_eq!(transport.send(&batch(epoch)).await, Err(SendError::Gap { expected: 4 }));
    let Err(SendError::Refused { code, .. }) = transport.send(&batch(epoch)).await else { panic!("not full") };
    assert_eq!(code, "full");
    let Err(SendError::Unreachable(why)) = transport.send(&batch(epoch)).await else { panic!("another epoch") };
    assert!(why.contains("acknowledges epoch"), "{why}");
    let asked = server.asked().first().cloned().expect("asked");
    assert_eq!(asked.path, format!("/v1/ingest?epoch={epoch}&ordinal=1&segment=2&offset=64&rest=false"));
    assert_eq!(&asked.body[..], b"frames");
    assert_eq!(asked.peer.map(|peer| peer.to_string()).as_deref(), Some(POD));
}

#[tokio::test]
async fn the_control_plane_is_no_collector() {
    let authority = Authority::new();
    let server = Server::start(authority.credentials(&control()), |_| json(200, &())).await;
    let mut transport = IngestTransport::new(link(&server, Role::Collector, &authority));
    let Err(SendError::Unreachable(why)) = transport.send(&batch(Uuid::nil())).await else { panic!("sent") };
    assert!(why.contains("spiffe://sluice.local/control"), "{why}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_connection_that_is_gone_is_made_again_with_the_credentials_of_the_moment() {
    let authority = Authority::new();
    let server = Server::start(authority.credentials(&collector()), |_| json(200, &())).await;
    let pod = |uid: &str| {
        let identity = format!("spiffe://sluice.local/ns/agents/sa/coder/pod/{uid}").parse().expect("identity");
        Some(Arc::new(authority.credentials(&identity)))
    };
    let (renewed, credentials): (watch::Sender<Option<Arc<Credentials>>>, _) = watch::channel(None);
    let link = Link::new(server.endpoint.clone(), Role::Collector, DOMAIN, Arc::new(Here), credentials);
    let send = || link.send(http::Method::POST, "/x", Bytes::new());
    assert!(send().await.expect_err("not enrolled").to_string().contains("no certificate yet"));
    for uid in ["one", "two"] {
        renewed.send_replace(pod(uid));
        send().await.expect("answer");
        send().await.expect("answer");
        let peer = server.asked().last().and_then(|asked| asked.peer.clone()).expect("peer");
        assert_eq!(peer.pod_uid(), Some(uid));
    }
    let gone = server.endpoint.clone();
    drop(server);
    let error = send().await.expect_err("gone").to_string();
    assert!(error.contains(&gone.to_string()), "{error}");
}
