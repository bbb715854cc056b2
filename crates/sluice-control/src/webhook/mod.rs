//! What the API server asks: injection, and whether a policy may be stored.

pub(crate) mod caller;
mod leaf;
mod settings;

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use sluice_audit::{Durability, Trail};
use sluice_k8s::admission::{self, AdmissionRequest};
use sluice_k8s::inject::InjectionSettings;
use sluice_k8s::webhooks::{INJECT_PATH, INJECT_REQUIRED_PATH, VALIDATE_PATH};
use sluice_link::server::read_body;
use tokio::sync::watch;
use tracing::{error, info};

pub use leaf::leaf;
pub use settings::{follow_settings, read_settings};

use crate::certificates::Authorities;
use crate::metrics::Metrics;
use crate::server::{Answer, text};

/// Bytes of a review: an object of 3 MiB (the API server's limit), the one
/// before it, and what is around them.
const MAX_REVIEW: usize = 8 * 1024 * 1024;

/// Answers the API server.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// What is injected, without the roots.
    pub settings: watch::Receiver<Arc<InjectionSettings>>,
    /// The roots that pods get.
    pub authorities: watch::Receiver<Arc<Authorities>>,
    /// Those whose keys say where the API server asks about policies.
    pub callers: watch::Receiver<Arc<Authorities>>,
    /// Where it is recorded who changed which policy.
    pub trail: Trail,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Webhook {
    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        let Some(path) = self.asked(request.uri().path()) else {
            return text(StatusCode::NOT_FOUND, "text/plain", "no webhook is here\n");
        };
        if request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "POST an AdmissionReview\n");
        }
        let body = match read_body(request.into_body(), MAX_REVIEW).await {
            Ok(body) => body,
            Err(cause) => return text(StatusCode::BAD_REQUEST, "text/plain", format!("{cause}\n")),
        };
        let review = match AdmissionRequest::parse(&body) {
            Ok(review) => review,
            Err(cause) => return text(StatusCode::BAD_REQUEST, "text/plain", format!("{cause}\n")),
        };
        let answer = match path {
            INJECT_PATH => self.inject(&review, false),
            INJECT_REQUIRED_PATH => self.inject(&review, true),
            _ => self.validate(&review).await,
        };
        let allowed = matches!(answer, admission::Answer::Allowed { .. });
        self.metrics.admitted(path, allowed);
        if let admission::Answer::Refused(reasons) = &answer {
            info!(
                path,
                kind = review.kind.kind,
                namespace = review.namespace,
                name = review.name,
                by = review.user_info.username,
                ?reasons,
                "refused at admission"
            );
        }
        let reply = serde_json::to_vec(&answer.review(&review)).unwrap_or_default();
        text(StatusCode::OK, "application/json", reply)
    }

    /// Which webhook is asked, without what is secret; `None`: none is there.
    /// Injection answers everybody: it tells nothing and changes nothing.
    fn asked(&self, path: &str) -> Option<&'static str> {
        match path {
            INJECT_PATH => Some(INJECT_PATH),
            INJECT_REQUIRED_PATH => Some(INJECT_REQUIRED_PATH),
            path => caller::is_known(path, &self.callers.borrow()).then_some(VALIDATE_PATH),
        }
    }

    fn inject(&self, review: &AdmissionRequest, required: bool) -> admission::Answer {
        let roots = self.authorities.borrow().roots_pem();
        if roots.is_empty() {
            let why = "sluice: the control plane has no certificate authority yet; try again in a moment";
            return admission::Answer::Refused(vec![why.to_owned()]);
        }
        let settings = InjectionSettings { roots, ..(**self.settings.borrow()).clone() };
        admission::pod(review, required, &settings)
    }

    /// A change of policy is recorded before it is let through; what cannot be
    /// recorded is refused.
    async fn validate(&self, review: &AdmissionRequest) -> admission::Answer {
        let answer = admission::policy(review);
        if review.dry_run == Some(true) {
            return answer;
        }
        match self.trail.append(leaf(review, &answer), Durability::Disk).await {
            Ok(_) => answer,
            Err(cause) => {
                error!(%cause, "a change of policy cannot be recorded");
                admission::Answer::Refused(vec![format!("sluice: nothing changes that cannot be recorded: {cause}")])
            }
        }
    }
}

#[cfg(test)]
mod tests;
