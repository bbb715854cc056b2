//! The two settings in which tests play.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sluice_testkit::tokens::{Signer, now};
use sluice_testkit::{
    Answer, Builder, Client, Cluster, Gateway, Protocol, Raw, Request, Response, Seat, Seen, Upstream, pki,
};

/// A rule that lets developers do everything.
pub(crate) const EVERYTHING: &str = r#"
  - name: everything
    subjects: {groups: ["entra:developers"]}
    targets: [aks]
    kubernetes: {verbs: ["*"], resources: ["*"], namespaces: ["*"]}
    action: Allow
"#;

/// A gateway before the real API server, with tokens of the real provider.
pub(crate) struct Real {
    pub(crate) cluster: &'static Cluster,
    pub(crate) gateway: Gateway,
    pub(crate) token: String,
    pub(crate) target: String,
}

/// A gateway before a server of ours, with tokens of our own key.
pub(crate) struct Fake {
    pub(crate) upstream: Upstream,
    pub(crate) gateway: Gateway,
    pub(crate) signer: Signer,
    pub(crate) token: String,
}

/// Host of the server of ours.
pub(crate) const HOST: &str = "api.sluice.test";
/// Target of the server of ours.
pub(crate) const TARGET: &str = "api.sluice.test:443";
/// Audience of AKS, the default of a target.
pub(crate) const AUDIENCE: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";
/// Tenant of our own tokens.
pub(crate) const TENANT: &str = "2f1a7c52-6a55-4a1e-8a2e-0f9d1c3b5e77";
/// Issuer of our own tokens; nothing answers there.
pub(crate) const ISSUER: &str = "https://issuer.sluice.test/v2.0";

impl Real {
    /// Starts a gateway with these rules.
    pub(crate) fn start(seat: Seat, rules: &str) -> Result<Self> {
        Self::over(real(seat, rules, "")?)
    }

    /// Starts a gateway that was prepared by [`real`].
    pub(crate) fn over(builder: Builder) -> Result<Self> {
        let cluster = Cluster::get()?;
        let target = format!("{}:443", cluster.host()?);
        Ok(Self { cluster, gateway: builder.start()?, token: cluster.developer()?, target })
    }

    /// A client through the gateway.
    pub(crate) fn client(&self, protocol: Protocol) -> Result<Client> {
        self.gateway.client(protocol, &self.target)
    }

    /// Asks as a developer, on a connection of its own.
    pub(crate) fn ask(&self, request: Request) -> Result<Response> {
        self.ask_as(&self.token, request)
    }

    /// Asks with that token.
    pub(crate) fn ask_as(&self, token: &str, request: Request) -> Result<Response> {
        self.gateway.ask(&self.target, &request.bearer(token))
    }

    /// A raw HTTP/1.1 connection through the gateway.
    pub(crate) fn raw(&self) -> Result<Raw> {
        self.gateway.raw(&self.target)
    }
}

/// A gateway before the real API server, not yet started. `more` is further
/// YAML of the policy's `spec`.
pub(crate) fn real(seat: Seat, rules: &str, more: &str) -> Result<Builder> {
    let cluster = Cluster::get()?;
    let (provider, provider_address) = cluster.provider(seat)?;
    Ok(Builder::new(seat)?
        .policy("policy.yaml", &real_policy(rules, more)?)?
        .policy("provider.yaml", &real_provider()?)?
        .arguments(["--namespace", "agents"])
        .target(&format!("{}:443", cluster.host()?), cluster.address(seat)?)
        .map(&provider, provider_address))
}

/// The policy document for the real API server.
pub(crate) fn real_policy(rules: &str, more: &str) -> Result<String> {
    let cluster = Cluster::get()?;
    Ok(policy(cluster.host()?, &cluster.ca_file()?, rules, more))
}

/// The provider document for the real provider.
pub(crate) fn real_provider() -> Result<String> {
    let cluster = Cluster::get()?;
    let (v1, v2) = (cluster.variable("ISSUER_V1")?, cluster.variable("ISSUER_V2")?);
    Ok(provider(
        &[v1, v2],
        cluster.variable("TENANT_ID")?,
        &format!("caBundleRef: {{file: {}}}", cluster.variable("PROVIDER_CA")?),
    ))
}

