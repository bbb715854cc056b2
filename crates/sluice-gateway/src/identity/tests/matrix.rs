//! Tokens that must be believed, and forged, foreign and broken ones that must
//! not be.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sluice_core::{Fact, SubjectKind};

use super::provider::*;
use super::*;

#[tokio::test]
async fn a_good_token_says_who_its_holder_is() {
    let bench = Bench::start().await;
    let subject = bench.identify(&good().sign(first_key())).await.unwrap();
    let names = |names: &[&str]| Fact::Known(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(
        subject,
        Subject {
            kind: SubjectKind::Token,
            provider: "entra".to_owned(),
            issuer: ISSUER.to_owned(),
            id: "11111111-2222".to_owned(),
            kubernetes_user: Some("dev@example.org".to_owned()),
            groups: names(&["developers", "readers"]),
            roles: names(&["operator"]),
            token_id: Some("u-1".to_owned()),
            expires: Some(jiff::Timestamp::from_second(NOW + 3600).unwrap()),
        }
    );
}

#[tokio::test]
async fn what_differs_without_harm_is_believed() {
    let bench = Bench::start().await;
    for (what, draft) in [
        ("several audiences", good().claim("aud", json!(["other", AUDIENCE]))),
        ("no typ", good().header("typ", Value::Null)),
        ("an access token by RFC 9068", good().header("typ", json!("at+jwt"))),
        ("just over, within the leeway", good().claim("exp", json!(NOW - 59))),
        ("begins in a minute", good().claim("nbf", json!(NOW + 60)).claim("iat", json!(NOW + 60))),
        ("a fraction of a second", good().claim("exp", json!(NOW as f64 + 0.5))),
        ("no nbf, no iat", good().claim("nbf", Value::Null).claim("iat", Value::Null)),
        ("no groups and no roles", good().claim("groups", Value::Null).claim("roles", Value::Null)),
        ("no upn: an application", good().claim("upn", Value::Null)),
        ("claims elsewhere that nobody asks for", good().claim("_claim_names", json!({"photo": "src1"}))),
        ("hasgroups: false", good().claim("hasgroups", json!(false))),
    ] {
        bench.identify(&draft.sign(first_key())).await.unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
    }
}

#[tokio::test]
async fn foreign_claims_are_refused() {
    let bench = Bench::start().await;
    let many = |count: usize| Value::from((0..count).map(|number| format!("group-{number:020}")).collect::<Vec<_>>());
    for (what, code, draft) in [
        ("another issuer", "IssuerUnknown", good().claim("iss", json!("https://login.example/t2/v2.0"))),
        ("the issuer with a slash", "IssuerUnknown", good().claim("iss", json!(format!("{ISSUER}/")))),
        ("the issuer in capitals", "IssuerUnknown", good().claim("iss", json!(ISSUER.to_uppercase()))),
        ("no issuer", "TokenMalformed", good().claim("iss", Value::Null)),
        ("a list of issuers", "TokenMalformed", good().claim("iss", json!([ISSUER]))),
        ("another audience", "AudienceMismatch", good().claim("aud", json!("https://database.windows.net/"))),
        ("a part of the audience", "AudienceMismatch", good().claim("aud", json!(&AUDIENCE[..8]))),
        ("the audience with a space", "AudienceMismatch", good().claim("aud", json!(format!("{AUDIENCE} ")))),
        ("audiences without ours", "AudienceMismatch", good().claim("aud", json!(["a", "b", "c", "d", "e", "f", "g"]))),
        ("no audience", "AudienceMismatch", good().claim("aud", Value::Null)),
        ("an empty list of audiences", "AudienceMismatch", good().claim("aud", json!([]))),
        ("an audience that is no text", "ClaimMalformed", good().claim("aud", json!({AUDIENCE: true}))),
        ("ours among audiences that are no text", "ClaimMalformed", good().claim("aud", json!([1, AUDIENCE]))),
        ("another tenant", "TenantMismatch", good().claim("tid", json!("t2"))),
        ("no tenant", "TenantMismatch", good().claim("tid", Value::Null)),
        ("a list of tenants", "TenantMismatch", good().claim("tid", json!(["t1"]))),
        ("expired", "TokenExpired", good().claim("exp", json!(NOW - 60))),
        ("expired long ago", "TokenExpired", good().claim("exp", json!(0))),
        ("without an end", "ClaimMissing", good().claim("exp", Value::Null)),
        ("an end that is text", "ClaimMalformed", good().claim("exp", json!((NOW + 3600).to_string()))),
        ("an end beyond all calendars", "ClaimMalformed", good().claim("exp", json!(u64::MAX))),
        ("an end before all calendars", "ClaimMalformed", good().claim("exp", json!(-1))),
        ("not yet valid", "TokenNotYetValid", good().claim("nbf", json!(NOW + 61))),
        ("issued in the future", "TokenNotYetValid", good().claim("iat", json!(NOW + 61))),
        ("nbf that is no number", "ClaimMalformed", good().claim("nbf", json!(true))),
        ("no subject", "ClaimMissing", good().claim("oid", Value::Null)),
        ("an empty subject", "ClaimMalformed", good().claim("oid", json!(""))),
        ("a subject with a line end", "ClaimMalformed", good().claim("oid", json!("a\nb"))),
        ("a subject that is a number", "ClaimMalformed", good().claim("oid", json!(1))),
        ("a subject of 600 bytes", "ClaimMalformed", good().claim("oid", json!("x".repeat(600)))),
        ("groups that are no texts", "ClaimMalformed", good().claim("groups", json!([{"id": "developers"}]))),
        ("one group as text", "ClaimMalformed", good().claim("groups", json!("developers"))),
        ("roles in one text", "ClaimMalformed", good().claim("roles", json!("operator reader"))),
        ("groups in an object", "ClaimMalformed", good().claim("groups", json!({"developers": true}))),
        ("a role that is a number", "ClaimMalformed", good().claim("roles", json!([7]))),
        ("a user that is a list", "ClaimMalformed", good().claim("upn", json!(["admin"]))),
        (
            "groups elsewhere",
            "GroupsOverage",
            good().claim("groups", Value::Null).claim("_claim_names", json!({"groups": "src1"})),
        ),
        (
            "some groups here, the rest elsewhere",
            "GroupsOverage",
            good().claim("_claim_names", json!({"groups": "src1"})),
        ),
        ("roles elsewhere", "GroupsOverage", good().claim("_claim_names", json!({"roles": "src1"}))),
        ("hasgroups", "GroupsOverage", good().claim("groups", Value::Null).claim("hasgroups", json!(true))),
        ("hasgroups as text", "GroupsOverage", good().claim("hasgroups", json!("true"))),
        ("claim names that are no object", "ClaimMalformed", good().claim("_claim_names", json!(["groups"]))),
        ("too many groups for a header", "TokenTooLarge", good().claim("groups", many(600))),
    ] {
        assert_eq!(bench.refused(&draft.sign(first_key())).await, code, "{what}");
    }
}

#[tokio::test]
async fn forged_headers_are_refused() {
    let bench = Bench::start().await;
    let jwk = second_key().jwk("k1");
    for (what, code, draft) in [
        ("no algorithm", "TokenMalformed", good().header("alg", Value::Null)),
        ("an algorithm that is a number", "TokenMalformed", good().header("alg", json!(256))),
        ("alg: none", "AlgorithmRefused", good().header("alg", json!("none"))),
        ("alg: NONE", "AlgorithmRefused", good().header("alg", json!("NONE"))),
        ("HS256", "AlgorithmRefused", good().header("alg", json!("HS256"))),
        ("HS512", "AlgorithmRefused", good().header("alg", json!("HS512"))),
        ("rs256", "AlgorithmRefused", good().header("alg", json!("rs256"))),
        ("an algorithm that policy does not have", "AlgorithmRefused", good().header("alg", json!("RS512"))),
        ("PSS, which policy does not have", "AlgorithmRefused", good().header("alg", json!("PS256"))),
        ("crit", "HeaderRefused", good().header("crit", json!(["exp"]))),
        ("an unencoded payload", "HeaderRefused", good().header("b64", json!(false))),
        ("a key of its own", "HeaderRefused", good().header("jwk", jwk)),
        ("a key set of its own", "HeaderRefused", good().header("jku", json!("https://evil.example/keys"))),
        ("a certificate of its own", "HeaderRefused", good().header("x5c", json!(["MIIB"]))),
        ("a certificate's address", "HeaderRefused", good().header("x5u", json!("https://evil.example/c"))),
        ("compressed", "HeaderRefused", good().header("zip", json!("DEF"))),
        ("a token inside", "HeaderRefused", good().header("cty", json!("JWT"))),
        ("a proof of possession", "HeaderRefused", good().header("typ", json!("dpop+jwt"))),
        ("a typ that is no text", "HeaderRefused", good().header("typ", json!(["JWT"]))),
        ("no key", "KeyUnknown", good().header("kid", Value::Null)),
        ("an empty key", "KeyUnknown", good().header("kid", json!(""))),
        ("a key that is a number", "KeyUnknown", good().header("kid", json!(1))),
        ("a key in capitals", "KeyUnknown", good().header("kid", json!("K1"))),
        ("a key that is a path", "KeyUnknown", good().header("kid", json!("../../dev/null"))),
        ("a key that is a query", "KeyUnknown", good().header("kid", json!("k1' OR '1'='1"))),
        ("a key with a null byte", "KeyUnknown", good().header("kid", json!("k1\u{0}"))),
        ("a key of 300 bytes", "KeyUnknown", good().header("kid", json!("k".repeat(300)))),
    ] {
        assert_eq!(bench.refused(&draft.sign(first_key())).await, code, "{what}");
    }
}

#[tokio::test]
async fn signatures_by_others_are_refused() {
    let bench = Bench::start().await;
    assert_eq!(bench.refused(&good().sign(second_key())).await, "SignatureInvalid", "another key");
    assert_eq!(bench.refused(&good().sign(&Key::p256())).await, "SignatureInvalid", "a key of another kind");

    // HMAC with the public key as its secret, whatever form of it.
    let public = first_key().jwk("k1");
    for secret in [public.to_string(), public["n"].as_str().unwrap().to_owned()] {
        let draft = good().header("alg", json!("HS256"));
        let message = unsigned(&draft.header.to_string(), &draft.claims.to_string());
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert_eq!(bench.refused(&token).await, "AlgorithmRefused");
        let relabelled = unsigned(&good().header.to_string(), &good().claims.to_string());
        let token = format!("{relabelled}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        assert_eq!(bench.refused(&token).await, "SignatureInvalid");
    }

    let token = good().sign(first_key());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let other = URL_SAFE_NO_PAD.encode(good().claim("oid", json!("admin")).claims.to_string());
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[100] ^= 1;
    for (what, token) in [
        ("other claims under the signature", format!("{header}.{other}.{signature}")),
        ("no signature", format!("{message}.")),
        ("a flipped bit", format!("{message}.{}", URL_SAFE_NO_PAD.encode(&flipped))),
        ("half a signature", format!("{message}.{}", &signature[..signature.len() / 2])),
        ("zeros", format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 256]))),
        ("padding", format!("{message}.{signature}==")),
        ("no base64url", format!("{message}.{}", signature.replace(['-', '_', 'A'], "/"))),
        ("a part of another alphabet", format!("{message}.*")),
    ] {
        assert_eq!(bench.refused(&token).await, "SignatureInvalid", "{what}");
    }
    assert!(payload.len() > 40);
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let bench = Bench::start().await;
    let good = good();
    let (header, claims) = (good.header.to_string(), good.claims.to_string());
    let twice = claims.replacen('{', r#"{"oid":"admin","#, 1);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(3000), "]".repeat(3000));
    let sign = |header: &str, claims: &str| sign_texts(header, claims, first_key(), "RS256");
    let whole = sign(&header, &claims);
    for (what, code, token) in [
        ("nothing", "TokenMalformed", String::new()),
        ("one part", "TokenMalformed", "abc".to_owned()),
        ("two parts", "TokenMalformed", unsigned(&header, &claims)),
        ("four parts", "TokenMalformed", format!("{whole}.abc")),
        ("five parts: an encrypted token", "TokenMalformed", "a.b.c.d.e".to_owned()),
        ("dots", "TokenMalformed", "..".to_owned()),
        ("a space before it", "TokenMalformed", format!(" {whole}")),
        ("padding in the header", "TokenMalformed", whole.replacen('.', "=.", 1)),
        ("letters beyond ASCII", "TokenMalformed", "ü.ü.ü".to_owned()),
        ("a header that is no JSON", "TokenMalformed", sign("no", &claims)),
        ("a header that is a list", "TokenMalformed", sign("[]", &claims)),
        ("claims that are a text", "TokenMalformed", sign(&header, "\"x\"")),
        ("claims and something after them", "TokenMalformed", sign(&header, &format!("{claims} x"))),
        ("a claim twice", "TokenMalformed", sign(&header, &twice)),
        ("an algorithm twice", "TokenMalformed", sign(&header.replacen('{', r#"{"alg":"none","#, 1), &claims)),
        ("an escaped name twice", "TokenMalformed", sign(&header, &claims.replacen('{', r#"{"\u006fid":"admin","#, 1))),
        ("claims that nest without end", "TokenMalformed", sign(&header, &deep)),
        (
            "claims that are no UTF-8",
            "TokenMalformed",
            format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode([b'{', 0xff, b'}'])),
        ),
        ("a megabyte", "TokenTooLarge", "a".repeat(1024 * 1024)),
        ("one byte too many", "TokenTooLarge", "a".repeat(16 * 1024 + 1)),
    ] {
        assert_eq!(bench.refused(&token).await, code, "{what}");
    }
}

#[tokio::test]
async fn refusals_name_field_value_and_fix() {
    let bench = Bench::start().await;
    let words = async |draft: Draft| {
        let refusal = bench.identify(&draft.sign(first_key())).await.unwrap_err();
        format!("{} | {}", refusal.message, refusal.fix)
    };
    for (draft, parts) in [
        (good().claim("aud", json!("other")), vec!["aud", "\"other\"", AUDIENCE, "audiences of the target"]),
        (
            good().claim("iss", json!("https://x.example")),
            vec!["iss", "\"https://x.example\"", ISSUER, "identity provider"],
        ),
        (good().claim("tid", json!("t2")), vec!["tid", "\"t2\"", "entra", "tenant"]),
        (
            good().claim("exp", json!(NOW - 3600)),
            vec!["exp", "2026-12-01T03:00:00Z", "2026-12-01T04:00:00Z", "log in again"],
        ),
        (good().header("alg", json!("ES256")), vec!["alg", "ES256", "RS256", "algorithms"]),
        (good().header("kid", json!("gone")), vec!["kid", "\"gone\"", "log in again"]),
        (good().claim("oid", Value::Null), vec!["oid", "claims.subject", "entra"]),
        (good().claim("hasgroups", json!(true)), vec!["groups", "hasgroups", "application roles"]),
    ] {
        let words = words(draft).await;
        for part in parts {
            assert!(words.contains(part), "{part}: {words}");
        }
    }
    let long = words(good().claim("iss", json!("x\n".repeat(1000)))).await;
    assert!(long.len() < 1000 && !long.contains('\n'), "{long}");
}

#[tokio::test]
async fn only_the_providers_of_the_target_are_asked() {
    let bench = Bench::start().await;
    let token = Secret::new(good().sign(first_key()));
    let audiences = [AUDIENCE.to_owned()];
    for providers in [vec![], vec!["other".to_owned()], vec!["Entra".to_owned()]] {
        let refusal = bench.authenticator.identify(&token, &audiences, &providers).await.unwrap_err();
        assert_eq!(refusal.code, "IssuerUnknown", "{providers:?}");
    }
    assert_eq!(bench.key_fetches(), 0);
    let refusal = bench.authenticator.identify(&token, &[], &["entra".to_owned()]).await.unwrap_err();
    assert_eq!(refusal.code, "AudienceMismatch");
}

#[tokio::test]
async fn claims_are_found_by_name_and_by_path() {
    let bench = Bench::with(|provider| {
        provider.tenants.clear();
        provider.claims.subject = "sub".to_owned();
        provider.claims.groups = "realm.access.groups".to_owned();
        provider.claims.roles = "https://example.org/roles".to_owned();
        provider.claims.kubernetes_user = None;
    })
    .await;
    let draft = good()
        .claim("tid", Value::Null)
        .claim("realm", json!({"access": {"groups": ["a"]}}))
        .claim("https://example.org/roles", json!(["b"]));
    let subject = bench.identify(&draft.sign(first_key())).await.unwrap();
    assert_eq!(subject.id, "pairwise");
    assert_eq!(subject.groups.known().unwrap().iter().collect::<Vec<_>>(), ["a"]);
    assert_eq!(subject.roles.known().unwrap().iter().collect::<Vec<_>>(), ["b"]);
    assert_eq!(subject.kubernetes_user, None);
    let moved = good().claim("_claim_names", json!({"realm": "src1"}));
    assert_eq!(bench.refused(&moved.sign(first_key())).await, "GroupsOverage");
}

#[tokio::test]
async fn other_algorithms_work_where_policy_has_them() {
    let bench = Bench::with(|provider| {
        provider.algorithms = ["RS512", "PS256", "ES256", "EdDSA"].map(str::to_owned).to_vec();
    })
    .await;
    let (curve, edwards) = (Key::p256(), Key::ed25519());
    bench.publish(&[("k1", first_key()), ("k2", &curve), ("k3", &edwards)]);
    for (algorithm, id, key) in
        [("RS512", "k1", first_key()), ("PS256", "k1", first_key()), ("ES256", "k2", &curve), ("EdDSA", "k3", &edwards)]
    {
        let draft = good().header("alg", json!(algorithm)).header("kid", json!(id));
        bench.identify(&draft.sign(key)).await.unwrap_or_else(|refusal| panic!("{algorithm}: {refusal:?}"));
    }
    assert_eq!(bench.refused(&good().sign(first_key())).await, "AlgorithmRefused", "RS256 is not in the list");
    for (algorithm, id, key) in [("ES256", "k1", first_key()), ("RS512", "k2", &curve), ("EdDSA", "k2", &curve)] {
        let draft = good().header("alg", json!(algorithm)).header("kid", json!(id));
        assert_eq!(bench.refused(&draft.sign(key)).await, "SignatureInvalid", "{algorithm} with {id}");
    }
}

#[tokio::test]
async fn a_token_of_a_listed_issuer_with_another_issuers_keys_is_refused() {
    // v1 and v2 of one tenant: each has its own discovery document.
    const V1: &str = "https://login.example/v1/";
    let bench = Bench::with(|provider| provider.issuers.push(V1.to_owned())).await;
    bench.set(
        "/v1/.well-known/openid-configuration",
        Page::json(&json!({"issuer": V1, "jwks_uri": "https://login.example/v1/keys"})),
    );
    bench.set("/v1/keys", Page::json(&json!({"keys": [second_key().jwk("old")]})));
    let old = || good().claim("iss", json!(V1)).header("kid", json!("old"));
    assert_eq!(bench.identify(&old().sign(second_key())).await.unwrap().issuer, V1);
    bench.identify(&good().sign(first_key())).await.unwrap();
    assert_eq!(bench.refused(&good().header("kid", json!("old")).sign(second_key())).await, "KeyUnknown");
    assert_eq!(bench.refused(&old().header("kid", json!("k1")).sign(first_key())).await, "KeyUnknown");
}
