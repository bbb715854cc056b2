//! A gateway in this process, a server behind it, a client in front: each test
//! has its own, on ports of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::json;
use sluice_core::Workload;
use sluice_gateway::{Gateway, GatewayOptions, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(crate) const HOST: &str = "api.example";
/// Another name of the server.
pub(crate) const IN_CLUSTER: &str = "kubernetes.default.svc";
/// Far more than anything takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What the server behind the gateway saw of a request.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// The server behind the gateway.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    /// Lines of `watch` responses; each watch gets them from the start.
    lines: Arc<watch::Sender<Vec<Bytes>>>,
    /// How many connections were accepted.
    connections: Arc<watch::Sender<usize>>,
    /// Ends every connection when it changes.
    hangups: Arc<watch::Sender<usize>>,
}

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) token: String,
}

pub(crate) type Client = TlsStream<TcpStream>;

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|policy| policy).await
    }

    /// With a policy that was changed by `edit`.
    pub(crate) async fn with(edit: impl FnOnce(String) -> String) -> Self {
        Self::over(&[b"h2", b"http/1.1"], edit).await
    }

    /// With a server that speaks `alpn`.
    pub(crate) async fn over(alpn: &[&[u8]], edit: impl FnOnce(String) -> String) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let (server, port) = Server::start(folder.path(), alpn).await;
        let (jwks, token) = provider();
        let policy = edit(policy(&folder.path().join("upstream-ca.pem"), &jwks));
        std::fs::write(folder.path().join("policy.yaml"), policy).expect("policy");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listener");
        let address = listener.local_addr().expect("address");
        let options = GatewayOptions {
            policy: vec![folder.path().join("policy.yaml")],
            trail: folder.path().join("trail"),
            workload: Workload { namespace: "agents".into(), pod: "test".into(), ..Workload::default() },
            intent: None,
            listeners: vec![Listener::Explicit { listener, host: HOST.into(), port: 443 }],
            dns: None,
            maps: vec![format!("{HOST}=127.0.0.1:{port}").parse().expect("map")],
            token_file: None,
            ca_out: Some(folder.path().join("ca.pem")),
            key_out: Some(folder.path().join("key.pem")),
            admin: None,
            pod: None,
        };
        let gateway = Gateway::start(options).await.expect("gateway");
        Self { gateway, server, address, folder, token }
    }

    /// A TLS connection to the gateway.
    pub(crate) async fn connect(&self, alpn: &[&[u8]]) -> Client {
        let pem = std::fs::read(self.folder.path().join("ca.pem")).expect("bundle");
        let mut roots = rustls::RootCertStore::empty();
        for certificate in rustls_pemfile_certs(&pem) {
            let _ = roots.add(certificate);
        }
        tls(self.address, HOST, roots, alpn).await
    }

    /// Sends one HTTP/1.1 request, as it is, and reads until the end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut client = self.connect(&[b"http/1.1"]).await;
        client.write_all(bytes).await.expect("write");
        read_to_end(&mut client).await
    }

    /// An HTTP/2 connection to the gateway.
    pub(crate) async fn h2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let io = TokioIo::new(self.connect(&[b"h2"]).await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("handshake");
        tokio::spawn(connection);
        sender
    }

    /// An HTTP/2 request with the token.
    pub(crate) fn h2_request(&self, method: &str, path: &str) -> hyper::Request<Full<Bytes>> {
        hyper::Request::builder()
            .method(method)
            .uri(format!("https://{HOST}{path}"))
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::default())
            .expect("request")
    }

    /// One request with the token, on a connection that ends with it.
    pub(crate) async fn ask(&self, method: &str, path: &str, more: &str) -> String {
        self.raw(self.request(method, path, &format!("Connection: close\r\n{more}")).as_bytes()).await
    }

    /// A request with the token; `more` holds header lines and ends the head
    /// itself if a body follows.
    pub(crate) fn request(&self, method: &str, path: &str, more: &str) -> String {
        let end = if more.contains("\r\n\r\n") { "" } else { "\r\n" };
        format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {}\r\n{more}{end}", self.token)
    }

    /// Ends the gateway and gives the leaves of its trail.
    pub(crate) async fn leaves(self) -> Vec<serde_json::Value> {
        self.gateway.shutdown().await.expect("shutdown");
        leaves(&self.folder.path().join("trail"))
    }
}

