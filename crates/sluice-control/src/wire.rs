//! What sidecars ask: enrolment, the config stream, reports.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use sluice_core::Secret;
use sluice_link::server::{Peer, Shutdown, read_body};
use sluice_wire::{
    CONFIG_PATH, Code, ConfigLine, ENROL_PATH, EnrolRequest, HEARTBEAT_SECONDS, Identity, MAX_BODY_BYTES,
    MAX_LINE_BYTES, REPORT_PATH, Refusal, Report,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::enrol::Enroller;
use crate::metrics::Metrics;
use crate::server::{Answer, refuse, text};
use crate::world::{World, config_for};

/// Bytes of a token.
const MAX_TOKEN: usize = 16 * 1024;

/// Answers sidecars.
#[derive(Debug, Clone)]
pub struct Wire {
    /// Gives out certificates.
    pub enroller: Arc<Enroller>,
    /// Policy for every pod.
    pub world: watch::Receiver<Arc<World>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends the streams.
    pub shutdown: Shutdown,
}

impl Wire {
    /// Answers one request.
    pub async fn answer(&self, peer: Peer, request: Request<Incoming>) -> Answer {
        let (path, method) = (request.uri().path().to_owned(), request.method().clone());
        let answered = match (path.as_str(), &method) {
            (ENROL_PATH, &Method::POST) => self.enrol(request).await,
            (CONFIG_PATH, &Method::GET) => self.config(&peer),
            (REPORT_PATH, &Method::POST) => self.report(&peer, request).await,
            _ => Err(Refusal::new(
                Code::NotFound,
                format!("there is no {method} {}", path.chars().take(128).collect::<String>()),
                "speak version 1: POST /v1/enrol, GET /v1/config, POST /v1/report",
            )),
        };
        answered.unwrap_or_else(|refusal| {
            self.metrics.refused(refusal.code);
            info!(code = ?refusal.code, message = %refusal.message, peer = ?peer.identity, "refused");
            refuse(&refusal)
        })
    }

    async fn enrol(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let token = bearer(request.headers())?;
        let request: EnrolRequest = json(request.into_body()).await?;
        let response = self.enroller.enrol(&token, &request).await?;
        self.metrics.enrolled();
        info!(expires = %response.expires, "enrolled");
        Ok(text(http::StatusCode::OK, "application/json", serde_json::to_vec(&response).unwrap_or_default()))
    }

    fn config(&self, peer: &Peer) -> Result<Answer, Refusal> {
        let uid = pod_of(peer, &self.enroller.trust_domain)?.to_owned();
        if config_for(&self.world.borrow(), &uid).is_none() {
            return Err(Refusal::new(
                Code::UnknownPod,
                format!("no injected pod with UID {uid} is known"),
                "try again in a moment",
            ));
        }
        let lines =
            lines(self.world.clone(), uid, self.shutdown.clone()).map(|line| Ok::<_, Infallible>(Frame::data(line)));
        let open = self.metrics.stream_opened();
        let body = StreamBody::new(lines.map(move |line| {
            let _counted_while_it_lives = &open;
            line
        }));
        let mut answer = Response::new(body.boxed_unsync());
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        Ok(answer)
    }

    async fn report(&self, peer: &Peer, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let uid = pod_of(peer, &self.enroller.trust_domain)?;
        let report: Report = json(request.into_body()).await?;
        self.enroller.client.report(uid, &report).await?;
        self.metrics.reported(report.in_force());
        Ok(text(http::StatusCode::OK, "application/json", "{}"))
    }
}

/// The lines of one sidecar's stream: its policy, again on each change, and a
/// heartbeat while nothing changes. Ends when the pod is gone.
fn lines(
    world: watch::Receiver<Arc<World>>,
    uid: String,
    shutdown: Shutdown,
) -> impl futures_util::Stream<Item = Bytes> + Send {
    struct State {
        world: watch::Receiver<Arc<World>>,
        uid: String,
        shutdown: Shutdown,
        sent: Option<String>,
    }
    let mut state = State { world, uid, shutdown, sent: None };
    state.world.mark_changed();
    futures_util::stream::unfold(state, |mut state| async move {
        let beat = Instant::now() + Duration::from_secs(HEARTBEAT_SECONDS);
        loop {
            tokio::select! {
                () = state.shutdown.requested() => return None,
                () = sleep_until(beat) => return Some((line(&ConfigLine::Heartbeat)?, state)),
                changed = state.world.changed() => changed.ok()?,
            }
            let present = state.world.borrow_and_update().clone();
            let config = config_for(&present, &state.uid)?;
            if state.sent.as_deref() == Some(config.revision.as_str()) {
                continue;
            }
            state.sent = Some(config.revision.clone());
            let line = line(&ConfigLine::Config(config))?;
            if line.len() > MAX_LINE_BYTES {
                // The sidecar keeps what it has; its silence shows in the status.
                warn!(uid = state.uid, bytes = line.len(), "the policy of a pod is too large to be sent");
                continue;
            }
            return Some((line, state));
        }
    })
}

fn line(line: &ConfigLine) -> Option<Bytes> {
    let mut text = serde_json::to_vec(line).ok()?;
    text.push(b'\n');
    Some(text.into())
}

fn bearer(headers: &HeaderMap) -> Result<Secret<String>, Refusal> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && (1..=MAX_TOKEN).contains(&token.len()) => {
            Ok(Secret::new(token.to_owned()))
        }
        _ => Err(Refusal::new(
            Code::BadToken,
            "there is no bearer token",
            "send the projected token for control.sluice.dev as `Authorization: Bearer`",
        )),
    }
}

/// UID of the pod that the certificate speaks for.
fn pod_of<'a>(peer: &'a Peer, trust_domain: &str) -> Result<&'a str, Refusal> {
    match &peer.identity {
        Some(Identity::Pod { trust_domain: theirs, uid, .. }) if theirs == trust_domain => Ok(uid),
        Some(other) => Err(Refusal::new(
            Code::NotYou,
            format!("the certificate is of {other}, which is no pod of {trust_domain}"),
            "present the certificate of a sidecar",
        )),
        None => Err(Refusal::new(Code::NotYou, "there is no client certificate of ours", "enrol, and present it")),
    }
}

async fn json<T: serde::de::DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let refuse = |cause: String| Refusal::new(Code::BadRequest, cause, "send what version 1 says");
    let body = read_body(body, MAX_BODY_BYTES).await.map_err(|error| refuse(error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests;
