//! What the tests share.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use sluice_audit::ship::{ShipOptions, Shipper, Shipping};
use sluice_audit::{Durability, Kind, Record, Trail, TrailOptions};
use sluice_collector::query::{Access, Asking, Person, Verb};
use sluice_collector::run::{Collector, Parts};
use sluice_collector::store::{Store, StoreOptions};
use sluice_collector::{Metrics, Shutdown};
use sluice_core::{Clock, ManualClock, SystemClock, Workload};
use sluice_link::{Credentials, CredentialsWatch, IngestTransport, Link, Server, SystemNames};
use sluice_wire::{BatchStart, Code, Identity, Refusal, TRUST_DOMAIN};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use uuid::Uuid;

/// Generous: nothing here depends on how fast the machine is.
pub(crate) const WAIT: Duration = Duration::from_secs(120);

/// A workload CA.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        Self::of(KeyPair::generate().unwrap())
    }

    /// The same key is the same authority: the certificate says nothing that
    /// changes.
    fn of(key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(1_u64.into());
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// For another process.
    pub(crate) fn save(&self, folder: &Path) {
        std::fs::write(folder.join("ca.key"), self.0.key().serialize_pem()).unwrap();
    }

    pub(crate) fn load(folder: &Path) -> Self {
        Self::of(KeyPair::from_pem(&std::fs::read_to_string(folder.join("ca.key")).unwrap()).unwrap())
    }

    /// Private key and chain as PEM.
    pub(crate) fn pem(&self, identity: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::URI(identity.try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (key.serialize_pem(), certificate.pem())
    }

    pub(crate) fn roots(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn credentials(&self, identity: &str) -> CredentialsWatch {
        let (key, chain) = self.pem(identity);
        let credentials = Credentials::from_pem(&key, &chain, &self.roots()).unwrap();
        watch::Sender::new(Some(Arc::new(credentials))).subscribe()
    }
}

pub(crate) fn spiffe(namespace: &str, uid: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/coder/pod/{uid}")
}

pub(crate) fn identity(namespace: &str, uid: &str) -> Identity {
    spiffe(namespace, uid).parse().unwrap()
}

pub(crate) fn workload(namespace: &str, uid: &str) -> Workload {
    Workload {
        namespace: namespace.into(),
        pod: format!("pod-{uid}"),
        uid: uid.into(),
        service_account: "coder".into(),
        ..Workload::default()
    }
}

/// Rights: `token` to name; `(name, verb, namespace)`. And who is denied: why.
#[derive(Debug, Default)]
pub(crate) struct Rights(pub(crate) Mutex<Vec<(String, Verb, String)>>, Mutex<Vec<(String, Code)>>);

impl Rights {
    pub(crate) fn give(&self, who: &str, verb: Verb, namespace: &str) {
        self.0.lock().unwrap().push((who.into(), verb, namespace.into()));
    }

    /// From now on the token of `who` is answered with `code`.
    pub(crate) fn deny(&self, who: &str, code: Code) {
        self.1.lock().unwrap().push((who.into(), code));
    }
}

impl Access for Rights {
    fn who<'a>(&'a self, token: &'a str) -> Asking<'a, Person> {
        Box::pin(async move {
            let name = token.strip_prefix("token-of-");
            let denied = self.1.lock().unwrap().iter().find(|(who, _)| Some(who.as_str()) == name).cloned();
            match name {
                Some(_) if denied.is_some() => {
                    Err(Refusal::new(denied.map_or(Code::BadToken, |(_, code)| code), "denied", "fix"))
                }
                Some(name) => Ok(Person {
                    username: name.into(),
                    uid: String::new(),
                    groups: vec!["readers".into()],
                    extra: Default::default(),
                }),
                None => Err(Refusal::new(Code::BadToken, "not believed", "fix")),
            }
        })
    }

    fn may<'a>(&'a self, person: &'a Person, verb: Verb, namespace: &'a str) -> Asking<'a, bool> {
        Box::pin(async move {
            let rights = self.0.lock().unwrap();
            Ok(rights.iter().any(|(who, may, place)| {
                (who, *may) == (&person.username, verb) && (place.is_empty() || place == namespace)
            }))
        })
    }
}

