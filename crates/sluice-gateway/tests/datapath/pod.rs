//! A sidecar between a control plane, a collector and a server, all in this
//! process.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use sluice_audit::intake::{Intake, Piece, Refusal};
use sluice_core::{Intent, IntentSource, Secret, SystemClock, Workload};
use sluice_gateway::pod::{AgentFiles, Collector, InCluster, OwnToken, Pod};
use sluice_gateway::probe::Probes;
use sluice_gateway::{Gateway, GatewayOptions, Listener};
use sluice_link::{Backoff, EnrolOptions, Enrolment, FirstRoots, Link};
use sluice_testkit::{ASK_JAVA, ConnectProxy};
use sluice_wire::{BatchStart, IngestAnswer, IngestRefusal, Report};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::wire::{self, Asked, Authority, DOMAIN, Here, POD};
use crate::world::{HOST, IN_CLUSTER, LONG, Server, connect_to, leaves, of_kind, read_to_end};

/// What the control plane would say to the pod, and what it heard.
pub(crate) struct Control {
    pub(crate) server: wire::Server,
    line: Arc<watch::Sender<String>>,
    reports: mpsc::UnboundedReceiver<Report>,
}

impl Control {
    pub(crate) async fn start(authority: &Arc<Authority>) -> Self {
        let (line, reports) = (Arc::new(watch::Sender::new(String::new())), mpsc::unbounded_channel());
        let (signer, lines, heard) = (authority.clone(), line.clone(), reports.0);
        let answer = move |asked: &Asked| match asked.path.as_str() {
            "/v1/enrol" => signer.enrol(&asked.body, POD, Duration::from_secs(3600), &signer.pem),
            "/v1/config" => {
                let (sender, answer) = wire::streamed();
                let mut lines = lines.subscribe();
                lines.mark_changed();
                tokio::spawn(async move {
                    while lines.changed().await.is_ok() {
                        let line = lines.borrow_and_update().clone();
                        if !line.is_empty() && sender.send(Bytes::from(line + "\n")).is_err() {
                            return;
                        }
                    }
                });
                answer
            }
            _ => {
                let _ = heard.send(serde_json::from_slice(&asked.body).expect("report"));
                wire::json(200, &json!({}))
            }
        };
        let server = wire::Server::start(authority.credentials(&wire::control()), answer).await;
        Self { server, line, reports: reports.1 }
    }

    /// Sends a policy; `ca` is the bundle that it names.
    pub(crate) fn send(&self, revision: &str, policy: &str, ca: &str) {
        let line = json!({
            "revision": revision,
            "documents": [{"name": "GatewayPolicy/agents/test", "yaml": policy}],
            "bundles": {"agents/server-ca/ca.crt": ca},
            "selectorLabels": {"app": "coder"},
        });
        self.line.send_replace(line.to_string());
    }

    pub(crate) async fn report(&mut self, revision: &str) -> Report {
        loop {
            let report = tokio::time::timeout(LONG, self.reports.recv()).await.expect("in time").expect("open");
            if report.revision == revision {
                return report;
            }
        }
    }
}

/// A collector that keeps nothing but how far each epoch is.
#[derive(Clone, Default)]
pub(crate) struct Taken {
    epochs: Arc<Mutex<HashMap<Uuid, Intake>>>,
    away: Arc<watch::Sender<bool>>,
}

impl Taken {
    pub(crate) fn take(&self, asked: &Asked) -> wire::Answer {
        if *self.away.borrow() {
            return wire::json(507, &IngestRefusal::Full { message: "no room".into() });
        }
        let start: BatchStart = asked.path.split_once('?').expect("query").1.parse().expect("start");
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = epochs.entry(start.epoch).or_insert_with(|| Intake::new(start.ordinal, start.epoch)).clone();
        let again = start.segment == known.segment && start.offset < known.offset;
        let piece = Piece { segment: start.segment, offset: start.offset, bytes: &asked.body, rest: start.rest };
        let acknowledged = match known.take(piece) {
            _ if again => known.sequence,
            Ok(taken) => {
                let sequence = taken.next.sequence;
                epochs.insert(start.epoch, taken.next);
                sequence
            }
            Err(Refusal::Gap { expected }) => return wire::json(409, &IngestRefusal::Gap { expected }),
            Err(other) => panic!("{other}"),
        };
        wire::json(200, &IngestAnswer { epoch: start.epoch, acknowledged })
    }

