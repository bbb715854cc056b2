//! An OIDC provider in this process: real TLS, real keys, and every way to
//! misbehave.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sluice_core::{ManualClock, Secret, Subject};
use sluice_policy::{Claims, Keys, Provider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::dial::{Dialer, Map, Place, Resolver};
use crate::identity::fetch::Fetcher;
use crate::identity::{Authenticator, Refusal};

pub(super) const ISSUER: &str = "https://login.example/t1/v2.0";
pub(super) const AUDIENCE: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";
/// 2026-12-01T04:00:00Z.
pub(super) const NOW: i64 = 1_796_097_600;

/// A key pair that signs tokens.
pub(super) enum Key {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    pub(super) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap())
    }

    pub(super) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(super) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// The public half as a provider publishes it.
    pub(super) fn jwk(&self, id: &str) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(key) => {
                let (modulus, exponent) = rsa_numbers(key.public_key().as_ref());
                json!({"kty": "RSA", "kid": id, "use": "sig", "n": b64(&modulus), "e": b64(&exponent)})
            }
            Self::P256(key) => {
                // 04, x, y: SEC 1 2.3.3.
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": b64(&point[1..33]), "y": b64(&point[33..])})
            }
            Self::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": b64(key.public_key().as_ref())})
            }
        }
    }

    pub(super) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |key: &RsaKeyPair, encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(encoding, &random, message, &mut signature).unwrap();
            signature
        };
        match (self, algorithm) {
            (Self::Rsa(key), "RS512") => rsa(key, &RSA_PKCS1_SHA512),
            (Self::Rsa(key), "PS256") => rsa(key, &RSA_PSS_SHA256),
            (Self::Rsa(key), _) => rsa(key, &RSA_PKCS1_SHA256),
            (Self::P256(key), _) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            (Self::Ed25519(key), _) => key.sign(message).as_ref().to_vec(),
        }
    }
}

/// Modulus and exponent of `RSAPublicKey` (RFC 8017 A.1.1).
fn rsa_numbers(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (header, length) = match der[1] {
            0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
            0x81 => (3, usize::from(der[2])),
            short => (2, usize::from(short)),
        };
        der[header..].split_at(length)
    }
    let (inside, _) = element(der);
    let (modulus, rest) = element(inside);
    let (exponent, _) = element(rest);
    let unsigned = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect();
    (unsigned(modulus), unsigned(exponent))
}

/// The key of most tests; making one takes a while.
pub(super) fn first_key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(Key::rsa)
}

/// Another one, that the provider does not publish unless told to.
pub(super) fn second_key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(Key::rsa)
}

/// Header and claims, to be changed and signed.
pub(super) struct Draft {
    pub(super) header: Value,
    pub(super) claims: Value,
}

/// A v2 token as Entra issues them, valid now.
pub(super) fn good() -> Draft {
    Draft {
        header: json!({"typ": "JWT", "alg": "RS256", "kid": "k1", "x5t": "k1"}),
        claims: json!({
            "iss": ISSUER, "aud": AUDIENCE, "tid": "t1", "oid": "11111111-2222", "sub": "pairwise",
            "upn": "dev@example.org", "groups": ["developers", "readers"], "roles": ["operator"],
            "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 3600, "uti": "u-1", "ver": "2.0",
        }),
    }
}

impl Draft {
    pub(super) fn header(mut self, name: &str, value: Value) -> Self {
        set(&mut self.header, name, value);
        self
    }

    pub(super) fn claim(mut self, name: &str, value: Value) -> Self {
        set(&mut self.claims, name, value);
        self
    }

    pub(super) fn sign(&self, key: &Key) -> String {
        sign_texts(&self.header.to_string(), &self.claims.to_string(), key, self.header["alg"].as_str().unwrap_or(""))
    }
}

/// Signs header and claims as they are written.
pub(super) fn sign_texts(header: &str, claims: &str, key: &Key, algorithm: &str) -> String {
    let message = unsigned(header, claims);
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(key.sign(algorithm, message.as_bytes())))
}

pub(super) fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// `null` takes the member out.
fn set(object: &mut Value, name: &str, value: Value) {
    let object = object.as_object_mut().unwrap();
    if value.is_null() {
        object.remove(name);
    } else {
        object.insert(name.to_owned(), value);
    }
}

/// What the provider's server says at a path.
#[derive(Clone)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
}

impl Page {
    pub(super) fn json(value: &Value) -> Self {
        Self {
            status: 200,
            headers: "content-type: application/json\r\n".to_owned(),
            body: value.to_string().into_bytes(),
        }
    }
}

/// The provider's server, and a gateway's authenticator that trusts it.
pub(super) struct Bench {
    pub(super) clock: Arc<ManualClock>,
    pub(super) authenticator: Authenticator,
    pub(super) provider: Provider,
    pages: Arc<Mutex<HashMap<String, Page>>>,
    /// Answered requests for the key set.
    key_fetches: Arc<AtomicU32>,
    down: Arc<Mutex<bool>>,
    /// Holds the CA's file.
    _folder: tempfile::TempDir,
    dialer: Dialer,
}