/// Every leaf of a trail, in order.
pub(crate) fn leaves(trail: &Path) -> Vec<serde_json::Value> {
    let mut leaves = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(trail).expect("trail").map(|file| file.expect("file").path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "seg")) {
        let bytes = std::fs::read(file).expect("segment");
        let mut rest = bytes.as_slice();
        while let Some(at) = rest.windows(6).position(|window| window == b"{\"at\":") {
            rest = &rest[at..];
            let mut stream = serde_json::Deserializer::from_slice(rest).into_iter::<serde_json::Value>();
            match stream.next() {
                Some(Ok(leaf)) => leaves.push(leaf),
                _ => break,
            }
            let read = stream.byte_offset();
            rest = &rest[read..];
        }
    }
    leaves
}

/// The leaves of a kind.
pub(crate) fn of_kind<'a>(leaves: &'a [serde_json::Value], kind: &str) -> Vec<&'a serde_json::Value> {
    leaves.iter().filter(|leaf| leaf["kind"] == kind).collect()
}

pub(crate) async fn read_to_end(client: &mut Client) -> String {
    let mut text = Vec::new();
    // A peer that resets after its answer has still answered.
    let _ = tokio::time::timeout(LONG, client.read_to_end(&mut text)).await.expect("an end");
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads until `needle` was seen.
pub(crate) async fn read_until(client: &mut Client, needle: &str) -> String {
    let mut text = Vec::new();
    let mut space = [0; 4096];
    while !String::from_utf8_lossy(&text).contains(needle) {
        let count = tokio::time::timeout(LONG, client.read(&mut space)).await.expect("bytes in time").expect("bytes");
        assert!(count > 0, "ended before {needle:?}: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&space[..count]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A TLS connection to `name`, by the roots of a PEM text.
pub(crate) async fn connect_to(address: SocketAddr, name: &str, roots: &[u8]) -> Client {
    let mut store = rustls::RootCertStore::empty();
    for certificate in rustls_pemfile_certs(roots) {
        let _ = store.add(certificate);
    }
    tls(address, name, store, &[b"http/1.1"]).await
}

async fn tls(address: SocketAddr, name: &str, roots: rustls::RootCertStore, alpn: &[&[u8]]) -> Client {
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(address).await.expect("connect");
    let name = ServerName::try_from(name.to_owned()).expect("name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("handshake")
}

fn rustls_pemfile_certs(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

fn policy(ca: &Path, jwks: &str) -> String {
    format!(
        r#"
apiVersion: sluice.dev/v1alpha1
kind: GatewayPolicy
metadata: {{name: test, namespace: agents}}
spec:
  identity: {{providers: [idp]}}
  targets:
  - name: cluster
    kubernetes: {{server: {HOST}}}
    caBundleRef: {{file: {ca}}}
  rules:
  - name: developers
    subjects: {{groups: ["idp:developers"]}}
    targets: [cluster]
    kubernetes: {{verbs: ["*"], resources: ["*"], namespaces: [dev]}}
    action: Allow
---
apiVersion: sluice.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: idp}}
spec:
  issuers: ["https://idp.example/"]
  algorithms: [ES256]
  jwks: {jwks}
  claims: {{subject: oid, groups: groups}}
"#,
        ca = ca.display()
    )
}

/// A key set and a token by its key.
fn provider() -> (String, String) {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("key");
    let point = key.public_key_raw();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwks = json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "one", "alg": "ES256", "use": "sig",
        "x": encode(&point[1..33]), "y": encode(&point[33..65]),
    }]});
    let now = jiff::Timestamp::now().as_second();
    let claims = json!({
        "iss": "https://idp.example/", "aud": "6dae42f8-4368-4678-94ff-3960e28e3630", "oid": "someone",
        "groups": ["developers"], "iat": now, "nbf": now, "exp": now + 3600,
    });
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some("one".into());
    let signer = jsonwebtoken::EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).expect("signer");
    (jwks.to_string(), jsonwebtoken::encode(&header, &claims, &signer).expect("token"))
}

