use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sluice_core::{Clock, ManualClock};
use sluice_link::identity_of;
use sluice_wire::{Code, Identity};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authorities::after;
use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

fn lifetimes() -> Lifetimes {
    Lifetimes { authority: DAY * 90, rotate_after: DAY * 30, publish: DAY, leaf: HOUR }.checked().expect("no hole")
}

fn clock() -> ManualClock {
    ManualClock::at(Timestamp::from_second(1_800_000_000).expect("a time"))
}

fn pod() -> Identity {
    "spiffe://sluice.local/ns/agents/sa/coder/pod/6f1c".parse().expect("an identity")
}

/// One turn of the leader.
fn turn(authorities: &mut Authorities, clock: &ManualClock) -> bool {
    match authorities.due("Test CA", clock.now(), &lifetimes()).expect("a key") {
        Some(due) => {
            *authorities = due;
            true
        }
        None => false,
    }
}

fn csr() -> String {
    csr_of(&KeyPair::generate().expect("a key"), CertificateParams::default())
}

fn csr_of(key: &KeyPair, params: CertificateParams) -> String {
    params.serialize_request(key).expect("a request").pem().expect("PEM")
}

fn signed(authorities: &Authorities, now: Timestamp) -> Signed {
    sign_csr(&csr(), &pod(), &[], authorities, now, &lifetimes()).expect("a certificate")
}

/// Whether who has these roots believes a server with this certificate.
fn believes(roots: &Authorities, leaf: &CertificateDer<'static>, name: &str, now: Timestamp) -> bool {
    let mut store = rustls::RootCertStore::empty();
    for root in roots.roots() {
        store.add(root.clone()).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .expect("a verifier");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let seconds = u64::try_from(now.as_second()).expect("after 1970");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    verifier.verify_server_cert(leaf, &[], &name, &[], now).is_ok()
}

#[test]
fn the_first_authority_signs_at_once() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    assert!(authorities.signer(clock.now(), &lifetimes()).is_none());
    assert!(turn(&mut authorities, &clock));
    assert!(!turn(&mut authorities, &clock), "nothing is due twice");
    let signer = authorities.signer(clock.now(), &lifetimes()).expect("a signer");
    assert_eq!(signer.created, clock.now());
    assert_eq!(signer.expires, after(clock.now(), DAY * 90));
}

#[test]
fn a_new_authority_is_published_before_it_signs() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    turn(&mut authorities, &clock);
    let first = authorities.members()[0].pem.clone();
    clock.advance(DAY * 30 - Duration::from_secs(1));
    assert!(!turn(&mut authorities, &clock), "not before its time");
    clock.advance(Duration::from_secs(1));
    assert!(turn(&mut authorities, &clock));
    assert_eq!(authorities.members().len(), 2);
    let second = authorities.members()[1].pem.clone();
    assert!(authorities.roots_pem().contains(&second), "published at once");
    let signs = |clock: &ManualClock| authorities.signer(clock.now(), &lifetimes()).expect("a signer").pem.clone();
    assert_eq!(signs(&clock), first);
    clock.advance(DAY - Duration::from_secs(1));
    assert_eq!(signs(&clock), first);
    clock.advance(Duration::from_secs(1));
    assert_eq!(signs(&clock), second);
}

#[test]
fn roots_of_any_moment_and_leaves_of_the_next_day_fit_for_a_year() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    let name = ["control.example".to_owned()];
    let lifetimes = Lifetimes { leaf: DAY, ..lifetimes() }.checked().expect("no hole");
    turn(&mut authorities, &clock);
    let mut earlier: Vec<(Timestamp, Authorities)> = Vec::new();
    let mut leaves: Vec<(Timestamp, CertificateDer<'static>)> = Vec::new();
    for _ in 0..(365 * 2) {
        clock.advance(HOUR * 12);
        turn(&mut authorities, &clock);
        let now = clock.now();
        let leaf = own_leaf(None, &name, &authorities, now, &lifetimes).expect("a leaf");
        let certificate = leaf.key.cert[0].clone();
        // Roots that were handed out up to a day ago know who signs now.
        earlier.retain(|(at, _)| after(*at, DAY) >= now);
        for (at, roots) in &earlier {
            assert!(believes(roots, &certificate, "control.example", now), "roots of {at}, leaf of {now}");
        }
        // A leaf that is still valid is believed by who asks for roots now.
        leaves.retain(|(at, _)| after(*at, DAY) > now);
        for (at, leaf) in &leaves {
            assert!(believes(&authorities, leaf, "control.example", now), "leaf of {at}, roots of {now}");
        }
        assert!(believes(&authorities, &certificate, "control.example", after(now, DAY - Duration::from_secs(1))));
        earlier.push((now, authorities.clone()));
        leaves.push((now, certificate));
        assert!(authorities.members().len() <= 4, "{}", authorities.members().len());
    }
}

