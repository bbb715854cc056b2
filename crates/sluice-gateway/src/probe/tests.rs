use http::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpListener;

use super::*;

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));

fn probe(handler: &str) -> Probe {
    let text = format!(r#"{{"/probe/a/liveness": {{"timeoutSeconds": 1, {handler}}}}}"#);
    let probes: BTreeMap<String, Probe> = serde_json::from_str(&text).expect("probes");
    probes["/probe/a/liveness"].clone()
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((OWN, 0)).await.expect("listener");
    let port = listener.local_addr().expect("address").port();
    (listener, port)
}

type Seen = Arc<std::sync::Mutex<Vec<http::request::Parts>>>;

/// Answers with the status that the path names.
fn answer(seen: &Seen, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let status = request.uri().path().trim_start_matches('/').parse().unwrap_or(404);
    seen.lock().expect("lock").push(request.into_parts().0);
    Response::builder().status(status).body(Full::new(Bytes::from_static(b"body"))).expect("answer")
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, seen: Seen) {
    let service = service_fn(|request| {
        let answer = answer(&seen, request);
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[tokio::test]
async fn http_is_judged_by_its_status() {
    let (listener, port) = listener().await;
    let seen = Seen::default();
    let known = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, known.clone()));
        }
    });
    for (status, well) in [(200, true), (204, true), (302, true), (399, true), (400, false), (404, false), (503, false)]
    {
        let made =
            probe(&format!(r#""httpGet": {{"path": "/{status}", "port": {port}, "scheme": "HTTP"}}"#)).make(OWN).await;
        assert_eq!(made.is_ok(), well, "{status}: {made:?}");
    }
    let headers = r#"[{"name": "Host", "value": "app"}, {"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}]"#;
    let get = format!(r#""httpGet": {{"path": "200", "port": {port}, "httpHeaders": {headers}}}"#);
    probe(&get).make(OWN).await.expect("well");
    let seen = seen.lock().expect("lock");
    assert_eq!(seen[0].headers["host"], format!("127.0.0.1:{port}").as_str());
    assert_eq!(seen[0].headers["user-agent"], "kube-probe/sluice");
    let last = seen.last().expect("one");
    assert_eq!((last.uri.path(), &last.headers["host"]), ("/200", &HeaderValue::from_static("app")));
    assert_eq!(last.headers.get_all("x-a").iter().count(), 2);
}

#[tokio::test]
async fn tls_is_not_verified() {
    let (listener, port) = listener().await;
    let key = rcgen::generate_simple_self_signed(["other.example".to_owned()]).expect("certificate");
    let config = rustls::ServerConfig::builder_with_provider(trust::crypto())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], key.signing_key.serialize_der().try_into().expect("key"))
        .expect("configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream, Seen::default()));
            }
        }
    });
    let get = |scheme: &str| format!(r#""httpGet": {{"path": "/200", "port": {port}, "scheme": "{scheme}"}}"#);
    probe(&get("HTTPS")).make(OWN).await.expect("well");
    probe(&get("HTTP")).make(OWN).await.expect_err("it speaks TLS");
}

#[tokio::test]
async fn a_socket_must_be_open_and_an_answer_in_time() {
    let (listener, port) = listener().await;
    probe(&format!(r#""tcpSocket": {{"port": {port}}}"#)).make(OWN).await.expect("open");
    // Connections wait in the queue: nobody answers.
    let error = probe(&format!(r#""httpGet": {{"port": {port}}}"#)).make(OWN).await.expect_err("nobody answers");
    assert!(matches!(error, ProbeError::Slow(1)), "{error}");
    drop(listener);
    let error = probe(&format!(r#""tcpSocket": {{"port": {port}}}"#)).make(OWN).await.expect_err("closed");
    assert!(error.to_string().contains(&format!("port {port}")), "{error}");
}

#[tokio::test]
async fn grpc_asks_the_health_service() {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let asked = request.into_body().collect().await.expect("body").to_bytes();
                let (status, code) = match &asked[5..] {
                    b"\x0a\x05model" => (1, "0"),
                    b"" => (2, "0"),
                    _ => (1, "5"),
                };
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(code));
                let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]));
                Ok::<_, std::convert::Infallible>(Response::new(body.with_trailers(async move { Some(Ok(trailers)) })))
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    });
    let grpc = |service: &str| probe(&format!(r#""grpc": {{"port": {port}, "service": "{service}"}}"#));
    grpc("model").make(OWN).await.expect("serving");
    assert!(matches!(grpc("").make(OWN).await, Err(ProbeError::NotServing(code)) if code == "0"));
    assert!(matches!(grpc("other").make(OWN).await, Err(ProbeError::NotServing(code)) if code == "5"));
    assert_eq!(health_request(&"a".repeat(200))[5..8], [0x0a, 0xc8, 0x01]);
}

#[tokio::test]
async fn only_listed_probes_are_made_and_at_a_pace() {
    let (listener, port) = listener().await;
    let text = format!(r#"{{"/probe/a/liveness": {{"timeoutSeconds": 1, "tcpSocket": {{"port": {port}}}}}}}"#);
    let probes: Probes = text.parse().expect("probes");
    assert_eq!(probes.well("/probe/b/liveness", OWN).await, None);
    assert_eq!(probes.well("/probe/a/liveness", OWN).await, Some(true));
    drop(listener);
    let gone = async { while probes.well("/probe/a/liveness", OWN).await != Some(false) {} };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("seen after a while");
}

#[test]
fn what_is_no_probe_is_said() {
    assert!("".parse::<Probes>().is_ok());
    for text in ["[]", r#"{"/probe/a/liveness": {}}"#, r#"{"/p": {"timeoutSeconds": 1, "exec": {}}}"#] {
        assert!(text.parse::<Probes>().is_err(), "{text}");
    }
}
