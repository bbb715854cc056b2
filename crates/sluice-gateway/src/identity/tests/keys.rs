//! Where keys come from: rotation, withdrawal, a provider that is down, slow
//! or lies.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use sluice_policy::Keys;

use super::provider::*;
use super::source::{BURST, DEFAULT_AGE, MOST_AGE, REFRESH_EVERY, RETRY_STALE};
use super::*;
use sluice_core::{Clock as _, ManualClock};

fn second() -> Draft {
    good().header("kid", json!("k2"))
}

/// Valid for two days.
fn long() -> Draft {
    good().claim("exp", json!(NOW + 48 * 3600))
}

#[tokio::test]
async fn keys_are_fetched_once_and_kept() {
    let bench = Bench::start().await;
    assert_eq!(bench.key_fetches(), 0);
    for _ in 0..10 {
        bench.identify(&good().sign(first_key())).await.unwrap();
    }
    assert_eq!(bench.key_fetches(), 1);
}

#[tokio::test]
async fn a_new_key_is_followed_and_a_withdrawn_one_forgotten() {
    let bench = Bench::start().await;
    bench.identify(&good().sign(first_key())).await.unwrap();
    assert_eq!(bench.refused(&second().sign(second_key())).await, "KeyUnknown");

    bench.publish(&[("k1", first_key()), ("k2", second_key())]);
    bench.clock.advance(REFRESH_EVERY);
    bench.identify(&second().sign(second_key())).await.unwrap();
    bench.identify(&good().sign(first_key())).await.unwrap();

    bench.publish(&[("k2", second_key())]);
    // Still believed: nobody has asked again.
    bench.identify(&good().sign(first_key())).await.unwrap();
    bench.clock.advance(DEFAULT_AGE);
    assert_eq!(bench.refused(&long().sign(first_key())).await, "KeyUnknown");
    bench.identify(&second().claim("exp", json!(NOW + 48 * 3600)).sign(second_key())).await.unwrap();
}

#[tokio::test]
async fn a_withdrawn_key_goes_with_any_refresh() {
    let bench = Bench::start().await;
    bench.identify(&good().sign(first_key())).await.unwrap();
    bench.publish(&[("k2", second_key())]);
    bench.identify(&second().sign(second_key())).await.unwrap();
    assert_eq!(bench.refused(&good().sign(first_key())).await, "KeyUnknown");
}

#[tokio::test]
async fn a_key_id_that_comes_back_with_another_key_is_another_key() {
    let bench = Bench::start().await;
    bench.identify(&good().sign(first_key())).await.unwrap();
    bench.publish(&[("k1", second_key())]);
    bench.clock.advance(DEFAULT_AGE);
    assert_eq!(bench.refused(&long().sign(first_key())).await, "SignatureInvalid");
    bench.identify(&long().sign(second_key())).await.unwrap();
}

#[tokio::test]
async fn a_burst_of_unknown_keys_costs_one_fetch() {
    let bench = Bench::start().await;
    bench.identify(&good().sign(first_key())).await.unwrap();
    let tokens: Vec<String> =
        (0..50).map(|number| good().header("kid", json!(format!("u{number}"))).sign(first_key())).collect();
    let codes = join_all(tokens.iter().map(|token| bench.refused(token))).await;
    assert!(codes.iter().all(|code| *code == "KeyUnknown"));
    assert_eq!(bench.key_fetches(), 2);

    // One after the other they are bounded by time.
    for token in &tokens {
        bench.refused(token).await;
    }
    assert_eq!(bench.key_fetches(), BURST);
    bench.clock.advance(REFRESH_EVERY);
    for token in &tokens {
        bench.refused(token).await;
    }
    assert_eq!(bench.key_fetches(), BURST + 1);
    bench.identify(&good().sign(first_key())).await.unwrap();
}

#[tokio::test]
async fn the_first_burst_costs_one_fetch_and_all_are_answered() {
    let bench = Bench::start().await;
    let token = good().sign(first_key());
    let subjects = join_all((0..50).map(|_| bench.identify(&token))).await;
    assert!(subjects.iter().all(Result::is_ok));
    assert_eq!(bench.key_fetches(), 1);
}

#[tokio::test]
async fn who_gives_up_does_not_stop_the_fetch() {
    let bench = Bench::start().await;
    let token = good().sign(first_key());
    // Asked for once and dropped, the fetch under way.
    assert!(futures_util::FutureExt::now_or_never(bench.identify(&token)).is_none());
    bench.identify(&token).await.unwrap();
    assert_eq!(bench.key_fetches(), 1);
}

#[tokio::test]
async fn without_keys_a_provider_that_is_down_lets_nobody_in() {
    let bench = Bench::start().await;
    bench.set_down(true);
    let refusal = bench.identify(&good().sign(first_key())).await.unwrap_err();
    assert_eq!(refusal.code, "ProviderUnavailable");
    assert!(refusal.message.contains("https://login.example/t1/v2.0/.well-known/openid-configuration"), "{refusal:?}");
    bench.set_down(false);
    bench.identify(&good().sign(first_key())).await.unwrap();
}