pub(crate) fn options(folder: &Path) -> StoreOptions {
    StoreOptions {
        folder: folder.to_owned(),
        bytes_per_pod: 1 << 30,
        bytes: Some(1 << 32),
        trails: 100,
        patience: Duration::from_secs(90),
        clock: Arc::new(SystemClock::new()),
    }
}

/// A collector in this process.
pub(crate) struct Running {
    pub(crate) ingest: SocketAddr,
    pub(crate) query: SocketAddr,
    pub(crate) store: Arc<Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rights: Arc<Rights>,
    shutdown: watch::Sender<bool>,
    collector: Collector,
}

/// Held while a child is started: until it is another program it holds copies
/// of all locks on files, also of those that a test gave back.
pub(crate) static FORKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The store, whose folder nobody else has.
pub(crate) async fn opened(options: StoreOptions) -> Store {
    let _nobody_forks = FORKING.lock().await;
    Store::open(options).unwrap()
}

pub(crate) const OWN: &str = "c011ec70";

impl Running {
    pub(crate) async fn start(authority: &Authority, options: StoreOptions, ingest: Option<SocketAddr>) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (ingest, query) =
            (TcpListener::bind(ingest.unwrap_or(any)).await.unwrap(), TcpListener::bind(any).await.unwrap());
        let (shutdown, requested) = Shutdown::channel();
        let (metrics, rights) = (Arc::new(Metrics::new()), Arc::new(Rights::default()));
        let (at, asked) = (ingest.local_addr().unwrap(), query.local_addr().unwrap());
        let store = Arc::new(opened(options).await);
        let _nobody_forks = FORKING.lock().await;
        let collector = Collector::start(Parts {
            store: store.clone(),
            workload: Workload { namespace: "sluice-system".into(), ..workload("sluice-system", OWN) },
            trust_domain: TRUST_DOMAIN.into(),
            credentials: authority.credentials(&format!("spiffe://{TRUST_DOMAIN}/collector")),
            access: rights.clone(),
            clock: Arc::new(SystemClock::new()),
            metrics: metrics.clone(),
            ingest,
            query,
            shutdown: requested,
        })
        .await
        .unwrap();
        Self { ingest: at, query: asked, store, metrics, rights, shutdown, collector }
    }

    pub(crate) async fn end(self) {
        self.shutdown.send_replace(true);
        tokio::time::timeout(WAIT, self.collector.ended()).await.unwrap().unwrap();
        // Connections hold the store a moment longer.
        let weak = Arc::downgrade(&self.store);
        drop(self.store);
        let gone = async {
            while weak.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(WAIT, gone).await.expect("nobody holds the store");
    }

    /// `GET` at the query port, over HTTP/2.
    pub(crate) async fn get(&self, authority: &Authority, path: &str, token: &str) -> http::Response<Incoming> {
        get(self.query, authority, path, token).await
    }

    pub(crate) async fn read(&self, authority: &Authority, path: &str, token: &str) -> (u16, Bytes) {
        let answer = self.get(authority, path, token).await;
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.unwrap().to_bytes())
    }
}

pub(crate) async fn get(at: SocketAddr, authority: &Authority, path: &str, token: &str) -> http::Response<Incoming> {
    let credentials = authority.credentials(&spiffe("readers", "0"));
    let config = {
        let present = credentials.borrow().clone().unwrap();
        present.client_config(&Identity::Collector { trust_domain: TRUST_DOMAIN.into() })
    };
    let stream = TcpStream::connect(at).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::get(format!("https://{at}{path}"));
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap()
}

/// The way of a pod's sidecar to the collector.
pub(crate) fn link(at: SocketAddr, credentials: CredentialsWatch) -> Link {
    let endpoint = format!("https://{at}").parse().unwrap();
    Link::new(endpoint, Server::Collector, TRUST_DOMAIN, Arc::new(SystemNames), credentials)
}

