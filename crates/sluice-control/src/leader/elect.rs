use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use sluice_core::Clock;
use sluice_link::server::Shutdown;
use tokio::sync::watch;
use tracing::{info, warn};

use super::step::{Observed, Step, released, step};
use crate::FIELD_MANAGER;
use crate::owner::Owner;

const NAME: &str = "sluice-control";
/// How long a silent leader is waited for.
const LIFE: Duration = Duration::from_secs(15);
/// How long a leader that cannot write its Lease goes on: less than others
/// wait for it.
const DEADLINE: Duration = Duration::from_secs(10);
const PACE: Duration = Duration::from_secs(2);

/// One that wants to lead.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where the Lease lies.
    pub namespace: String,
    /// Its own name; no other replica has it.
    pub name: String,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Whose the Lease is.
    pub owner: Owner,
}

/// Says through `leads` whether this replica leads; gives the Lease up at
/// `shutdown`.
pub async fn elect(client: Client, candidate: Candidate, leads: watch::Sender<bool>, shutdown: Shutdown) {
    let api: Api<Lease> = Api::namespaced(client, &candidate.namespace);
    let mut observed = None;
    let mut renewed = None;
    loop {
        match tokio::time::timeout(PACE * 2, turn(&api, &candidate, &mut observed)).await {
            Ok(Ok(true)) => renewed = Some(candidate.clock.monotonic()),
            Ok(Ok(false)) => renewed = None,
            Ok(Err(cause)) => warn!(%cause, "the leader's Lease cannot be read or written"),
            Err(_) => warn!("the leader's Lease: no answer in time"),
        }
        let now = candidate.clock.monotonic();
        let leading = renewed.is_some_and(|renewed| now.saturating_sub(renewed) < DEADLINE);
        leads.send_if_modified(|present| {
            let differs = *present != leading;
            if differs {
                info!(leading, candidate = candidate.name, "leadership");
                *present = leading;
            }
            differs
        });
        tokio::select! {
            () = shutdown.requested() => break,
            () = tokio::time::sleep(PACE) => {}
        }
    }
    let led = *leads.borrow();
    leads.send_replace(false);
    if led {
        let _ = tokio::time::timeout(PACE, give_up(&api, &candidate)).await;
    }
}

/// Whether this replica leads after its turn.
async fn turn(api: &Api<Lease>, candidate: &Candidate, observed: &mut Option<Observed>) -> kube::Result<bool> {
    let present = api.get_opt(NAME).await?;
    let spec = present.as_ref().and_then(|lease| lease.spec.as_ref());
    let (now, monotonic) = (candidate.clock.now(), candidate.clock.monotonic());
    let Step::Write(spec) = step(spec, &candidate.name, now, monotonic, observed, LIFE) else { return Ok(false) };
    let post = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let written = match present {
        None => {
            let mut metadata = ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(candidate.namespace.clone()),
                ..ObjectMeta::default()
            };
            candidate.owner.adopt(&mut metadata);
            api.create(&post, &Lease { metadata, spec: Some(*spec) }).await
        }
        Some(mut lease) => {
            candidate.owner.adopt(&mut lease.metadata);
            api.replace(NAME, &post, &Lease { spec: Some(*spec), ..lease }).await
        }
    };
    match written {
        Ok(_) => Ok(true),
        // Another was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(cause) => Err(cause),
    }
}

async fn give_up(api: &Api<Lease>, candidate: &Candidate) -> kube::Result<()> {
    let Some(lease) = api.get_opt(NAME).await? else { return Ok(()) };
    let Some(spec) = lease.spec.as_ref().filter(|spec| spec.holder_identity.as_deref() == Some(&candidate.name)) else {
        return Ok(());
    };
    let spec = Some(released(spec, candidate.clock.now()));
    api.replace(NAME, &PostParams::default(), &Lease { spec, ..lease }).await.map(drop)
}
