//! A control plane and a collector in one, as a test wants them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use sluice_link::{Clients, Credentials, Endpoint, Resolve, Resolving, identity_of};
use sluice_wire::{EnrolRequest, EnrolResponse, Identity};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(crate) const DOMAIN: &str = "sluice.local";
pub(crate) const POD: &str = "spiffe://sluice.local/ns/agents/sa/coder/pod/6f1c";

pub(crate) fn control() -> Identity {
    Identity::Control { trust_domain: DOMAIN.into() }
}

pub(crate) fn collector() -> Identity {
    Identity::Collector { trust_domain: DOMAIN.into() }
}

/// A workload CA.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).expect("certificate");
        let pem = certificate.pem();
        Self { issuer: Issuer::from_ca_cert_der(certificate.der(), key).expect("issuer"), pem }
    }

    pub(crate) fn sign(&self, key: &impl PublicKeyData, identity: &str, life: Duration) -> (String, Timestamp) {
        let expires = Timestamp::from_second((Timestamp::now() + life).as_second()).expect("time");
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![SanType::URI(identity.try_into().expect("URI"))];
        params.not_before = std::time::SystemTime::from(Timestamp::now() - Duration::from_secs(60)).into();
        params.not_after = std::time::SystemTime::from(expires).into();
        (params.signed_by(key, &self.issuer).expect("signed").pem(), expires)
    }

    /// A key of its own with a certificate.
    pub(crate) fn credentials(&self, identity: &Identity) -> Credentials {
        let key = KeyPair::generate().expect("key");
        let (chain, _) = self.sign(&key, &identity.to_string(), Duration::from_secs(3600));
        Credentials::from_pem(&key.serialize_pem(), &chain, &self.pem).expect("credentials")
    }

    /// Answers an enrolment.
    pub(crate) fn enrol(&self, body: &[u8], identity: &str, life: Duration, roots: &str) -> Answer {
        let request: EnrolRequest = serde_json::from_slice(body).expect("request");
        let csr = CertificateSigningRequestParams::from_pem(&request.csr).expect("CSR");
        let (certificate, expires) = self.sign(&csr.public_key, identity, life);
        json(200, &EnrolResponse { certificate, roots: roots.to_owned(), expires })
    }
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) bearer: Option<String>,
    pub(crate) peer: Option<Identity>,
    pub(crate) body: Bytes,
}

type Reply = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Answer = Response<Reply>;

pub(crate) fn json(status: u16, value: &impl serde::Serialize) -> Answer {
    let body = Full::new(Bytes::from(serde_json::to_vec(value).expect("JSON"))).boxed_unsync();
    Response::builder().status(StatusCode::from_u16(status).expect("status")).body(body).expect("answer")
}

/// An answer whose body is what is sent; it ends with the sender.
pub(crate) fn streamed() -> (mpsc::UnboundedSender<Bytes>, Answer) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let chunks = stream::unfold(receiver, |mut receiver: mpsc::UnboundedReceiver<Bytes>| async move {
        let chunk = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(chunk)), receiver))
    });
    (sender, Response::new(StreamBody::new(chunks).boxed_unsync()))
}

/// A server that runs; it ends, with its connections, when it is dropped.
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

/// What a server says to what it is asked.
type Answering = Box<dyn FnMut(&Asked) -> Answer + Send>;

impl Server {
    pub(crate) async fn start(credentials: Credentials, answer: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let endpoint = format!("https://control.test:{port}").parse().expect("URL");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let answer: Arc<Mutex<Answering>> = Arc::new(Mutex::new(Box::new(answer)));
        let mut tasks = JoinSet::new();
        let seen = asked.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                let tls = TlsAcceptor::from(credentials.server_config(Clients::MayPresent).expect("TLS"));
                let (answer, seen) = (answer.clone(), seen.clone());
                connections.spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let peer = stream.get_ref().1.peer_certificates().and_then(|chain| identity_of(chain.first()?));
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (answer, seen, peer) = (answer.clone(), seen.clone(), peer.clone());
                        async move {
                            let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
                            let header = request.headers().get("authorization").map(|value| value.to_str());
                            let bearer = header.and_then(Result::ok).map(str::to_owned);
                            let body = request.into_body().collect().await.expect("body").to_bytes();
                            let asked = Asked { path, bearer, peer, body };
                            seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
                            let answer = answer.lock().unwrap_or_else(PoisonError::into_inner)(&asked);
                            Ok::<_, Infallible>(answer)
                        }
                    });
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { endpoint, asked, _tasks: tasks }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Gives answers in their order, the last one for ever.
pub(crate) fn in_order(answers: Vec<Box<dyn Fn() -> Answer + Send>>) -> impl FnMut(&Asked) -> Answer + Send {
    let mut answers: VecDeque<_> = answers.into();
    move |_| {
        let first = answers.pop_front().expect("an answer");
        let answer = first();
        if answers.is_empty() {
            answers.push_back(first);
        }
        answer
    }
}

/// Every name is this machine.
#[derive(Debug)]
pub(crate) struct Here;

impl Resolve for Here {
    fn resolve<'a>(&'a self, _host: &'a str) -> Resolving<'a> {
        Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) })
    }
}