pub(crate) fn ship(trail: &Trail, at: SocketAddr, credentials: CredentialsWatch) -> Shipping {
    let options = ShipOptions {
        linger: Duration::from_millis(1),
        pause: Duration::from_millis(5),
        heartbeat: Duration::from_secs(3_600),
    };
    Shipper::start(trail, options, IngestTransport::new(link(at, credentials)))
}

pub(crate) fn open(folder: &Path, namespace: &str, uid: &str) -> Trail {
    let mut options = TrailOptions::new(workload(namespace, uid), "test", Arc::new(SystemClock::new()));
    (options.segment_bytes, options.heads_every) = (256 * 1024, 8);
    options.collector_wait = Some(WAIT);
    Trail::open(folder, options).unwrap().0
}

pub(crate) async fn say(trail: &Trail, number: usize, padding: usize, durability: Durability) {
    let record = Record::new(Kind::Config).with("number", number).with("padding", "p".repeat(padding));
    trail.append(record, durability).await.unwrap();
}

/// An epoch that was written, in pieces that each end with a head.
pub(crate) struct Written {
    pub(crate) epoch: Uuid,
    pub(crate) pieces: Vec<(BatchStart, Vec<u8>)>,
}

/// Epochs of one trail of a pod: each with `records` records of `padding` bytes.
pub(crate) async fn written(workload: Workload, epochs: usize, records: usize, padding: usize) -> Vec<Written> {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for ordinal in 1..=epochs as u64 {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let mut options = TrailOptions::new(workload.clone(), "test", clock);
        (options.segment_bytes, options.heads_every) = (256 * 1024, 1);
        let (trail, _) = Trail::open(folder.path(), options).unwrap();
        let epoch = trail.epoch();
        for number in 0..records {
            say(&trail, number, padding, Durability::Process).await;
        }
        trail.end().await.unwrap();
        let mut pieces = Vec::new();
        for segment in 1.. {
            let name = sluice_audit::intake::segment_name(ordinal, epoch, segment);
            let Ok(bytes) = std::fs::read(folder.path().join(name)) else { break };
            pieces.extend(
                split(&bytes)
                    .into_iter()
                    .map(|(offset, piece)| (BatchStart { epoch, ordinal, segment, offset, rest: false }, piece)),
            );
        }
        all.push(Written { epoch, pieces });
    }
    all
}

/// Cuts a segment after each head.
fn split(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let (mut pieces, mut start, mut at) = (Vec::new(), 0, 128);
    while let Some([kind, beside, high, low, ..]) = bytes.get(at..at + 8) {
        if *kind == 0 {
            break;
        }
        at += 8 + usize::from(u16::from_be_bytes([*high, *low])) + usize::from(*beside);
        if *kind == 2 {
            pieces.push((start as u64, bytes[start..at].to_vec()));
            start = at;
        }
    }
    pieces
}

/// All pieces of a segment as one.
pub(crate) fn joined(written: &Written) -> (BatchStart, Vec<u8>) {
    let first = &written.pieces[0];
    let one = written.pieces.iter().filter(|(start, _)| start.segment == first.0.segment);
    (first.0, one.flat_map(|(_, bytes)| bytes.clone()).collect())
}

/// A copy of a trail's folder, as a person would make it.
#[track_caller]
pub(crate) fn assert_code(folder: &Path, code: u8) -> sluice_audit::verify::Report {
    let report = sluice_audit::verify::verify(folder, None);
    assert_eq!(report.exit_code(), code, "{report}");
    report
}

/// Numbers of the records that `say` wrote, in their order.
pub(crate) fn numbers(folder: &Path) -> Vec<u64> {
    let reader = sluice_audit::read::Reader::open(folder).unwrap();
    reader.filter_map(|entry| entry.unwrap().leaf.body.get("number")?.as_u64()).collect()
}