impl Server {
    pub(crate) async fn start(folder: &Path, alpn: &[&[u8]]) -> (Self, u16) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().expect("key");
        let ca = params.self_signed(&ca_key).expect("CA");
        std::fs::write(folder.join("upstream-ca.pem"), ca.pem()).expect("CA file");
        let issuer = Issuer::from_ca_cert_der(ca.der(), ca_key).expect("issuer");
        let key = KeyPair::generate().expect("key");
        let leaf = CertificateParams::new(vec![HOST.to_owned(), IN_CLUSTER.to_owned()])
            .expect("names")
            .signed_by(&key, &issuer)
            .expect("leaf");
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(
                    vec![leaf.der().clone()],
                    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
                )
                .expect("certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
        let port = listener.local_addr().expect("address").port();
        let server = Self {
            seen: Arc::default(),
            lines: Arc::new(watch::channel(Vec::new()).0),
            connections: Arc::new(watch::channel(0).0),
            hangups: Arc::new(watch::channel(0).0),
        };
        tokio::spawn(server.clone().accept(listener, TlsAcceptor::from(Arc::new(config))));
        (server, port)
    }

    /// One more line for every watch.
    pub(crate) fn line(&self, line: &str) {
        self.lines.send_modify(|lines| lines.push(Bytes::from(format!("{line}\n"))));
    }

    /// Ends every connection.
    pub(crate) fn hang_up(&self) {
        self.hangups.send_modify(|count| *count += 1);
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.seen.lock().expect("lock").clone()
    }

    async fn accept(self, listener: TcpListener, tls: TlsAcceptor) {
        while let Ok((stream, _)) = listener.accept().await {
            self.connections.send_modify(|count| *count += 1);
            let (server, tls) = (self.clone(), tls.clone());
            let mut hangups = self.hangups.subscribe();
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let service = service_fn(move |request| server.clone().answer(request));
                let io = TokioIo::new(stream);
                let serve = async {
                    if h2 {
                        drop(
                            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                                .serve_connection(io, service)
                                .await,
                        );
                    } else {
                        drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = hangups.changed() => {}
                }
            });
        }
    }

    async fn answer(
        self,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<BoxBody<Bytes, Infallible>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let path = head.uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
        let line = format!("{} {path}", head.method);
        self.seen.lock().expect("lock").push(Seen { line, headers: head.headers, body: body.clone() });
        let body = match path.as_str() {
            path if path.contains("watch=") => self.watch(),
            path if path.contains("/secrets") => json_body(&json!({
                "kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db"}, "data": {"password": "aHVudGVyMg=="},
            })),
            path if path.contains("/large") => Full::new(Bytes::from(vec![b'x'; 300_000])).boxed(),
            _ => json_body(&json!({"kind": "PodList", "apiVersion": "v1", "items": []})),
        };
        let status = if path.contains("/switches") { 101 } else { 200 };
        let response = hyper::Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .header("audit-id", "abc");
        Ok(response.body(body).expect("response"))
    }

    fn watch(&self) -> BoxBody<Bytes, Infallible> {
        let mut lines = self.lines.subscribe();
        let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
        tokio::spawn(async move {
            let mut sent = 0;
            loop {
                let news: Vec<Bytes> = lines.borrow_and_update().iter().skip(sent).cloned().collect();
                for line in news {
                    sent += 1;
                    if line.as_ref() == b"end\n" || sender.send(line).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    changed = lines.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        let stream = futures_util::stream::poll_fn(move |cx| {
            receiver.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
        });
        BodyExt::boxed(StreamBody::new(stream))
    }
}

fn json_body(value: &serde_json::Value) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(value.to_string())).boxed()
}
