//! Whom the gateway believes, and whom not.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sluice_testkit::tokens::{Signer, now, unsigned};
use sluice_testkit::{Request, Seat};

use crate::world::{
    AUDIENCE, EVERYTHING, Fake, ISSUER, Real, assert_denied, claims, claims_with, config_map, reached_the_api_server,
};

seats!(
    tokens_of_the_provider_that_are_not_good,
    forged_and_foreign_tokens,
    headers_that_are_no_token,
    both_kinds_of_token_are_believed
);

/// Tokens that the real provider signed, before the real API server.
fn tokens_of_the_provider_that_are_not_good(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let namespace = real.cluster.namespace()?;
    let person = json!({"upn": "dev@example.com", "groups": ["developers"]});
    let cases = [
        ("expired", json!({"expires_in": -3600, "starts_in": -7200}), "exp"),
        ("not yet valid", json!({"starts_in": 3600, "expires_in": 7200}), "nbf"),
        ("wrong audience", json!({"audience": "https://vault.azure.net"}), "aud"),
        ("wrong tenant", json!({"tid": "00000000-0000-4000-8000-00000000dead"}), "tid"),
        ("no tenant", json!({"claims": {"tid": null}}), "tid"),
        ("another issuer", json!({"claims": {"iss": "https://evil.example/v2.0"}}), "iss"),
        ("no issuer", json!({"claims": {"iss": null}}), "iss"),
        ("no expiry", json!({"claims": {"exp": null}}), "exp"),
        ("no subject", json!({"claims": {"oid": null}}), "oid"),
        ("no signature", json!({"alg": "none"}), "alg"),
        ("HS256 with the public key", json!({"alg": "HS256"}), "alg"),
        ("a signature of nothing", json!({"alg": "garbage"}), "signature"),
        ("another hash", json!({"alg": "RS512"}), "alg"),
        (
            "groups overage",
            json!({"claims": {"groups": null, "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/"}}}}),
            "groups",
        ),
        ("groups overage, v1", json!({"version": 1, "claims": {"groups": null, "hasgroups": "true"}}), "groups"),
    ];
    for (index, (what, change, word)) in cases.iter().enumerate() {
        let mut request = person.clone();
        for (name, value) in change.as_object().context("a change is an object")? {
            request[name] = value.clone();
        }
        let token = real.cluster.token(&request)?;
        let response = real.ask_as(&token, Request::get(namespace.core(&format!("configmaps/forged-{index}"))))?;
        assert_denied(&response, 401, &[word]).with_context(|| (*what).to_owned())?;
        assert!(!response.text().contains(&token), "{what}: the answer repeats the token");
    }
    let honest = real.ask(Request::get(namespace.core("configmaps/honest")))?;
    assert_denied(&honest, 404, &["honest"])?;
    assert!(reached_the_api_server(real.cluster, &format!("{}/configmaps/honest", namespace.name))?);
    assert!(!reached_the_api_server(real.cluster, &format!("{}/configmaps/forged", namespace.name))?);
    Ok(())
}