#[test]
fn an_authority_leaves_the_roots_when_its_last_leaf_has_ended() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    turn(&mut authorities, &clock);
    let first = authorities.members()[0].clone();
    while clock.now() < first.expires {
        assert!(authorities.roots_pem().contains(&first.pem), "gone at {}", clock.now());
        clock.advance(DAY);
        turn(&mut authorities, &clock);
    }
    assert!(!authorities.roots_pem().contains(&first.pem));
}

#[test]
fn a_control_plane_that_slept_too_long_begins_anew() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    turn(&mut authorities, &clock);
    clock.advance(DAY * 400);
    assert!(authorities.signer(clock.now(), &lifetimes()).is_none(), "an ended authority signs nothing");
    assert!(turn(&mut authorities, &clock));
    assert_eq!(authorities.members().len(), 1);
    assert!(authorities.signer(clock.now(), &lifetimes()).is_some());
}

#[test]
fn no_leaf_outlives_who_signed_it() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    turn(&mut authorities, &clock);
    clock.advance(DAY * 90 - Duration::from_secs(60));
    let expires = authorities.members()[0].expires;
    assert_eq!(signed(&authorities, clock.now()).expires, expires);
}

#[test]
fn times_that_leave_a_hole_are_refused() {
    let good = lifetimes();
    let hole = Lifetimes { authority: DAY * 31, ..good };
    let said = hole.checked().expect_err("a hole").to_string();
    assert!(said.contains("longer"), "{said}");
    assert!(Lifetimes { rotate_after: DAY, ..good }.checked().is_err(), "90 authorities at a time");
    let said = Lifetimes { leaf: DAY + HOUR, ..good }.checked().expect_err("unknown to those who have one").to_string();
    assert!(said.contains("publish it at least as long"), "{said}");
}

#[test]
fn a_secret_gives_back_what_was_put_in_and_keeps_what_others_wrote() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    turn(&mut authorities, &clock);
    clock.advance(DAY * 30);
    turn(&mut authorities, &clock);
    let metadata = ObjectMeta {
        resource_version: Some("7".to_owned()),
        labels: Some([("team".to_owned(), "sre".to_owned())].into()),
        ..ObjectMeta::default()
    };
    let secret = to_secret(&authorities, "sluice-system", "sluice-workload-ca", metadata);
    assert_eq!(secret.metadata.name.as_deref(), Some("sluice-workload-ca"));
    assert_eq!(secret.metadata.resource_version.as_deref(), Some("7"));
    let labels = secret.metadata.labels.clone().expect("labels");
    assert_eq!(labels["team"], "sre");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "sluice-control");
    let read = from_secret(&secret).expect("authorities");
    assert_eq!(read.roots_pem(), authorities.roots_pem());
    let times = |all: &Authorities| all.members().iter().map(|one| (one.created, one.expires)).collect::<Vec<_>>();
    assert_eq!(times(&read), times(&authorities));
    // A replica that only read it signs what the others believe.
    let leaf = own_leaf(None, &["a.example".to_owned()], &read, clock.now(), &lifetimes()).expect("a leaf");
    assert!(believes(&authorities, &leaf.key.cert[0], "a.example", clock.now()));
}

#[test]
fn a_secret_that_was_tampered_with_is_refused_whole() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    turn(&mut authorities, &clock);
    let good = to_secret(&authorities, "n", "s", ObjectMeta::default());
    let key = |secret: &k8s_openapi::api::core::v1::Secret, suffix: &str| {
        let data = secret.data.as_ref().expect("data");
        data.keys().find(|key| key.starts_with("authority-") && key.ends_with(suffix)).expect("an entry").clone()
    };
    let mut without = good.clone();
    let entry = key(&good, ".key");
    without.data.as_mut().expect("data").remove(&entry);
    let said = from_secret(&without).expect_err("no key").to_string();
    assert!(said.contains(&entry) && said.contains("delete the Secret"), "{said}");

    let mut foreign = good.clone();
    let other = Authority::create("Other", clock.now(), DAY).expect("a key");
    let bytes = k8s_openapi::ByteString(other.key.expose().clone().into_bytes());
    foreign.data.as_mut().expect("data").insert(entry, bytes);
    let said = from_secret(&foreign).expect_err("another key").to_string();
    assert!(said.contains("do not belong together"), "{said}");

    let mut garbage = good;
    let entry = key(&garbage, ".crt");
    garbage.data.as_mut().expect("data").insert(entry, k8s_openapi::ByteString(vec![0xff, 0xfe]));
    assert!(from_secret(&garbage).is_err());
    assert!(from_secret(&Default::default()).expect("empty").members().is_empty());
}

