//! Tokens: raw ones are never believed; of those that the provider signed,
//! whatever is in them, only sound ones are.
#![no_main]

use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use sluice_core::{Clock, ManualClock, Secret};
use sluice_gateway::dial::{Dialer, Resolver};
use sluice_gateway::identity::{Authenticator, CODES};
use sluice_policy::{Claims, Keys, Provider};

const ISSUER: &str = "https://i/";
const AUDIENCE: &str = "aud";
const NOW: i64 = 1_796_097_600;
const HEADER: &str = r#"{"alg":"EdDSA","kid":"k"}"#;

struct Bench {
    key: Ed25519KeyPair,
    authenticator: Authenticator,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed");
    let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]});
    let provider = Provider {
        name: "p".to_owned(),
        issuers: vec![ISSUER.to_owned()],
        keys: Keys::Inline(set.to_string()),
        ca_bundle: None,
        tenants: vec!["t".to_owned()],
        algorithms: vec!["EdDSA".to_owned()],
        claims: Claims {
            subject: "oid".to_owned(),
            groups: "groups".to_owned(),
            roles: "r.roles".to_owned(),
            kubernetes_user: Some("upn".to_owned()),
        },
    };
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(jiff::Timestamp::from_second(NOW).expect("a time")));
    let dialer = Dialer::new(Vec::new(), Resolver::servers(&[]));
    let authenticator = Authenticator::new(&[provider], dialer, clock).expect("a provider");
    Bench { key, authenticator }
});

fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else { return };
    match choice % 3 {
        0 => {
            let Ok(token) = std::str::from_utf8(rest) else { return };
            assert!(!believed(token.to_owned()));
        }
        1 => {
            if believed(signed(HEADER.as_bytes(), rest)) {
                check(rest);
            }
        }
        _ => {
            let at = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            let (header, claims) = rest.split_at(at);
            let claims = claims.get(1..).unwrap_or_default();
            if believed(signed(header, claims)) {
                check(claims);
            }
        }
    }
});

fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = BENCH.key.sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

fn believed(token: String) -> bool {
    let token = Secret::new(token);
    let (audiences, providers) = ([AUDIENCE.to_owned()], ["p".to_owned()]);
    let answer = BENCH.authenticator.identify(&token, &audiences, &providers).now_or_never();
    match answer.expect("keys in the policy need no wait") {
        Ok(_) => true,
        Err(refusal) => {
            assert!(CODES.contains(&refusal.code));
            false
        }
    }
}

/// What a believed token must say, as another reader reads it.
fn check(claims: &[u8]) {
    let claims: Value = serde_json::from_slice(claims).expect("JSON");
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["tid"], "t");
    assert!(
        claims["aud"] == AUDIENCE || claims["aud"].as_array().is_some_and(|several| several.contains(&json!(AUDIENCE)))
    );
    assert!(claims["exp"].as_f64().is_some_and(|end| end > (NOW - 61) as f64));
    assert!(claims["oid"].as_str().is_some_and(|id| !id.is_empty()));
}
