//! Forged and foreign tokens, from the agent's pod.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sluice_testkit::Cluster;

use crate::kube::unique;
use crate::records::eventually_has;
use crate::scene::Scene;
use crate::trials::one;

type Claims = fn() -> Value;

/// What is wrong with each, as `POST /test/token` of the provider takes it.
const FORGED: &[(&str, Claims)] = &[
    ("alg_none", || json!({"alg": "none"})),
    ("signed_with_the_public_key", || json!({"alg": "HS256"})),
    ("of_another_audience", || json!({"audience": "00000003-0000-0000-c000-000000000000"})),
    ("of_another_tenant", || json!({"tid": "11111111-2222-4333-8444-555555555555"})),
    ("of_another_issuer", || json!({"claims": {"iss": "https://evil.example.com/v2.0"}})),
    ("expired", || json!({"expires_in": -600, "starts_in": -7200})),
    ("not_yet_valid", || json!({"starts_in": 3600, "expires_in": 7200})),
    ("with_a_path_as_kid", || json!({"header": {"kid": "../../../../dev/null"}})),
    ("with_a_jku", || json!({"header": {"jku": "https://evil.example.com/keys", "kid": "evil"}})),
    ("with_an_x5u", || json!({"header": {"x5u": "https://evil.example.com/chain.pem", "kid": "evil"}})),
    ("with_a_key_of_its_own", || json!({"header": {"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "kid": "evil"}})),
    ("oversized", || json!({"claims": {"filler": "x".repeat(40_000)}})),
];

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![one("bypass::tokens::an_honest_token_is_taken", honest)];
    trials.extend(FORGED.iter().map(|(name, make)| {
        one(&format!("bypass::tokens::a_token_{name}_is_refused_and_recorded"), move || refused(name, &make()))
    }));
    trials
}

fn token(more: &Value) -> Result<String> {
    let mut request = json!({"upn": "dev@example.com", "groups": ["developers"]});
    for (name, value) in more.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    Cluster::get()?.token(&request)
}

fn ask(token: &str, path: &str) -> Result<Value> {
    let host = Cluster::get()?.host()?;
    let to = format!("{host}:443");
    // One argument of a program is at most 128 KiB.
    Scene::get()?.agent.probe(&[
        "https",
        "-to",
        &to,
        "-name",
        host,
        "-path",
        path,
        "-token",
        token,
        "-ca",
        "/run/sluice/trust/ca.crt",
    ])
}

fn honest() -> Result<()> {
    let came = ask(&token(&json!({}))?, "/api/v1/namespaces/dev")?;
    ensure!(came["status"] == 200, "{came}");
    Ok(())
}

fn refused(name: &str, make: &Value) -> Result<()> {
    let mark = unique("forged");
    let came = ask(&token(make)?, &format!("/api/v1/namespaces/{mark}"))?;
    let status = came["status"].as_u64().unwrap_or_default();
    ensure!((400..500).contains(&status) && status != 404, "{name}: {came}");
    let words = |record: &Value| record.to_string().contains(&mark);
    // Too large a head is refused before there is a path to record.
    let is_it = |record: &Value| record["kind"] == "refused" && (words(record) || name == "oversized");
    eventually_has(&Scene::get()?.agent.uid, "a record of the refusal", is_it).map(drop)
}
