//! The server behind the proxies: answers every request with one Secret, as an
//! API server would, in 1 KiB of JSON.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::pki::Files;

/// A value in the Secret, as it stands in the JSON.
pub(crate) const VALUE: &str = "c3VwZXItc2VjcmV0LXBhc3N3b3Jk";
const BODY_BYTES: usize = 1024;

/// Serves HTTP/1.1 over TLS on a free port of loopback until the runtime ends.
pub(crate) async fn start(files: &Files) -> Result<SocketAddr> {
    let chain = CertificateDer::pem_file_iter(&files.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&files.key)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(config));
    let body = body()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (tls, body) = (tls.clone(), body.clone());
            tokio::spawn(async move {
                let _ = socket.set_nodelay(true);
                let Ok(stream) = tls.accept(socket).await else { return };
                let service = service_fn(move |_| {
                    let body = body.clone();
                    async move { Ok::<_, Infallible>(answer(body)) }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}

fn answer(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    for (name, value) in [
        ("audit-id", "1f0c1d9e-7a53-4c0e-9b36-2a52c8f4f0aa"),
        ("cache-control", "no-cache, private"),
        ("content-type", "application/json"),
    ] {
        headers.insert(name, hyper::header::HeaderValue::from_static(value));
    }
    response
}

/// The Secret, filled up to 1 KiB by an annotation.
fn body() -> Result<Bytes> {
    let with = |filler: &str| {
        json!({
            "kind": "Secret", "apiVersion": "v1",
            "metadata": {
                "name": "database", "namespace": "dev", "uid": "6c1e5a52-9d0f-4c7c-8d1e-2b7f0a3f9c11",
                "resourceVersion": "482913", "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"app": "shop", "tier": "backend"}, "annotations": {"example.com/note": filler},
                "managedFields": [{"manager": "kubectl", "operation": "Update", "apiVersion": "v1",
                    "time": "2026-01-02T03:04:05Z", "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:data": {".": {}, "f:password": {}, "f:username": {}}}}],
            },
            "data": {"username": "c2hvcA==", "password": VALUE, "url": "cG9zdGdyZXM6Ly9zaG9wQGRiLmRldi9zaG9w"},
            "type": "Opaque",
        })
        .to_string()
    };
    let room = BODY_BYTES.saturating_sub(with("").len());
    let body = with(&"x".repeat(room));
    ensure!(body.len() == BODY_BYTES, "the body has {} bytes", body.len());
    Ok(body.into())
}
