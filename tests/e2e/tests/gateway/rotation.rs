//! Keys that come and go, and a provider that is down.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_testkit::tokens::Signer;
use sluice_testkit::{Builder, Gateway, Provider, Request, Response, Seat, Upstream, eventually};

use crate::world::{self, EVERYTHING, TARGET, assert_denied, config_map};

seats!(
    a_new_key_is_followed_and_a_withdrawn_one_forgotten,
    a_provider_that_is_down,
    a_burst_of_unknown_keys_is_one_question,
    an_issuer_url_that_is_wrong
);

struct Setting {
    provider: Provider,
    gateway: Gateway,
    _upstream: Upstream,
}

impl Setting {
    fn start(seat: Seat) -> Result<Self> {
        let provider = Provider::start(seat)?;
        let (builder, upstream) = prepared(seat, &provider, &[])?;
        Ok(Self { provider, gateway: builder.start()?, _upstream: upstream })
    }

    fn ask(&self, token: &str) -> Result<Response> {
        self.gateway.ask(TARGET, &Request::get("/api/v1/namespaces/dev/pods").bearer(token))
    }

    /// Until the gateway has asked the provider again: it does so at most
    /// every few seconds.
    fn accepted(&self, token: &str) -> Result<()> {
        eventually("a token to be believed", || self.ask(token)?.expect(200).map(drop))
    }
}

/// `issuers`: other ones than the provider's own.
fn prepared(seat: Seat, provider: &Provider, issuers: &[&str]) -> Result<(Builder, Upstream)> {
    let ca = std::fs::read(provider.field("ca")?)?;
    let own = [provider.field("issuer_v1")?, provider.field("issuer_v2")?];
    let issuers = if issuers.is_empty() { &own[..] } else { issuers };
    // The provider's folder is its own; the gateway's user must be able to read the roots.
    let keys = "caBundleRef: {file: provider-ca.pem}";
    let document = world::provider(issuers, provider.field("tenant")?, keys);
    let (builder, upstream) = world::before(seat, &["http/1.1"], &document, EVERYTHING, "", config_map)?;
    std::fs::write(builder.folder().join("provider-ca.pem"), ca)?;
    Ok((builder, upstream))
}

fn person() -> Value {
    json!({"upn": "dev@example.com", "groups": ["developers"]})
}

fn with_key(kid: &str) -> Value {
    json!({"upn": "dev@example.com", "groups": ["developers"], "kid": kid})
}

fn a_new_key_is_followed_and_a_withdrawn_one_forgotten(seat: Seat) -> Result<()> {
    let setting = Setting::start(seat)?;
    let first = setting.provider.state()?["signs_with"].as_str().context("no signs_with")?.to_owned();
    let old = setting.provider.token(&person())?;
    setting.accepted(&old)?;
    setting.provider.add_key()?;
    setting.accepted(&setting.provider.token(&person())?)?;
    assert_eq!(setting.ask(&old)?.status, 200, "the old key is still published");
    setting.provider.withdraw_key(&first)?;
    // Another new key makes the gateway look again, and so the old one is gone.
    setting.provider.add_key()?;
    setting.accepted(&setting.provider.token(&person())?)?;
    assert_denied(&setting.ask(&old)?, 401, &["kid"])?;
    assert_denied(&setting.ask(&setting.provider.token(&with_key(&first))?)?, 401, &["kid"])?;
    Ok(())
}

fn a_provider_that_is_down(seat: Seat) -> Result<()> {
    for mode in ["error", "close", "garbage"] {
        let setting = Setting::start(seat)?;
        let known = setting.provider.token(&person())?;
        setting.accepted(&known)?;
        setting.provider.add_key()?;
        let unknown = setting.provider.token(&person())?;
        setting.provider.mode(mode)?;
        let refused = setting.ask(&unknown)?;
        ensure!(matches!(refused.status, 401 | 503), "{mode}: {} {}", refused.status, refused.text());
        assert_eq!(setting.ask(&known)?.status, 200, "{mode}: a key that is known serves on");
        setting.provider.mode("up")?;
        setting.accepted(&unknown)?;
    }
    // A gateway that never saw a key believes nobody, and says why.
    let provider = Provider::start(seat)?;
    provider.mode("error")?;
    let (builder, upstream) = prepared(seat, &provider, &[])?;
    let setting = Setting { provider, gateway: builder.start()?, _upstream: upstream };
    let token = setting.provider.token(&person())?;
    let response = setting.ask(&token)?;
    let issuer = setting.provider.field("url")?;
    ensure!(matches!(response.status, 401 | 503), "{} {}", response.status, response.text());
    ensure!(response.text().contains(issuer), "the answer does not name the issuer: {}", response.text());
    setting.provider.mode("up")?;
    setting.accepted(&token)
}

fn a_burst_of_unknown_keys_is_one_question(seat: Seat) -> Result<()> {
    let setting = Setting::start(seat)?;
    setting.accepted(&setting.provider.token(&person())?)?;
    let before = asked(&setting.provider)?;
    let start = Instant::now();
    for index in 0..60 {
        let stranger = Signer::new(&format!("stranger-{}", index % 4))?;
        let issuer = setting.provider.field("issuer_v2")?;
        let mut claims = world::claims_with("iss", json!(issuer));
        claims["tid"] = json!(setting.provider.field("tenant")?);
        assert_eq!(setting.ask(&stranger.token(&claims)?)?.status, 401);
    }
    // One question at once, and at most one more every five seconds.
    let allowed = 2 + start.elapsed().as_secs() / 5;
    let questions = asked(&setting.provider)? - before;
    ensure!(questions <= allowed, "{questions} questions for a burst, where {allowed} are allowed");
    Ok(())
}

fn asked(provider: &Provider) -> Result<u64> {
    provider.state()?["counts"]["jwks"].as_u64().context("the provider counts no jwks")
}

/// As a new user would: the tenant misspelt in the issuer's URL.
fn an_issuer_url_that_is_wrong(seat: Seat) -> Result<()> {
    let provider = Provider::start(seat)?;
    let wrong = format!("{}/no-such-tenant/v2.0", provider.field("url")?);
    let (builder, upstream) = prepared(seat, &provider, &[&wrong])?;
    let setting = Setting { provider, gateway: builder.start()?, _upstream: upstream };
    let response = setting.ask(&setting.provider.token(&person())?)?;
    // The token's own issuer is not in the list: both are named.
    assert_denied(&response, 401, &["iss", setting.provider.field("issuer_v2")?, &wrong])
}