    pub(crate) fn sequences(&self) -> Vec<(u64, bool)> {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.values().map(|intake| (intake.sequence, intake.ended)).collect()
    }
}

struct PodWorld {
    control: Option<Control>,
    taken: Taken,
    collector: wire::Server,
    server: Server,
    port: u16,
    authority: Arc<Authority>,
    folder: tempfile::TempDir,
    own: OwnToken,
    upstream_ca: String,
    shipped: bool,
}

/// A gateway that runs, and where its listeners are.
struct Running {
    gateway: Gateway,
    _enrolment: Enrolment,
    addresses: HashMap<&'static str, SocketAddr>,
}

impl PodWorld {
    async fn new() -> Self {
        let authority = Arc::new(Authority::new());
        let folder = tempfile::tempdir().expect("folder");
        let (server, port) = Server::start(folder.path(), &[b"http/1.1"]).await;
        let upstream_ca = std::fs::read_to_string(folder.path().join("upstream-ca.pem")).expect("CA");
        for name in ["trust", "account", "private"] {
            std::fs::create_dir(folder.path().join(name)).expect("folder");
        }
        std::fs::write(folder.path().join("control-token"), "token").expect("token");
        let taken = Taken::default();
        let judge = taken.clone();
        let collector =
            wire::Server::start(authority.credentials(&wire::collector()), move |asked| judge.take(asked)).await;
        let own = OwnToken::default();
        own.renew(Secret::new("the-pods-own-token".to_owned()));
        let control = Some(Control::start(&authority).await);
        Self { control, taken, collector, server, port, authority, folder, own, upstream_ca, shipped: true }
    }

    fn control(&mut self) -> &mut Control {
        self.control.as_mut().expect("control plane")
    }

    /// Sends a policy that allows what `rules` say, and the defaults around it.
    fn send(&mut self, revision: &str, edit: impl FnOnce(String) -> String) {
        let ca = self.upstream_ca.clone();
        self.control().send(revision, &edit(POLICY.to_owned()), &ca);
    }

    async fn start(&mut self) -> Running {
        let path = |name: &str| self.folder.path().join(name);
        let endpoint = self
            .control
            .as_ref()
            .map_or_else(|| "https://control.test:1".parse().expect("URL"), |control| control.server.endpoint.clone());
        let enrolment = Enrolment::start(EnrolOptions {
            control: endpoint.clone(),
            roots: FirstRoots::Pem(self.authority.pem.clone()),
            trust_domain: DOMAIN.into(),
            token_file: path("control-token"),
            folder: Some(path("private/workload")),
            resolver: Arc::new(Here),
            clock: Arc::new(SystemClock::new()),
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(50)),
        })
        .expect("enrolment");
        let link = |endpoint, role| Link::new(endpoint, role, DOMAIN, Arc::new(Here), enrolment.credentials());
        let (mut listeners, mut addresses) = (Vec::new(), HashMap::new());
        for host in [HOST, IN_CLUSTER] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listener");
            addresses.insert(host, listener.local_addr().expect("address"));
            listeners.push(Listener::Explicit { listener, host: host.into(), port: 443 });
        }
        let pod = Pod {
            control: link(endpoint, sluice_link::Server::Control),
            private: path("private"),
            collector: self.shipped.then(|| Collector {
                link: link(self.collector.endpoint.clone(), sluice_link::Server::Collector),
                wait: Duration::from_millis(500),
            }),
            intents: vec![Intent { source: IntentSource::Workload, text: "run: 7".into() }],
            files: AgentFiles { trust: path("trust"), service_account: path("account"), namespace: "agents".into() },
            in_cluster: Some(InCluster {
                address: SocketAddr::from(([127, 0, 0, 1], self.port)),
                ca: path("upstream-ca.pem"),
                token: self.own.clone(),
            }),
            probes: Probes::default(),
            capacity: 64 << 20,
            dns: Vec::new(),
        };
        let options = GatewayOptions {
            policy: Vec::new(),
            trail: path("trail"),
            workload: Workload {
                namespace: "agents".into(),
                pod: "coder-0".into(),
                uid: "6f1c".into(),
                service_account: "coder".into(),
                node: "node1".into(),
                ..Workload::default()
            },
            intent: None,
            listeners,
            dns: None,
            maps: vec![format!("{HOST}=127.0.0.1:{}", self.port).parse().expect("map")],
            token_file: None,
            ca_out: None,
            key_out: None,
            admin: Some(std::net::TcpListener::bind("127.0.0.1:0").expect("listener")),
            pod: Some(pod),
        };
        let gateway = tokio::time::timeout(LONG, Gateway::start(options)).await.expect("in time").expect("gateway");
        Running { gateway, _enrolment: enrolment, addresses }
    }

    /// Asks as an agent does, believing what is in its folder.
    async fn ask(&self, running: &Running, host: &'static str, line: &str, token: Option<&str>) -> String {
        let roots = std::fs::read(self.folder.path().join("trust/ca.crt")).expect("CA");
        let mut client = connect_to(running.addresses[host], host, &roots).await;
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request =
            format!("{line} HTTP/1.1\r\nHost: {host}\r\n{token}Connection: close\r\nContent-Length: 0\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("write");
        read_to_end(&mut client).await
    }

    fn leaves(&self) -> Vec<Value> {
        leaves(&self.folder.path().join("trail"))
    }
}