pub(super) const DISCOVERY: &str = "/t1/v2.0/.well-known/openid-configuration";
pub(super) const KEYS: &str = "/t1/keys";

impl Bench {
    /// A provider that publishes the first key as `k1`.
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, with another policy.
    pub(super) async fn with(change: impl FnOnce(&mut Provider)) -> Self {
        let pages: Arc<Mutex<HashMap<String, Page>>> = Arc::default();
        let key_fetches: Arc<AtomicU32> = Arc::default();
        let down: Arc<Mutex<bool>> = Arc::default();
        let (acceptor, ca_pem) = tls("login.example");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let map: Map = format!("login.example:443={}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(serve(listener, acceptor, pages.clone(), key_fetches.clone(), down.clone()));

        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("ca.pem");
        std::fs::write(&bundle, ca_pem).unwrap();
        let mut provider = provider(bundle);
        change(&mut provider);
        let clock = Arc::new(ManualClock::at(jiff::Timestamp::from_second(NOW).unwrap()));
        let dialer = Dialer::new(vec![map], Resolver::servers(&[]), Place::Local);
        // No test is about how fast this machine is.
        let fetcher = Fetcher::new(dialer.clone()).waiting(Duration::from_secs(60));
        let authenticator =
            Authenticator::with(HashMap::new(), std::slice::from_ref(&provider), fetcher, clock.clone());
        let bench = Self { clock, authenticator, provider, pages, key_fetches, down, _folder: folder, dialer };
        bench.set(DISCOVERY, Page::json(&json!({"issuer": ISSUER, "jwks_uri": "https://login.example/t1/keys"})));
        bench.publish(&[("k1", first_key())]);
        bench
    }

    pub(super) fn set(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    pub(super) fn publish(&self, keys: &[(&str, &Key)]) {
        let keys: Vec<Value> = keys.iter().map(|(id, key)| key.jwk(id)).collect();
        self.set(KEYS, Page::json(&json!({"keys": keys})));
    }

    /// Connections are closed before TLS.
    pub(super) fn set_down(&self, down: bool) {
        *self.down.lock().unwrap() = down;
    }

    pub(super) fn key_fetches(&self) -> u32 {
        self.key_fetches.load(Ordering::SeqCst)
    }

    pub(super) fn dialer(&self) -> Dialer {
        self.dialer.clone()
    }

    pub(super) async fn identify(&self, token: &str) -> Result<Subject, Refusal> {
        identify(&self.authenticator, token).await
    }

    /// The code of the refusal, after a look at its words.
    pub(super) async fn refused(&self, token: &str) -> &'static str {
        match self.identify(token).await {
            Ok(subject) => panic!("believed: {subject:?}"),
            Err(refusal) => {
                assert!(super::CODES.contains(&refusal.code), "{refusal:?}");
                assert!(!refusal.message.is_empty() && !refusal.fix.is_empty(), "{refusal:?}");
                // No part of the token as it was sent.
                let parts = token.split('.').filter(|part| part.len() > 40);
                for part in parts {
                    let start: String = part.chars().take(24).collect();
                    assert!(!format!("{refusal:?}").contains(&start), "{refusal:?}");
                }
                refusal.code
            }
        }
    }
}

pub(super) async fn identify(authenticator: &Authenticator, token: &str) -> Result<Subject, Refusal> {
    let token = Secret::new(token.to_owned());
    let (audiences, providers) = ([AUDIENCE.to_owned()], ["entra".to_owned()]);
    let asked = authenticator.identify(&token, &audiences, &providers);
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("within a minute")
}

pub(super) fn provider(bundle: PathBuf) -> Provider {
    Provider {
        name: "entra".to_owned(),
        issuers: vec![ISSUER.to_owned()],
        keys: Keys::Discovery,
        ca_bundle: Some(bundle),
        tenants: vec!["t1".to_owned()],
        algorithms: vec!["RS256".to_owned()],
        claims: Claims {
            subject: "oid".to_owned(),
            groups: "groups".to_owned(),
            roles: "roles".to_owned(),
            kubernetes_user: Some("upn".to_owned()),
        },
    }
}

fn tls(name: &str) -> (TlsAcceptor, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca_pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(crate::trust::crypto())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), ca_pem)
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pages: Arc<Mutex<HashMap<String, Page>>>,
    key_fetches: Arc<AtomicU32>,
    down: Arc<Mutex<bool>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        if *down.lock().unwrap() {
            continue;
        }
        let (acceptor, pages, key_fetches) = (acceptor.clone(), pages.clone(), key_fetches.clone());
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap_or_default();
            if path == KEYS {
                key_fetches.fetch_add(1, Ordering::SeqCst);
            }
            let missing = Page { status: 404, headers: String::new(), body: Vec::new() };
            let page = pages.lock().unwrap().get(path).cloned().unwrap_or(missing);
            let answer = format!(
                "HTTP/1.1 {} X\r\n{}content-length: {}\r\nconnection: close\r\n\r\n",
                page.status,
                page.headers,
                page.body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.write_all(&page.body).await;
            let _ = stream.shutdown().await;
        });
    }
}
