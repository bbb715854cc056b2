//! `/healthz`, `/readyz` and `/metrics`, on plain HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request, StatusCode};
use sluice_audit::Trail;

use crate::metrics::Metrics;
use crate::server::{Answer, Credentials, text};
use crate::shutdown::Shutdown;

/// What readiness depends on.
#[derive(Debug, Clone)]
pub struct Health {
    /// Whether the caches have been filled.
    pub filled: Arc<AtomicBool>,
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
        if !self.filled.load(Ordering::Acquire) {
            lacks.push("the caches are not filled yet".to_owned());
        }
        if self.webhook.current().is_none() {
            lacks.push("the webhook has no certificate yet".to_owned());
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