const GET: &str = "GET /api/v1/namespaces/dev/pods";
const DELETE: &str = "DELETE /api/v1/namespaces/dev/pods/web";

pub(crate) const POLICY: &str = r#"
apiVersion: sluice.dev/v1alpha1
kind: GatewayPolicy
metadata: {name: test, namespace: agents}
spec:
  selector: {matchLabels: {app: coder}}
  identity: {providers: [], workload: Allowed}
  targets:
  - name: cluster
    kubernetes: {server: api.example}
    caBundleRef: {configMap: server-ca}
  - name: here
    kubernetes: {server: kubernetes.default.svc}
  rules:
  - name: everybody
    subjects: {anyone: true}
    targets: ["*"]
    kubernetes: {verbs: ["*"], resources: ["*"], namespaces: ["*"]}
    action: Allow
  audit: {durability: Auto}
"#;

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

/// Whether the store that Java reads has every CA of `ca.crt`.
fn held_by_java(folder: &Path) -> bool {
    let read = |name: &str| std::fs::read(folder.join("trust").join(name)).expect(name);
    let (store, cas) = (read("java.p12"), read("ca.crt"));
    let mut cas = CertificateDer::pem_slice_iter(&cas).map(|ca| ca.expect("a certificate"));
    cas.all(|ca| store.windows(ca.len()).any(|window| window == ca.as_ref()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_java_program_believes_what_is_in_its_folder() {
    let mut world = PodWorld::new().await;
    world.send("r1", |policy| policy);
    let running = world.start().await;
    let proxy = ConnectProxy::start(Ipv4Addr::LOCALHOST.into(), &format!("{HOST}:443"), running.addresses[HOST]);
    let proxy = proxy.expect("proxy");
    let program = world.folder.path().join("Ask.java");
    std::fs::write(&program, ASK_JAVA).expect("program");
    let ask = |options: String| {
        let mut java = tokio::process::Command::new("java");
        java.env("JAVA_TOOL_OPTIONS", options)
            .arg(format!("-Dhttps.proxyHost={}", proxy.address().ip()))
            .arg(format!("-Dhttps.proxyPort={}", proxy.address().port()))
            .arg(&program)
            .arg(format!("https://{HOST}/api/v1/namespaces/dev/pods"));
        async move { java.output().await.expect("java, of a JDK (Debian: apt-get install default-jdk-headless)") }
    };
    // As it is injected, but for the folder.
    let file = world.folder.path().join("trust/java.p12");
    let told = ask(sluice_k8s::java::options(file.to_str().expect("path"))).await;
    assert!(told.status.success() && told.stdout.starts_with(b"200\n"), "{told:?}");
    let untold = ask(String::new()).await;
    let said = String::from_utf8_lossy(&untold.stderr);
    assert!(!untold.status.success() && said.contains("PKIX path building failed"), "{said}");
    running.gateway.shutdown().await.expect("shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_served_as_the_control_plane_says() {
    let mut world = PodWorld::new().await;
    world.send("r1", |policy| policy);
    let running = world.start().await;
    let report = world.control().report("r1").await;
    assert!(report.in_force(), "{report:?}");
    let folder = world.folder.path().to_owned();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    assert_eq!(read("account/ca.crt"), read("trust/ca.crt"));
    assert_eq!(read("account/namespace"), "agents");
    assert!(read("trust/bundle.crt").contains(&read("trust/ca.crt")));
    assert!(held_by_java(&folder));
    assert!(read("trust/kubeconfig").contains("current-context: here"));

    assert_eq!(status(&world.ask(&running, HOST, GET, None).await), "200");
    world.send("r2", |policy| policy.replace("action: Allow", "action: Allow\n  - name: no\n    subjects: {anyone: true}\n    kubernetes: {verbs: [get, list], resources: [pods]}\n    action: Deny"));
    assert!(world.control().report("r2").await.in_force());
    assert_eq!(status(&world.ask(&running, HOST, GET, None).await), "403");

    world.send("r3", |policy| policy.replace("anyone: true", "anybody: true"));
    let report = world.control().report("r3").await;
    assert!(!report.compiled);
    let problem = report.problems.first().expect("a problem");
    assert_eq!(problem.document, "GatewayPolicy/agents/test");
    assert!(problem.message.contains("anybody"), "{problem:?}");
    assert_eq!(status(&world.ask(&running, HOST, GET, None).await), "403", "the last good one stays");

    let before = read("trust/ca.crt");
    world.send("r4", |policy| policy.replace("server: api.example", "server: other.example"));
    assert!(world.control().report("r4").await.in_force());
    let after = read("trust/ca.crt");
    assert!(after.starts_with(&before) && after.len() > before.len(), "a CA for the new host, the old one stays");
    assert!(held_by_java(&folder), "the new one too");
    assert!(read("trust/kubeconfig").contains("https://other.example"));
    running.gateway.shutdown().await.expect("shutdown");
    let leaves = world.leaves();
    let config = of_kind(&leaves, "config");
    assert_eq!(config.iter().filter(|leaf| leaf["body"]["taken"] == json!(false)).count(), 1, "{config:#?}");
    let intent = of_kind(&leaves, "intent");
    assert!(intent.first().expect("an intent").to_string().contains("run: 7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_speaks_to_its_own_cluster_as_itself() {
    let mut world = PodWorld::new().await;
    world.send("r1", |policy| policy);
    let running = world.start().await;
    let upstream = |world: &PodWorld| {
        let seen = world.server.requests().pop().expect("a request");
        seen.headers.get("authorization").map(|value| value.to_str().expect("text").to_owned())
    };
    for token in [Some("the-pods-own-token"), None] {
        assert_eq!(status(&world.ask(&running, IN_CLUSTER, GET, token).await), "200");
        assert_eq!(upstream(&world).as_deref(), Some("Bearer the-pods-own-token"), "{token:?}");
    }
    assert_eq!(status(&world.ask(&running, IN_CLUSTER, GET, Some("another")).await), "401");
    assert_eq!(
        status(&world.ask(&running, HOST, GET, Some("the-pods-own-token")).await),
        "401",
        "elsewhere it is none"
    );
    assert_eq!(status(&world.ask(&running, HOST, GET, None).await), "200");
    assert_eq!(upstream(&world), None, "elsewhere it is not sent");

    // What stock clients send by the kubeconfig that the gateway wrote.
    let kubeconfig = std::fs::read_to_string(world.folder.path().join("trust/kubeconfig")).expect("kubeconfig");
    let word = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("token: ")).expect("a word for no token");
    let answer = world.ask(&running, HOST, GET, Some(word)).await;
    assert_eq!(status(&answer), "401", "{answer}");
    for words in ["warning: 299 - \"sluice: ", "holds no token for target", "OIDC token for ", "--token TOKEN"] {
        assert!(answer.to_lowercase().contains(&words.to_lowercase()), "no `{words}` in {answer}");
    }

    world.send("r2", |policy| policy.replace("workload: Allowed", "workload: Denied"));
    world.control().report("r2").await;
    for token in [Some("the-pods-own-token"), None] {
        let answer = world.ask(&running, IN_CLUSTER, GET, token).await;
        assert!(status(&answer) == "401" && answer.contains("identity.workload: Allowed"), "{token:?}: {answer}");
    }
    running.gateway.shutdown().await.expect("shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_starts_again_without_the_control_plane() {
    let mut world = PodWorld::new().await;
    world.send("r1", |policy| policy);
    let running = world.start().await;
    world.control().report("r1").await;
    let ca = std::fs::read(world.folder.path().join("trust/ca.crt")).expect("CA");
    running.gateway.shutdown().await.expect("shutdown");
    drop(running._enrolment);
    world.control = None;
    let running = world.start().await;
    assert_eq!(status(&world.ask(&running, HOST, GET, None).await), "200");
    assert_eq!(std::fs::read(world.folder.path().join("trust/ca.crt")).expect("CA"), ca, "the agent trusts it already");
    running.gateway.shutdown().await.expect("shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_nobody_confirms_grows_too_old_over_restarts() {
    let mut world = PodWorld::new().await;
    world.send("r1", |policy| policy + "  maxPolicyAge: 1h\n");
    let running = world.start().await;
    running.gateway.shutdown().await.expect("shutdown");
    drop(running._enrolment);
    world.control = None;
    let long_ago = jiff::Timestamp::now() - Duration::from_secs(2 * 3600);
    std::fs::write(world.folder.path().join("private/contact"), long_ago.to_string()).expect("contact");
    let running = world.start().await;
    let answer = world.ask(&running, HOST, GET, None).await;
    assert!(status(&answer) == "403" && answer.contains("PolicyTooOld"), "{answer}");
    running.gateway.shutdown().await.expect("shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_state_waits_for_the_collector() {
    let mut world = PodWorld::new().await;
    world.send("r1", |policy| policy);
    let running = world.start().await;
    assert_eq!(status(&world.ask(&running, HOST, DELETE, None).await), "200");
    world.taken.away.send_replace(true);
    assert_eq!(status(&world.ask(&running, HOST, GET, None).await), "200", "reads go on");
    let before = world.server.requests().len();
    let answer = world.ask(&running, HOST, DELETE, None).await;
    assert!(status(&answer) == "503" && answer.contains("Unrecorded"), "{answer}");
    assert_eq!(world.server.requests().len(), before, "nothing is forwarded");

    world.send("r2", |policy| policy.replace("durability: Auto", "durability: Auto, mode: BestEffort"));
    world.control().report("r2").await;
    assert_eq!(status(&world.ask(&running, HOST, DELETE, None).await), "200", "best effort");
    world.send("r3", |policy| policy.replace("durability: Auto", "durability: Disk"));
    world.control().report("r3").await;
    assert_eq!(status(&world.ask(&running, HOST, DELETE, None).await), "200", "what was asked for");
    world.send("r4", |policy| policy.replace("durability: Auto", "durability: Collector"));
    world.control().report("r4").await;
    assert_eq!(status(&world.ask(&running, HOST, GET, None).await), "503", "reads too, where it is asked for");
    world.taken.away.send_replace(false);
    // The shipper pauses between attempts; each question waits for it.
    let back = async { while status(&world.ask(&running, HOST, GET, None).await) != "200" {} };
    tokio::time::timeout(LONG, back).await.expect("it goes on by itself");

    running.gateway.shutdown().await.expect("shutdown");
    let leaves = world.leaves();
    let last = leaves.last().expect("leaves");
    assert_eq!(last["kind"], "end");
    assert_eq!(world.taken.sequences(), [(u64::try_from(leaves.len()).expect("count"), true)], "all of it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_disk_must_do_unless_one_is_asked_for() {
    let mut world = PodWorld::new().await;
    world.shipped = false;
    world.send("r1", |policy| policy);
    let running = world.start().await;
    assert_eq!(status(&world.ask(&running, HOST, DELETE, None).await), "200");
    for (revision, mode) in [("r2", "Strict"), ("r3", "BestEffort")] {
        world.send(revision, |policy| {
            policy.replace("durability: Auto", &format!("durability: Collector, mode: {mode}"))
        });
        world.control().report(revision).await;
        let answer = world.ask(&running, HOST, GET, None).await;
        assert!(status(&answer) == "503" && answer.contains("no collector is configured"), "{answer}");
    }
    running.gateway.shutdown().await.expect("shutdown");
}
