//! `/healthz`, `/readyz` and `/metrics`, on plain HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request, StatusCode};
use sluice_audit::Trail;
use sluice_link::server::Shutdown;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::server::{Answer, Credentials, text};

/// What readiness depends on.
#[derive(Debug, Clone)]
pub struct Health {
    /// Whether the caches have been filled.
    pub filled: watch::Receiver<bool>,
    /// Whether the API server has been told whom to believe.
    pub announced: Arc<AtomicBool>,
    /// Of the webhook.
    pub webhook: Arc<Credentials>,
    /// Of the sidecars' server.
    pub wire: Arc<Credentials>,
    /// Without it no policy can be changed.
    pub trail: Trail,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// While it ends, it is not ready.
    pub shutdown: Shutdown,
}

impl Health {
    /// Why it is not ready; empty: it is.
    pub fn lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        if self.shutdown.is_requested() {
            lacks.push("it is shutting down".to_owned());
        }
        if !*self.filled.borrow() {
            lacks.push("the caches are not filled yet".to_owned());
        }
        if self.webhook.current().is_none() {
            lacks.push("the webhook has no certificate yet".to_owned());
        }
        if !self.announced.load(Ordering::Acquire) {
            lacks.push("the webhooks' caBundle is not written yet; the leader does it".to_owned());
        }
        if self.wire.current().is_none() {
            lacks.push("the sidecars' server has no certificate yet".to_owned());
        }
        if let Some(failed) = self.trail.status().failed {
            lacks.push(format!("the trail takes no records: {failed}"));
        }
        lacks
    }

    /// Answers one request.
    pub fn answer<B>(&self, request: &Request<B>) -> Answer {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET it\n");
        }
        match request.uri().path() {
            "/healthz" => match self.trail.status().failed {
                // Only opening it again helps, and only a restart does that.
                Some(failed) => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{failed}\n")),
                None => text(StatusCode::OK, "text/plain", "ok\n"),
            },
            "/readyz" => match self.lacks() {
                lacks if lacks.is_empty() => text(StatusCode::OK, "text/plain", "ok\n"),
                lacks => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{}\n", lacks.join("\n"))),
            },
            "/metrics" => {
                text(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", self.metrics.text())
            }
            _ => text(StatusCode::NOT_FOUND, "text/plain", "/healthz, /readyz or /metrics\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;
    use sluice_audit::TrailOptions;
    use sluice_core::{Clock, SystemClock, Workload};

    use super::*;
    use crate::certificates::{Authorities, Authority, Lifetimes};
    use crate::server::Clients;

    const DAY: Duration = Duration::from_secs(86_400);

    async fn asked(health: &Health, path: &str) -> (StatusCode, String) {
        let answer = health.answer(&Request::get(path).body(()).expect("a request"));
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn it_is_ready_when_nothing_is_missing_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let options = TrailOptions::new(Workload::default(), "test", clock.clone());
        let trail = Trail::open(folder.path(), options).expect("a trail").0;
        let lifetimes = Lifetimes { authority: DAY * 90, rotate_after: DAY * 30, publish: DAY, leaf: DAY };
        let names = || vec!["control.example".to_owned()];
        let credentials = || Arc::new(Credentials::new(None, names(), Clients::Anonymous, lifetimes, clock.clone()));
        let (fill, filled) = watch::channel(false);
        let (stop, shutdown) = Shutdown::channel();
        let health = Health {
            filled,
            announced: Arc::default(),
            webhook: credentials(),
            wire: credentials(),
            trail: trail.clone(),
            metrics: Arc::default(),
            shutdown,
        };
        let (status, said) = asked(&health, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        for word in ["caches", "webhook has no certificate", "sidecars' server", "caBundle"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!(asked(&health, "/healthz").await.0, StatusCode::OK, "alive all the same");

        let authority = Authority::create("CA", clock.now(), DAY * 90).expect("a key");
        let authorities = Authorities::new(vec![authority]);
        health.webhook.renew(&authorities).expect("a certificate");
        health.wire.renew(&authorities).expect("a certificate");
        fill.send_replace(true);
        assert_eq!(asked(&health, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        health.announced.store(true, Ordering::Release);
        assert_eq!(asked(&health, "/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
        let (status, metrics) = asked(&health, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(metrics.contains("sluice_control_leader 0") && metrics.ends_with("# EOF\n"), "{metrics}");

        stop.send_replace(true);
        assert!(asked(&health, "/readyz").await.1.contains("shutting down"));
        trail.end().await.expect("ended");
    }
}
