//! Other webhooks that undo what ours did, and ours when nobody answers.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sluice_testkit::{Answer, Cluster, Request, Seen, Upstream, eventually, pki};

use super::admission::assert_ours_first;
use crate::installation::scale;
use crate::kube::{Namespace, admin, assert_refused, said, unique};
use crate::pod::{Pod, agent, dry_run, plain};
use crate::trials::one;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        one("bypass::webhooks::another_webhook_that_reorders_is_without_effect", || {
            meddled(json!([{"op": "move", "from": "/spec/initContainers/1", "path": "/spec/initContainers/0"}]))
        }),
        one("bypass::webhooks::another_webhook_that_changes_the_image_is_without_effect", || {
            meddled(json!([
                {"op": "replace", "path": "/spec/initContainers/1/image", "value": "evil.example.com/gateway:1"},
            ]))
        }),
        one("bypass::webhooks::another_webhook_that_removes_the_gateway_is_without_effect", || {
            meddled(json!([{"op": "remove", "path": "/spec/initContainers/1"}]))
        }),
        one("bypass::webhooks::another_webhook_that_adds_rights_is_without_effect", || {
            meddled(json!([
                {"op": "add", "path": "/spec/containers/0/securityContext/capabilities/add", "value": ["NET_ADMIN"]},
            ]))
        }),
    ]
}

pub(super) fn alone() -> Vec<Trial> {
    vec![one("bypass::webhooks::while_ours_is_down_agents_are_refused_and_nobody_else", while_down)]
}

/// A webhook after ours that patches every pod of one namespace so, once for
/// each time that it is asked.
struct Meddler {
    name: String,
    _server: Upstream,
}

impl Meddler {
    fn start(namespace: &Namespace, operations: &Value) -> Result<Self> {
        let host = Cluster::get()?.variable("CLUSTER_HOST_V4")?;
        let authority = pki::Authority::new("the meddler's")?;
        let tls = authority.server(&[], &[host.parse()?], &["http/1.1"])?;
        let patch = STANDARD.encode(operations.to_string());
        let server = Upstream::start(&format!("{host}:0"), Arc::clone(&tls), move |seen| review(seen, &patch))?;
        // After `sluice` in the order of names, which is the order of asking.
        let name = unique("zzz-meddler");
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "meddler.example.com",
                "clientConfig": {
                    "url": format!("https://{}/", server.address()), "caBundle": STANDARD.encode(authority.pem()),
                },
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
                "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
            }],
        });
        admin(Request::new("POST", CONFIGURATIONS).json(&configuration))?.expect(201)?;
        Ok(Self { name, _server: server })
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        let _ = admin(Request::new("DELETE", format!("{CONFIGURATIONS}/{}", self.name)));
    }
}

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

fn review(seen: &Seen, patch: &str) -> Answer {
    let uid = serde_json::from_slice::<Value>(&seen.body).map(|review| review["request"]["uid"].clone());
    Answer::json(&json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": uid.unwrap_or_default(), "allowed": true, "patchType": "JSONPatch", "patch": patch},
    }))
}

/// Either ours has the last word and the pod is right, or it is refused.
fn meddled(operations: Value) -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    let meddler = Meddler::start(&namespace, &operations)?;
    // A new webhook is not asked at once.
    eventually("the other webhook is asked", || {
        let answer = dry_run(&namespace, &agent("agent"))?;
        if !meddler._server.seen().is_empty() { Ok(answer) } else { bail!("not yet") }
    })?;
    let answer = dry_run(&namespace, &agent("agent"))?;
    let message = said(&answer)?;
    if message.is_empty() {
        let pod = answer.json()?;
        assert_ours_first(&pod)?;
        let image = pod["spec"]["initContainers"][1]["image"].as_str().context("an image")?;
        assert!(!image.contains("evil"), "{image}");
        let added = &pod["spec"]["containers"][0]["securityContext"]["capabilities"]["add"];
        assert!(added.is_null() || added == &json!([]), "{added}");
    } else {
        assert!(message.contains("sluice: "), "refused by somebody else: {message}");
    }
    Ok(())
}

fn while_down() -> Result<()> {
    let namespace = Namespace::new(&json!({}))?;
    let required = Namespace::new(&json!({"sluice.dev/required": "true"}))?;
    scale("sluice-control", 0)?;
    let outcome = refused_while_down(&namespace, &required);
    scale("sluice-control", 2)?;
    outcome?;
    // And afterwards all is well again.
    eventually("agents are taken again", || {
        let answer = dry_run(&namespace, &agent("agent"))?;
        if answer.status == 201 { Ok(()) } else { bail!("{}", answer.text()) }
    })
}

fn refused_while_down(namespace: &Namespace, required: &Namespace) -> Result<()> {
    assert_refused("annotated", &dry_run(namespace, &agent("agent"))?, "inject.sluice.dev")?;
    let silent = plain("silent", &["/bin/probe", "wait"]);
    assert_refused("required", &dry_run(required, &silent)?, "sluice")?;
    // One that claims to be injected already.
    let mut claims = plain("claims", &["/bin/probe", "wait"]);
    claims["metadata"]["labels"]["sluice.dev/injected"] = json!("true");
    claims["metadata"]["annotations"] = json!({"sluice.dev/injected": "1"});
    assert_refused("claims", &dry_run(namespace, &claims)?, "sluice: ")?;
    // Everybody else notices nothing: such a pod is made and runs.
    Pod::start(namespace, &silent)?.delete()
}
