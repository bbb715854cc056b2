use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use sluice_core::Clock;
use sluice_link::server::Shutdown;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Authorities, CertificateError, Lifetimes, from_secret, to_secret};
use crate::owner::Owner;

/// What one set of authorities is called.
#[derive(Debug, Clone, Copy)]
pub struct KeeperNames {
    /// Secret in which they lie.
    pub secret: &'static str,
    /// Common name of the authorities.
    pub authority: &'static str,
}

/// What a keeper works with.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// Where the Secret lies.
    pub namespace: String,
    /// Its name, and the authorities'.
    pub names: KeeperNames,
    /// When to make new ones.
    pub lifetimes: Lifetimes,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Whether this replica writes.
    pub leader: watch::Receiver<bool>,
    /// Whose the Secret is.
    pub owner: Owner,
}

/// Follows the Secret, and hands out what is in it; as the leader, makes and
/// renews it. Empty until the Secret is there. Ends with `shutdown`.
pub async fn keep(client: Client, mut keeper: Keeper, sender: watch::Sender<Arc<Authorities>>, shutdown: Shutdown) {
    let api: Api<Secret> = Api::namespaced(client, &keeper.namespace);
    let mut stored = std::pin::pin!(watch_object(api.clone(), keeper.names.secret).default_backoff());
    let mut tick = tokio::time::interval(keeper.pace());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // `None`: not known yet.
    let mut known: Option<Option<Secret>> = None;
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            item = stored.next() => match item {
                Some(Ok(secret)) => {
                    hand_out(&keeper, secret.as_ref(), &sender);
                    known = Some(secret);
                }
                Some(Err(cause)) => warn!(secret = keeper.names.secret, %cause, "the Secret cannot be watched"),
                None => return,
            },
            _ = tick.tick() => {}
            Ok(()) = keeper.leader.changed() => {}
        }
        let leads = *keeper.leader.borrow();
        if let Some(secret) = known.as_ref().filter(|_| leads) {
            match renew(&api, &keeper, secret.as_ref()).await {
                // What was written is handed out at once: the watch may lag.
                Ok(Some(secret)) => {
                    hand_out(&keeper, Some(&secret), &sender);
                    known = Some(Some(secret));
                }
                Ok(None) => {}
                Err(cause) => error!(secret = keeper.names.secret, cause = %format!("{cause:#}"), "not renewed"),
            }
        }
    }
}

impl Keeper {
    /// How often to look whether something is due.
    fn pace(&self) -> Duration {
        (self.lifetimes.rotate_after / 10).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

fn hand_out(keeper: &Keeper, secret: Option<&Secret>, sender: &watch::Sender<Arc<Authorities>>) {
    match secret.map_or_else(|| Ok(Authorities::default()), from_secret) {
        // What was good stays while the Secret is away: it is made anew by the
        // leader, and until then what it signed is still valid.
        Ok(authorities) if authorities.members().is_empty() => {}
        Ok(authorities) => {
            sender.send_replace(Arc::new(authorities));
        }
        Err(cause) => error!(secret = keeper.names.secret, %cause, "what was read before stays in use"),
    }
}

/// Writes what is due, against the version that was read. A conflict is no
/// error: the watch brings what somebody else wrote.
async fn renew(api: &Api<Secret>, keeper: &Keeper, secret: Option<&Secret>) -> anyhow::Result<Option<Secret>> {
    let authorities = secret.map_or_else(|| Ok::<_, CertificateError>(Authorities::default()), from_secret)?;
    let due = authorities.due(keeper.names.authority, keeper.clock.now(), &keeper.lifetimes)?;
    let mut metadata = secret.map(|secret| secret.metadata.clone()).unwrap_or_default();
    let adopted = keeper.owner.adopt(&mut metadata);
    if due.is_none() && !adopted {
        return Ok(None);
    }
    let due = due.unwrap_or(authorities);
    let new = to_secret(&due, &keeper.namespace, keeper.names.secret, metadata);
    let post = PostParams { field_manager: Some(crate::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let written = match secret {
        None => api.create(&post, &new).await,
        Some(_) => api.replace(keeper.names.secret, &post, &new).await,
    };
    match written {
        Ok(secret) => {
            info!(secret = keeper.names.secret, authorities = due.members().len(), "authorities written");
            Ok(Some(secret))
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}
