//! Somebody else in the place of a gateway.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use sluice_testkit::{Client, Protocol, Request, Response};

use crate::kube::{Namespace, admin, assert_refused};
use crate::node::volume_file;
use crate::pod::{Pod, plain};
use crate::records::{roots, service};
use crate::scene::Scene;
use crate::trials::one;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        one("bypass::enrolment::a_minted_token_with_our_audience_is_refused", minted),
        one("bypass::enrolment::a_token_of_another_audience_is_refused", other_audience),
        one("bypass::enrolment::a_token_of_an_uninjected_pod_is_refused", uninjected),
        one("bypass::enrolment::a_second_enrolment_for_one_pod_is_refused", second),
        one("bypass::enrolment::without_a_certificate_there_is_no_policy_and_no_record", without_certificate),
    ]
}

/// Asks the control plane for a certificate for a fresh key.
fn enrol(token: &str) -> Result<Response> {
    let csr = CertificateParams::new(Vec::new())?.serialize_request(&KeyPair::generate()?)?.pem()?;
    client("sluice-control", 8444)?.send(&Request::new("POST", "/v1/enrol").bearer(token).json(&json!({"csr": csr})))
}

fn client(name: &str, port: u16) -> Result<Client> {
    let address = SocketAddr::new(service(name)?, port);
    Client::connect(Protocol::Http2, address, &format!("{name}.sluice-system.svc"), &roots()?)
}

fn assert_code(what: &str, answer: &Response, code: &str) -> Result<()> {
    let body = answer.json()?;
    ensure!(answer.status >= 400 && body["code"] == code, "{what}: expected {code}: {} {body}", answer.status);
    Ok(())
}

fn mint(audience: &str) -> Result<Response> {
    let scene = Scene::get()?;
    let body = json!({"spec": {
        "audiences": [audience],
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": scene.agent.name, "uid": scene.agent.uid},
    }});
    admin(Request::new("POST", scene.namespace.core("serviceaccounts/default/token")).json(&body))
}

/// By a cluster administrator, bound to the right pod.
fn minted() -> Result<()> {
    for audience in ["control.sluice.dev", "https://control.sluice.dev"] {
        assert_refused(audience, &mint(audience)?, "are made by nodes for their own pods alone")?;
    }
    Ok(())
}

fn other_audience() -> Result<()> {
    let answer = mint("example.com")?.expect(201)?.json()?;
    let token = answer["status"]["token"].as_str().context("a token")?;
    assert_code("another audience", &enrol(token)?, "BadToken")?;
    assert_code("no token at all", &enrol("x.y.z")?, "BadToken")
}

/// Nobody keeps a pod without a gateway from asking its node for such a token.
fn uninjected() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    let mut pod = plain("free", &["/bin/probe", "wait"]);
    pod["spec"]["volumes"] = json!([{"name": "token", "projected": {"sources": [
        {"serviceAccountToken": {"audience": "control.sluice.dev", "path": "token"}},
    ]}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "token", "mountPath": "/token"}]);
    let pod = Pod::start(&namespace, &pod)?;
    let finished = pod.exec(&["/bin/cat", "/token/token"])?;
    let answer = enrol(finished.stdout.trim())?;
    let code = answer.json()?["code"].clone();
    // The control plane looks at injected pods alone: it may not know this one at all.
    ensure!(code == "NotInjected" || code == "UnknownPod", "{} {}", answer.status, answer.text());
    Ok(())
}

/// With the gateway's own token, which only its node could give away.
fn second() -> Result<()> {
    let scene = Scene::get()?;
    let token = volume_file(&scene.agent, "projected", "sluice-identity", "control-token")?;
    assert_code("second enrolment", &enrol(token.trim())?, "AlreadyEnrolled")?;
    // And the first still works.
    let came: Value = scene.agent.probe(&["dns", "kubernetes.default.svc"])?;
    ensure!(came["addresses"].is_array(), "{came}");
    Ok(())
}

fn without_certificate() -> Result<()> {
    let uid = &Scene::get()?.agent.uid;
    for (name, port, method, path) in [
        ("sluice-control", 8444, "GET", format!("/v1/config?pod={uid}")),
        ("sluice-control", 8444, "POST", "/v1/report".to_owned()),
        ("sluice-collector", 8445, "POST", "/v1/ingest".to_owned()),
    ] {
        // Either the handshake fails, or the answer is a refusal.
        let answer =
            client(name, port).and_then(|mut client| client.send(&Request::new(method, &path).json(&json!({}))));
        match answer {
            Ok(answer) if answer.status < 400 => bail!("{path}: {} {}", answer.status, answer.text()),
            _ => {}
        }
    }
    Ok(())
}