/// Tokens that nobody vouches for; the server behind must see none of them.
fn forged_and_foreign_tokens(seat: Seat) -> Result<()> {
    let fake = Fake::start(seat, config_map)?;
    let stranger = Signer::new("key-1")?;
    let unknown = Signer::new("key-2")?;
    let jwk = fake.signer.jwk()?;
    let header = |change: Value| {
        let mut header = json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"});
        for (name, value) in change.as_object().into_iter().flatten() {
            header[name] = value.clone();
        }
        header
    };
    let good = fake.token.clone();
    let (body, signature) = good.rsplit_once('.').context("a token has a signature")?;
    let (head, _) = body.split_once('.').context("a token has claims")?;
    let admin = URL_SAFE_NO_PAD.encode(claims_with("groups", json!(["admins"])).to_string());
    let mut cases = vec![
        ("a stranger's key under our kid", stranger.token(&claims())?),
        ("an unknown kid", unknown.token(&claims())?),
        ("no kid", fake.signer.with_header(&json!({"alg": "RS256"}), &claims())?),
        ("alg none", format!("{}.", unsigned(&json!({"alg": "none", "kid": "key-1"}), &claims()))),
        ("alg None", format!("{}.", unsigned(&header(json!({"alg": "None"})), &claims()))),
        ("alg none with a signature", format!("{}.{signature}", unsigned(&header(json!({"alg": "none"})), &claims()))),
        ("no alg", fake.signer.with_header(&json!({"kid": "key-1"}), &claims())?),
        ("alg HS256", fake.signer.with_header(&header(json!({"alg": "HS256"})), &claims())?),
        ("alg ES256", fake.signer.with_header(&header(json!({"alg": "ES256"})), &claims())?),
        ("alg PS256", fake.signer.with_header(&header(json!({"alg": "PS256"})), &claims())?),
        ("jku of a stranger", stranger.with_header(&header(json!({"jku": "https://evil.example/keys"})), &claims())?),
        ("x5u of a stranger", stranger.with_header(&header(json!({"x5u": "https://evil.example/cert"})), &claims())?),
        ("jwk of a stranger", stranger.with_header(&header(json!({"jwk": stranger.jwk()?})), &claims())?),
        ("kid with a path", fake.signer.with_header(&header(json!({"kid": "../../dev/null"})), &claims())?),
        ("kid that is a list", fake.signer.with_header(&header(json!({"kid": ["key-1"]})), &claims())?),
        ("a critical extension", fake.signer.with_header(&header(json!({"crit": ["b64"], "b64": false})), &claims())?),
        ("claims changed after signing", format!("{head}.{admin}.{signature}")),
        ("signature cut off", format!("{body}.")),
        ("two parts", body.to_owned()),
        ("four parts", format!("{good}.x")),
        ("five parts", format!("{good}.x.y")),
        ("a byte of the signature missing", good[..good.len() - 2].to_owned()),
        ("padding", format!("{good}==")),
        ("claims that are no JSON", format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode("{"))),
        ("claims that are a list", format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode("[]"))),
        ("not a token", "hunter2".to_owned()),
    ];
    for (name, value) in [
        ("iss", json!("https://issuer.sluice.test/v2.0/")),
        ("iss", json!("https://ISSUER.sluice.test/v2.0")),
        ("iss", json!([ISSUER])),
        ("iss", Value::Null),
        ("aud", json!("https://management.azure.com/")),
        ("aud", json!([])),
        ("aud", json!(format!("{AUDIENCE} "))),
        ("aud", Value::Null),
        ("tid", json!("00000000-0000-4000-8000-00000000dead")),
        ("tid", Value::Null),
        ("exp", json!(now() - 600)),
        ("exp", json!((now() + 600).to_string())),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", Value::Null),
        ("nbf", json!(now() + 600)),
        ("iat", json!(now() + 600)),
        ("oid", json!("")),
        ("oid", json!(7)),
        ("oid", Value::Null),
        ("hasgroups", json!(true)),
    ] {
        cases.push((name, fake.signer.token(&claims_with(name, value))?));
    }
    cases.push(("oversized", fake.signer.token(&claims_with("padding", json!("x".repeat(20_000))))?));
    let mut wrong = Vec::new();
    for (what, token) in &cases {
        let response =
            fake.gateway.ask(crate::world::TARGET, &Request::get("/api/v1/namespaces/forged/pods").bearer(token))?;
        let status = response.json().unwrap_or_default();
        if response.status != 401 || status["kind"] != "Status" || response.text().contains(token.as_str()) {
            wrong.push(format!("{what}: {} {}", response.status, response.text()));
        }
    }
    assert!(wrong.is_empty(), "not refused:\n{}", wrong.join("\n"));
    assert_eq!(fake.paths(), Vec::<String>::new());
    // The public key as the secret of HS256, in the spellings that a careless library would take.
    let n = jwk["n"].as_str().context("a key has a modulus")?;
    for secret in [n.to_owned(), jwk.to_string(), STANDARD.encode(n)] {
        let token = hs256(&json!({"alg": "HS256", "kid": "key-1"}), &claims(), secret.as_bytes())?;
        let response = fake.gateway.ask(crate::world::TARGET, &Request::get("/api/v1/pods").bearer(&token))?;
        assert_denied(&response, 401, &["alg"])?;
    }
    assert_eq!(fake.paths(), Vec::<String>::new());
    assert_eq!(fake.ask(Request::get("/api/v1/namespaces/honest/pods"))?.status, 200);
    assert_eq!(fake.paths(), ["/api/v1/namespaces/honest/pods"]);
    Ok(())
}

fn headers_that_are_no_token(seat: Seat) -> Result<()> {
    let fake = Fake::http1(seat, config_map)?;
    let path = "/api/v1/namespaces/dev/pods";
    let cases = [
        vec![],
        vec![("authorization", String::new())],
        vec![("authorization", "Bearer".to_owned())],
        vec![("authorization", "Bearer ".to_owned())],
        vec![("authorization", format!("Basic {}", STANDARD.encode("admin:admin")))],
        vec![("authorization", format!("Negotiate {}", fake.token))],
        vec![("authorization", format!("Bearer {} {}", fake.token, fake.token))],
        vec![("authorization", format!("Bearer {}", fake.token)), ("authorization", format!("Bearer {}", fake.token))],
        vec![("cookie", format!("token={}", fake.token))],
        vec![(
            "sec-websocket-protocol",
            format!("base64url.bearer.authorization.k8s.io.{}", URL_SAFE_NO_PAD.encode(&fake.token)),
        )],
        vec![("x-remote-user", "system:admin".to_owned()), ("x-remote-group", "system:masters".to_owned())],
    ];
    for headers in cases {
        let mut request = Request::get(path);
        for (name, value) in &headers {
            request = request.header(name, value.clone());
        }
        let response = fake.gateway.ask(crate::world::TARGET, &request)?;
        let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        assert!(matches!(response.status, 400 | 401), "{names:?}: {} {}", response.status, response.text());
    }
    assert_eq!(fake.paths(), Vec::<String>::new());
    Ok(())
}

fn both_kinds_of_token_are_believed(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    for version in [1, 2] {
        let token =
            real.cluster.token(&json!({"upn": "dev@example.com", "groups": ["developers"], "version": version}))?;
        real.ask_as(&token, Request::get("/api/v1/namespaces/dev/configmaps/settings"))?.expect(200)?;
    }
    Ok(())
}

fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> Result<String> {
    let body = unsigned(header, claims);
    let signature = sluice_testkit::tokens::hmac(secret, body.as_bytes());
    Ok(format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
