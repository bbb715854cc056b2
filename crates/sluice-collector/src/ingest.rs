//! Takes batches: `POST /v1/ingest?…`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use sluice_link::server::{Peer, read_body};
use sluice_wire::{BatchStart, Code, INGEST_PATH, Identity, IngestAnswer, IngestRefusal, MAX_BATCH_BYTES, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::server::{Answer, refuse, text};
use crate::store::{Accepted, Store};

/// Answers sidecars and the control plane.
#[derive(Debug)]
pub struct Ingest {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    trust_domain: String,
    /// Bodies in memory at a time.
    bodies: Semaphore,
    /// Who has a batch under way.
    busy: Mutex<HashMap<Identity, Arc<Semaphore>>>,
}

/// Bodies of a megabyte in memory at a time.
const BODIES: usize = 32;
/// Of one sidecar: one that is stored, and one that comes in.
const OF_ONE: usize = 2;
/// Of all replicas of the control plane, which have one identity.
const OF_CONTROL: usize = 8;

impl Ingest {
    /// Takes what comes from `trust_domain`.
    pub fn new(store: Arc<Store>, metrics: Arc<Metrics>, trust_domain: String) -> Self {
        Self { store, metrics, trust_domain, bodies: Semaphore::new(BODIES), busy: Mutex::default() }
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Answer {
        if request.uri().path() != INGEST_PATH || request.method() != Method::POST {
            return refuse(&Refusal::new(Code::NotFound, "there is nothing here", format!("POST to {INGEST_PATH}")));
        }
        let answer = self.take(peer, request).await;
        self.metrics.ingested(&answer.as_ref().map(|(_, accepted)| accepted.clone()).map_err(Clone::clone));
        match answer {
            Ok((start, accepted)) => {
                let said = IngestAnswer { epoch: start.epoch, acknowledged: accepted.acknowledged };
                json(StatusCode::OK, &said)
            }
            Err(refusal) => json(status(&refusal), &refusal),
        }
    }

    async fn take(&self, peer: Peer, request: Request<Incoming>) -> Result<(BatchStart, Accepted), IngestRefusal> {
        let identity = self.identity(&peer)?;
        let start: BatchStart = request
            .uri()
            .query()
            .unwrap_or_default()
            .parse()
            .map_err(|error| IngestRefusal::Malformed { message: format!("{error}") })?;
        let _turn = self.turn(&identity)?;
        let Ok(_body) = self.bodies.acquire().await else {
            return Err(IngestRefusal::Full { message: "the collector ends; send it again".to_owned() });
        };
        let bytes = read_body(request.into_body(), MAX_BATCH_BYTES)
            .await
            .map_err(|error| IngestRefusal::Malformed { message: error.to_string() })?;
        let (store, who) = (self.store.clone(), identity.clone());
        let stored = tokio::task::spawn_blocking(move || store.accept(&who, &start, &bytes)).await;
        let answer = stored.unwrap_or_else(|error| Err(IngestRefusal::Full { message: error.to_string() }));
        match &answer {
            Ok(accepted) if accepted.leaves > 0 => {
                tracing::debug!(%identity, epoch = %start.epoch, acknowledged = accepted.acknowledged, "stored");
            }
            Ok(_) | Err(IngestRefusal::Gap { .. }) => info!(%identity, %start, ?answer, "sent again, or too early"),
            Err(refusal) => warn!(%identity, %start, ?refusal, "refused"),
        }
        answer.map(|accepted| (start, accepted))
    }

    fn identity(&self, peer: &Peer) -> Result<Identity, IngestRefusal> {
        let not_yours = |message: String| IngestRefusal::NotYours { message };
        let identity = peer.identity.clone().ok_or_else(|| {
            not_yours("the client certificate names nobody of ours; fix: enrol with the control plane".to_owned())
        })?;
        if identity.trust_domain() != self.trust_domain {
            return Err(not_yours(format!("{identity} is not of trust domain {}", self.trust_domain)));
        }
        Ok(identity)
    }

    /// Nobody holds more than a few bodies, so that none keeps others out.
    fn turn(&self, identity: &Identity) -> Result<OwnedSemaphorePermit, IngestRefusal> {
        let most = if identity.pod_uid().is_some() { OF_ONE } else { OF_CONTROL };
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|known, turns| known == identity || Arc::strong_count(turns) > 1);
        let turns = busy.entry(identity.clone()).or_insert_with(|| Arc::new(Semaphore::new(most)));
        turns.clone().try_acquire_owned().map_err(|_| IngestRefusal::Full {
            message: format!("{most} batches of {identity} are under way; fix: send one after the other"),
        })
    }
}

fn status(refusal: &IngestRefusal) -> StatusCode {
    match refusal {
        IngestRefusal::Gap { .. } | IngestRefusal::Fork { .. } => StatusCode::CONFLICT,
        IngestRefusal::BadSignature { .. } | IngestRefusal::Malformed { .. } | IngestRefusal::Other => {
            StatusCode::BAD_REQUEST
        }
        IngestRefusal::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
        IngestRefusal::NotYours { .. } => StatusCode::FORBIDDEN,
    }
}

fn json(status: StatusCode, body: &impl serde::Serialize) -> Answer {
    text(status, "application/json", serde_json::to_vec(body).unwrap_or_default())
}