#[test]
fn names_that_a_request_asks_for_count_for_nothing() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    turn(&mut authorities, &clock);
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["sluice-control.sluice-system.svc".to_owned()]).expect("a name");
    params.subject_alt_names.push(SanType::URI("spiffe://sluice.local/control".try_into().expect("a URI")));
    params.distinguished_name.push(rcgen::DnType::CommonName, "admin");
    let request = csr_of(&key, params);
    let signed = match sign_csr(&request, &pod(), &[], &authorities, clock.now(), &lifetimes()) {
        Ok(signed) => signed,
        // Refused altogether is as good.
        Err(refusal) => return assert_eq!(refusal.code, Code::BadCsr),
    };
    let der = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).expect("PEM");
    assert_eq!(identity_of(&der), Some(pod()));
    let (_, parsed) = X509Certificate::from_der(&der).expect("a certificate");
    let names = parsed.subject_alternative_name().expect("names").expect("names").value.general_names.len();
    assert_eq!(names, 1);
    assert_eq!(parsed.subject().iter().count(), 0);
    assert!(!parsed.is_ca());
    assert_eq!(parsed.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
}

#[test]
fn the_collector_gets_its_names_and_the_pod_none() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    turn(&mut authorities, &clock);
    let collector: Identity = "spiffe://sluice.local/collector".parse().expect("an identity");
    let names = ["sluice-collector.sluice-system.svc".to_owned()];
    let signed = sign_csr(&csr(), &collector, &names, &authorities, clock.now(), &lifetimes()).expect("a certificate");
    let der = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).expect("PEM");
    assert_eq!(identity_of(&der), Some(collector));
    assert!(believes(&authorities, &der, "sluice-collector.sluice-system.svc", clock.now()));
    let pod = signed_der(&super::tests::signed(&authorities, clock.now()));
    assert!(!believes(&authorities, &pod, "sluice-collector.sluice-system.svc", clock.now()));
}

fn signed_der(signed: &Signed) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(signed.certificate.as_bytes()).expect("PEM")
}

#[test]
fn a_request_with_another_kind_of_key_or_a_broken_signature_is_refused() {
    let (clock, mut authorities) = (clock(), Authorities::default());
    turn(&mut authorities, &clock);
    let sign = |request: &str| sign_csr(request, &pod(), &[], &authorities, clock.now(), &lifetimes());
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let refusal = sign(&csr_of(&p384, CertificateParams::default())).expect_err("P-384");
    assert_eq!(refusal.code, Code::BadCsr);
    assert!(refusal.fix.contains("P-256"), "{refusal:?}");
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    assert!(sign(&csr_of(&ed25519, CertificateParams::default())).is_ok());
    for text in ["", "no PEM", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
        assert_eq!(sign(text).expect_err(text).code, Code::BadCsr);
    }
    // Somebody else's key without its signature: the proof of possession fails.
    let mut der =
        rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(csr().as_bytes()).expect("PEM").to_vec();
    let last = der.len() - 1;
    der[last] ^= 1;
    let pem = to_pem("CERTIFICATE REQUEST", &der);
    assert_eq!(sign(&pem).expect_err("a broken signature").code, Code::BadCsr);
}

fn to_pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[test]
fn a_key_has_one_fingerprint_whatever_the_request_says() {
    let key = KeyPair::generate().expect("a key");
    let named = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
    let print = |params| fingerprint(&csr_of(&key, params));
    let first = print(CertificateParams::default()).expect("a fingerprint");
    assert_eq!(first.len(), 64);
    if let Ok(second) = print(named) {
        assert_eq!(first, second);
    }
    assert_ne!(first, fingerprint(&csr()).expect("a fingerprint"));
}

#[test]
fn nothing_is_signed_without_an_authority() {
    let refusal = sign_csr(&csr(), &pod(), &[], &Authorities::default(), clock().now(), &lifetimes());
    assert_eq!(refusal.expect_err("nobody signs").code, Code::Unavailable);
}