#[tokio::test]
async fn keys_at_hand_serve_while_the_provider_is_down() {
    let bench = Bench::start().await;
    let token = long().sign(first_key());
    bench.identify(&token).await.unwrap();
    bench.set_down(true);
    assert_eq!(bench.refused(&second().sign(second_key())).await, "KeyUnknown");
    bench.clock.advance(DEFAULT_AGE);
    bench.identify(&token).await.unwrap();
    bench.clock.advance(MOST_AGE - DEFAULT_AGE - Duration::from_secs(1));
    bench.identify(&token).await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.refused(&token).await, "ProviderUnavailable");
    bench.set_down(false);
    bench.clock.advance(REFRESH_EVERY);
    bench.identify(&token).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_comes_back_is_asked_again() {
    let bench = Bench::start().await;
    let token = long().sign(first_key());
    bench.identify(&token).await.unwrap();
    bench.set_down(true);
    bench.clock.advance(DEFAULT_AGE);
    bench.identify(&token).await.unwrap();
    bench.publish(&[("k2", second_key())]);
    bench.set_down(false);
    bench.clock.advance(RETRY_STALE);
    assert_eq!(bench.refused(&token).await, "KeyUnknown");
}

#[tokio::test]
async fn the_servers_word_on_age_counts_within_bounds() {
    let bench = Bench::start().await;
    let token = long().sign(first_key());
    let publish = |age: &str| {
        let mut page = Page::json(&json!({"keys": [first_key().jwk("k1")]}));
        page.headers.push_str(&format!("cache-control: {age}\r\n"));
        bench.set(KEYS, page);
    };
    publish("max-age=300");
    bench.identify(&token).await.unwrap();
    bench.clock.advance(Duration::from_secs(299));
    bench.identify(&token).await.unwrap();
    assert_eq!(bench.key_fetches(), 1);
    bench.clock.advance(Duration::from_secs(1));
    publish("no-store");
    bench.identify(&token).await.unwrap();
    assert_eq!(bench.key_fetches(), 2);
    // Not for each request.
    bench.clock.advance(Duration::from_secs(59));
    bench.identify(&token).await.unwrap();
    assert_eq!(bench.key_fetches(), 2);
    bench.clock.advance(Duration::from_secs(1));
    publish("max-age=99999999");
    bench.identify(&token).await.unwrap();
    assert_eq!(bench.key_fetches(), 3);
    bench.clock.advance(MOST_AGE);
    bench.identify(&token).await.unwrap();
    assert_eq!(bench.key_fetches(), 4);
}

#[tokio::test]
async fn a_provider_that_lies_is_not_believed() {
    let huge = vec![b' '; 2 * 1024 * 1024];
    let keys = |count: usize| Page::json(&json!({"keys": vec![first_key().jwk("k1"); count]}));
    let discovery = |issuer: &str, uri: &str| Page::json(&json!({"issuer": issuer, "jwks_uri": uri}));
    let redirect = Page { status: 302, headers: "location: https://evil.example/\r\n".to_owned(), body: Vec::new() };
    let text = |body: &str| Page { status: 200, headers: String::new(), body: body.as_bytes().to_vec() };
    let here = "https://login.example/t1/keys";
    for (what, path, page) in [
        ("of another issuer", DISCOVERY, discovery("https://login.example/t2/v2.0", here)),
        ("of another issuer", DISCOVERY, discovery(&format!("{ISSUER}/"), here)),
        ("no https URL", DISCOVERY, discovery(ISSUER, "http://login.example/t1/keys")),
        ("no https URL", DISCOVERY, discovery(ISSUER, "file:///etc/keys")),
        ("has no jwks_uri", DISCOVERY, Page::json(&json!({"issuer": ISSUER}))),
        ("of another issuer", DISCOVERY, Page::json(&json!({"jwks_uri": here}))),
        ("twice", DISCOVERY, text(&format!(r#"{{"issuer":"{ISSUER}","issuer":"{ISSUER}","jwks_uri":"{here}"}}"#))),
        ("expected", DISCOVERY, text("<html>log in</html>")),
        ("not followed", DISCOVERY, redirect.clone()),
        ("not followed", KEYS, redirect),
        ("404", KEYS, Page { status: 404, headers: String::new(), body: Vec::new() }),
        ("at most 1048576", KEYS, Page { status: 200, headers: String::new(), body: huge }),
        ("101 keys", KEYS, keys(101)),
        ("compressed", KEYS, Page { headers: "content-encoding: gzip\r\n".to_owned(), ..keys(1) }),
        ("no list", KEYS, Page::json(&json!({"keys": {}}))),
        ("no RSA", KEYS, Page::json(&json!({"keys": []}))),
        ("no RSA", KEYS, Page::json(&json!({"keys": [{"kty": "oct", "kid": "k1", "k": "AAAA"}]}))),
    ] {
        let bench = Bench::start().await;
        bench.set(path, page);
        let refusal = bench.identify(&good().sign(first_key())).await.unwrap_err();
        assert_eq!(refusal.code, "ProviderUnavailable", "{what}: {refusal:?}");
        assert!(refusal.message.contains(what), "{what}: {refusal:?}");
    }
}

#[tokio::test]
async fn keys_for_other_uses_are_left_out() {
    let bench = Bench::start().await;
    let with = |name: &str, value: serde_json::Value| {
        let mut key = first_key().jwk("k1");
        key[name] = value;
        Page::json(&json!({"keys": [key, second_key().jwk("k2")]}))
    };
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!(1)),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("HS256")),
        ("kty", json!("oct")),
        ("n", json!("***")),
        ("kid", json!(1)),
    ] {
        bench.set(KEYS, with(name, value.clone()));
        bench.clock.advance(DEFAULT_AGE);
        assert_eq!(bench.refused(&long().sign(first_key())).await, "KeyUnknown", "{name}: {value}");
    }
    // A key for one algorithm is for no other.
    bench.set(KEYS, with("alg", json!("RS512")));
    bench.clock.advance(DEFAULT_AGE);
    assert_eq!(bench.refused(&long().sign(first_key())).await, "SignatureInvalid");
    bench.set(KEYS, with("alg", json!("RS256")));
    bench.clock.advance(DEFAULT_AGE);
    bench.identify(&long().sign(first_key())).await.unwrap();
}