impl Fake {
    /// Starts a server that answers with `handler`, and a gateway before it
    /// that lets developers do everything.
    pub(crate) fn start(seat: Seat, handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Result<Self> {
        let (builder, upstream, signer) = fake(seat, &["h2", "http/1.1"], EVERYTHING, "", handler)?;
        Self::over(builder, upstream, signer)
    }

    /// The same, with a server that speaks only HTTP/1.1.
    pub(crate) fn http1(seat: Seat, handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Result<Self> {
        let (builder, upstream, signer) = fake(seat, &["http/1.1"], EVERYTHING, "", handler)?;
        Self::over(builder, upstream, signer)
    }

    /// Starts a gateway that was prepared by [`fake`].
    pub(crate) fn over(builder: Builder, upstream: Upstream, signer: Signer) -> Result<Self> {
        let gateway = builder.start()?;
        let token = signer.token(&claims())?;
        Ok(Self { upstream, gateway, signer, token })
    }

    /// Asks as a developer, on a connection of its own.
    pub(crate) fn ask(&self, request: Request) -> Result<Response> {
        self.gateway.ask(TARGET, &request.bearer(&self.token))
    }

    /// A raw HTTP/1.1 connection through the gateway.
    pub(crate) fn raw(&self) -> Result<Raw> {
        self.gateway.raw(TARGET)
    }

    /// Paths that reached the server.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.upstream.seen().into_iter().map(|seen| seen.path).collect()
    }
}

/// A server of ours and a gateway before it, not yet started.
pub(crate) fn fake(
    seat: Seat,
    alpn: &[&str],
    rules: &str,
    more: &str,
    handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> Result<(Builder, Upstream, Signer)> {
    let signer = Signer::new("key-1")?;
    let jwks = format!("jwks: {}", json!({"keys": [signer.jwk()?]}));
    let (builder, upstream) = before(seat, alpn, &provider(&[ISSUER], TENANT, &jwks), rules, more, handler)?;
    Ok((builder, upstream, signer))
}

/// The same with any identity provider.
pub(crate) fn before(
    seat: Seat,
    alpn: &[&str],
    provider: &str,
    rules: &str,
    more: &str,
    handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> Result<(Builder, Upstream)> {
    let authority = pki::Authority::new("the test's own")?;
    let upstream = Upstream::start(&seat.any_port(), authority.server(&[HOST], &[], alpn)?, handler)?;
    let builder = Builder::new(seat)?;
    let ca: PathBuf = builder.folder().join("upstream-ca.pem");
    fs::write(&ca, authority.pem())?;
    let builder = builder
        .policy("policy.yaml", &policy(HOST, &ca, rules, more))?
        .policy("provider.yaml", provider)?
        .arguments(["--namespace", "agents"])
        .target(TARGET, upstream.address());
    Ok((builder, upstream))
}

/// A policy document.
pub(crate) fn policy(host: &str, ca: &std::path::Path, rules: &str, more: &str) -> String {
    format!(
        r#"apiVersion: sluice.dev/v1alpha1
kind: GatewayPolicy
metadata: {{name: e2e, namespace: agents}}
spec:
  identity: {{providers: [entra]}}
  targets:
  - name: aks
    kubernetes: {{server: {host}}}
    caBundleRef: {{file: {}}}
  rules: {rules}
{more}
"#,
        ca.display()
    )
}

/// A provider document.
pub(crate) fn provider(issuers: &[&str], tenant: &str, keys: &str) -> String {
    let issuers = json!(issuers);
    format!(
        r#"apiVersion: sluice.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: entra}}
spec:
  issuers: {issuers}
  tenants: [{tenant}]
  claims: {{subject: oid, groups: groups, roles: roles, kubernetesUser: upn}}
  {keys}
"#
    )
}

/// Claims of an honest developer for our own tokens.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "tid": TENANT, "oid": "00000000-0000-4000-8000-000000000001",
        "sub": "subject", "upn": "dev@example.com", "groups": ["developers"], "uti": "token-1", "ver": "2.0",
        "iat": now() - 10, "nbf": now() - 10, "exp": now() + 3600,
    })
}

/// `claims` with one of them changed; null takes it out.
pub(crate) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().map(|claims| claims.remove(name));
    } else {
        claims[name] = value;
    }
    claims
}

/// An answer that a client of the API takes for an object.
pub(crate) fn config_map(seen: &Seen) -> Answer {
    let status = if seen.method == "POST" { 201 } else { 200 };
    Answer::json(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}})).status(status)
}

/// The API server's own record of requests that mention `word`.
pub(crate) fn reached_the_api_server(cluster: &Cluster, word: &str) -> Result<bool> {
    let path = cluster.variable("CLUSTER_AUDIT_LOG")?;
    let log = fs::read(path).with_context(|| format!("read {path}"))?;
    Ok(String::from_utf8_lossy(&log).contains(word))
}

/// Whether an answer is the gateway's `Status` with that code, and every word
/// is in its message.
pub(crate) fn assert_denied(response: &Response, code: u16, words: &[&str]) -> Result<()> {
    let status = response.json()?;
    assert_eq!(response.status, code, "{status:#}");
    assert_eq!(status["kind"], "Status", "{status:#}");
    assert_eq!(status["code"], code, "{status:#}");
    let message = status["message"].as_str().context("a Status without message")?;
    for word in words {
        assert!(message.contains(word), "the message does not say {word:?}: {message}");
    }
    Ok(())
}
