//! `/healthz`, `/readyz` and `/metrics`, on plain HTTP.

use std::sync::{Arc, OnceLock};

use http::{Method, Request, StatusCode};
use sluice_audit::Trail;
use sluice_link::CredentialsWatch;
use sluice_link::server::Shutdown;

use crate::metrics::Metrics;
use crate::server::{Answer, text};
use crate::store::Store;

/// What readiness depends on. Parts are set once they are there.
#[derive(Debug, Clone)]
pub struct Health {
    /// The volume.
    pub store: Arc<OnceLock<Arc<Store>>>,
    /// The collector's own trail.
    pub trail: Arc<OnceLock<Trail>>,
    /// The certificate.
    pub credentials: Arc<OnceLock<CredentialsWatch>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// While it ends, it is not ready.
    pub shutdown: Shutdown,
}

impl Health {
    /// Nothing is there yet.
    pub fn new(metrics: Arc<Metrics>, shutdown: Shutdown) -> Self {
        Self { store: Arc::default(), trail: Arc::default(), credentials: Arc::default(), metrics, shutdown }
    }

    /// Why it is not ready; empty: it is.
    pub fn lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        if self.shutdown.is_requested() {
            lacks.push("it is shutting down".to_owned());
        }
        if self.store.get().is_none() {
            lacks.push("the volume is not open yet: another collector may still hold it".to_owned());
        }
        if self.credentials.get().is_none_or(|credentials| credentials.borrow().is_none()) {
            lacks.push(
                "there is no certificate yet: the control plane must be reached, and the roots be there".to_owned(),
            );
        }
        lacks.extend(self.sick());
        lacks
    }

    /// Why only a restart helps.
    fn sick(&self) -> Option<String> {
        let trail = self.trail.get().and_then(|trail| trail.status().failed);
        let trail = trail.map(|failed| format!("the own trail takes no records: {failed}"));
        trail.or_else(|| self.store.get().and_then(|store| store.needs_restart()))
    }

    /// Answers one request.
    pub fn answer<B>(&self, request: &Request<B>) -> Answer {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET it\n");
        }
        match request.uri().path() {
            "/healthz" => match self.sick() {
                Some(sick) => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{sick}\n")),
                None => text(StatusCode::OK, "text/plain", "ok\n"),
            },
            "/readyz" => match self.lacks() {
                lacks if lacks.is_empty() => text(StatusCode::OK, "text/plain", "ok\n"),
                lacks => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{}\n", lacks.join("\n"))),
            },
            "/metrics" => {
                let text_of = self.metrics.text(self.store.get().map(Arc::as_ref));
                text(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text_of)
            }
            _ => text(StatusCode::NOT_FOUND, "text/plain", "/healthz, /readyz or /metrics\n"),
        }
    }
}
