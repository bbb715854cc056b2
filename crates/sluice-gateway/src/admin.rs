//! `/healthz`, `/readyz` and `/metrics`, in plain HTTP, for operators; in a pod
//! the probes of the agent's containers too.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::shared::Shared;

/// A probe holds one for as long as its container takes.
const MAX_CONNECTIONS: usize = 64;

/// Serves until the gateway ends.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin listener");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let asked = stream.local_addr().map(|address| address.ip().to_canonical());
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let (shared, asked) = (shared.clone(), asked.as_ref().ok().copied());
                async move { Ok::<_, Infallible>(answer(&shared, request.uri().path(), asked).await) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(permit);
        });
    }
}

/// `asked`: the address of this machine that was connected to.
async fn answer(shared: &Shared, path: &str, asked: Option<IpAddr>) -> Response<Full<Bytes>> {
    let (status, kind, text) = match path {
        "/healthz" => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => ready(shared),
        "/metrics" => (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics(shared)),
        path => match probed(shared, path, asked).await {
            Some(true) => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            Some(false) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "not well\n".to_owned()),
            None => (StatusCode::NOT_FOUND, TEXT, "there are /healthz, /readyz and /metrics\n".to_owned()),
        },
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

async fn probed(shared: &Shared, path: &str, asked: Option<IpAddr>) -> Option<bool> {
    shared.probes.well(path, asked?).await
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Ready: commands can be decided and recorded.
fn ready(shared: &Shared) -> (StatusCode, &'static str, String) {
    let policy = shared.policy.load();
    let trail = shared.trail.status();
    let mut problems = Vec::new();
    if let Some(error) = trail.failed.or(trail.full) {
        problems.push(format!("trail: {error}"));
    }
    if policy.is_stale(shared.clock.monotonic()) {
        problems.push("policy: older than its maxPolicyAge".to_owned());
    }
    if *shared.drain.borrow() {
        problems.push("shutting down".to_owned());
    }
    let broken = if shared.metrics.policy_broken.get() == 1 { " (a newer one was not taken; see the log)" } else { "" };
    let away = if shared.metrics.control_away.get() == 1 { "the control plane is away\n" } else { "" };
    let unshipped = shared.unshipped().map(|why| format!("records stay here: {why}\n")).unwrap_or_default();
    let text =
        format!("policy revision {}{broken}\n{away}{unshipped}{}\n", policy.compiled.revision(), problems.join("\n"));
    (if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, TEXT, text)
}

fn metrics(shared: &Shared) -> String {
    shared.metrics.open.set(i64::try_from(shared.limits.open_connections()).unwrap_or(i64::MAX));
    shared.metrics.collector_away.set(i64::from(shared.unshipped().is_some()));
    let trail = shared.trail.status();
    shared.metrics.trail_closed.set(i64::from(trail.failed.is_some() || trail.full.is_some()));
    shared.metrics.text()
}