#[tokio::test]
async fn keys_can_be_at_a_url_or_in_the_policy() {
    let at_url =
        Bench::with(|provider| provider.keys = Keys::JwksUri("https://login.example/t1/keys".to_owned())).await;
    at_url.set(DISCOVERY, Page { status: 500, headers: String::new(), body: Vec::new() });
    at_url.identify(&good().sign(first_key())).await.unwrap();

    let inline = json!({"keys": [first_key().jwk("k1")]}).to_string();
    let inline = Bench::with(|provider| provider.keys = Keys::Inline(inline)).await;
    inline.set_down(true);
    inline.clock.advance(Duration::from_secs(3000));
    inline.identify(&good().sign(first_key())).await.unwrap();
    assert_eq!(inline.refused(&second().sign(second_key())).await, "KeyUnknown");
}

#[tokio::test]
async fn keys_survive_a_change_of_policy() {
    let bench = Bench::start().await;
    bench.identify(&good().sign(first_key())).await.unwrap();
    bench.set_down(true);
    let mut provider = bench.provider.clone();
    provider.tenants = vec!["t9".to_owned()];
    let after = bench.authenticator.updated(std::slice::from_ref(&provider)).unwrap();
    let refusal = identify(&after, &good().sign(first_key())).await.unwrap_err();
    assert_eq!(refusal.code, "TenantMismatch");
    // Keys are bound to where they came from.
    provider.ca_bundle = None;
    let elsewhere = bench.authenticator.updated(&[provider]).unwrap();
    let refusal = identify(&elsewhere, &good().sign(first_key())).await.unwrap_err();
    assert_eq!(refusal.code, "ProviderUnavailable");
}

#[tokio::test]
async fn keys_are_fetched_ahead_when_asked_to() {
    let bench = Bench::start().await;
    bench.authenticator.warm();
    bench.identify(&good().sign(first_key())).await.unwrap();
    assert_eq!(bench.key_fetches(), 1);
    bench.authenticator.warm();
    bench.identify(&good().sign(first_key())).await.unwrap();
    assert_eq!(bench.key_fetches(), 1);
}

#[tokio::test]
async fn a_provider_that_can_never_vouch_is_named() {
    let bench = Bench::start().await;
    type Case = (&'static str, fn(&mut Provider));
    let cases: [Case; 6] = [
        ("spec.algorithms: \"HS256\"", |provider| provider.algorithms.push("HS256".to_owned())),
        ("spec.algorithms: \"none\"", |provider| provider.algorithms = vec!["none".to_owned()]),
        ("spec.issuers: \"http://login.example\"", |provider| {
            provider.issuers = vec!["http://login.example".to_owned()]
        }),
        ("spec.jwksUri: \"ftp://x/\"", |provider| provider.keys = Keys::JwksUri("ftp://x/".to_owned())),
        ("spec.jwks: ", |provider| provider.keys = Keys::Inline("{}".to_owned())),
        ("spec.caBundleRef.file: ", |provider| provider.ca_bundle = Some("/nonexistent/ca.pem".into())),
    ];
    for (what, change) in cases {
        let mut provider = bench.provider.clone();
        change(&mut provider);
        let error = bench.authenticator.updated(&[provider]).expect_err(what).to_string();
        assert!(error.contains(what) && error.contains("IdentityProvider entra"), "{error}");
    }
    let clock = Arc::new(ManualClock::at(bench.clock.now()));
    assert!(Authenticator::new(&[], bench.dialer(), clock).is_ok());
}
