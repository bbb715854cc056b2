use std::fs;
use std::sync::Arc;

use hickory_proto::op::{Message, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A TLS server on loopback for some names, and its CA.
struct Server {
    port: u16,
    ca_pem: String,
}

impl Server {
    async fn start(names: &[&str], alpn: &[&[u8]]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca_pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(crate::trust::crypto())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], private)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    }
                });
            }
        });
        Self { port, ca_pem }
    }

    /// Roots with this server's CA.
    fn roots(&self) -> Roots {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, &self.ca_pem).unwrap();
        Roots::with_bundle(Some(&path)).unwrap()
    }

    fn map(&self, host: &str) -> Map {
        format!("{host}:443=127.0.0.1:{}", self.port).parse().unwrap()
    }
}

/// No name server at all: what is not mapped cannot be looked up.
fn mapped(maps: Vec<Map>) -> Dialer {
    Dialer::new(maps, Resolver::servers(&[]), Place::Local)
}

#[tokio::test]
async fn a_mapped_name_is_dialled_and_its_certificate_checked() {
    let server = Server::start(&["api.example"], &[b"h2", b"http/1.1"]).await;
    let dialer = mapped(vec![server.map("api.example"), server.map("other.example")]);
    for (offered, agreed) in [
        (vec![b"h2".as_slice(), b"http/1.1"], Some(b"h2".to_vec())),
        (vec![b"http/1.1".as_slice()], Some(b"http/1.1".to_vec())),
        (vec![], None),
    ] {
        let stream = dialer.connect_tls("api.example", 443, &server.roots().client(&offered)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec), agreed);
    }
    let error = dialer.connect_tls("other.example", 443, &server.roots().client(&[])).await.unwrap_err();
    assert_eq!(error.code(), "UpstreamName", "{error}");
    assert!(error.to_string().contains("other.example:443"), "{error}");

    let error = dialer.connect_tls("api.example", 443, &Roots::public().client(&[])).await.unwrap_err();
    assert_eq!(error.code(), "UpstreamTls", "{error}");
    assert!(error.fix().contains("caBundleRef"), "{}", error.fix());
}

#[tokio::test]
async fn who_does_not_speak_tls_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-x\r\n").await;
        }
    });
    let dialer = mapped(vec![format!("api.example={at}").parse().unwrap()]);
    let error = dialer.connect_tls("api.example", 443, &Roots::public().client(&[])).await.unwrap_err();
    assert_eq!(error.code(), "UpstreamTls", "{error}");
    assert!(error.fix().contains("speaks TLS"), "{}", error.fix());
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let dialer = mapped(vec![format!("api.example:443={at}").parse().unwrap()]);
    let error = dialer.connect("api.example", 443).await.unwrap_err();
    assert_eq!(error.code(), "UpstreamUnreachable");
    assert!(error.to_string().contains("api.example:443") && error.to_string().contains(&at.to_string()), "{error}");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused() {
    let server = Server::start(&["api.example"], &[]).await;
    let dns = name_server(|name, kind| match (name, kind) {
        ("inside.example.", RecordType::A) => vec!["127.0.0.1", "169.254.169.254"],
        ("mapped.example.", RecordType::AAAA) => vec!["::ffff:127.0.0.1"],
        ("both.example.", RecordType::A) => vec!["169.254.169.254", "198.18.0.1"],
        ("both.example.", RecordType::AAAA) => vec!["fe80::1", "fd5f:736c:7569:6365::1"],
        _ => Vec::new(),
    })
    .await;
    let dialer = Dialer::new(Vec::new(), Resolver::servers(&[dns]), Place::Local);
    for name in ["inside.example", "mapped.example", "both.example"] {
        let error = dialer.connect(name, server.port).await.unwrap_err();
        assert_eq!(error.code(), "UpstreamForbidden", "{name}: {error}");
        assert!(error.fix().contains("--map"), "{}", error.fix());
    }
    let error = dialer.connect("nowhere.example", server.port).await.unwrap_err();
    assert_eq!(error.code(), "UpstreamUnresolved", "{error}");
    assert!(error.to_string().contains("nowhere.example"), "{error}");
}

#[tokio::test]
async fn what_policy_spells_out_is_dialled_as_it_is() {
    let server = Server::start(&["127.0.0.1", "localhost"], &[]).await;
    let dialer = mapped(Vec::new());
    let tls = server.roots().client(&[]);
    for host in ["127.0.0.1", "localhost"] {
        dialer.connect_tls(host, server.port, &tls).await.unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    let error = dialer.connect("no name", 443).await.unwrap_err();
    assert_eq!(error.code(), "UpstreamUnresolved", "{error}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let stream = race(&[closed, at]).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), at);
    assert!(race(&[closed]).await.is_err());
    assert_eq!(race(&[]).await.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
}

#[test]
fn families_take_turns() {
    let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
    let order: Vec<IpAddr> = interleave(&list(&["fd00::1", "fd00::2", "10.0.0.1", "fd00::3", "10.0.0.2"])).collect();
    assert_eq!(order, list(&["10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2", "fd00::3"]));
}

#[test]
fn a_bundle_that_is_none_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (path, what) in [
        (write("empty.pem", ""), "holds no PEM certificate"),
        (write("broken.pem", broken), "certificate 1"),
        (folder.path().join("missing.pem"), "No such file"),
    ] {
        let error = Roots::with_bundle(Some(&path)).expect_err(what).to_string();
        assert!(error.contains(what) && error.contains(&path.display().to_string()), "{error}");
    }
}

/// A name server on loopback.
async fn name_server(answers: fn(&str, RecordType) -> Vec<&'static str>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let Ok(asked) = Message::from_vec(&buffer[..length]) else { continue };
            let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
            answer.metadata = Metadata::response_from_request(&asked.metadata);
            let query = asked.queries[0].clone();
            let name = query.name().to_ascii().to_ascii_lowercase();
            for address in answers(&name, query.query_type()) {
                let data = match address.parse().unwrap() {
                    IpAddr::V4(v4) => RData::A(A(v4)),
                    IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
                };
                answer.answers.push(Record::from_rdata(query.name().clone(), 60, data));
            }
            if answer.answers.is_empty() && name == "nowhere.example." {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            answer.queries.push(query);
            let _ = socket.send_to(&answer.to_vec().unwrap(), from).await;
        }
    });
    at
}
