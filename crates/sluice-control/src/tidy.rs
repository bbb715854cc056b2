//! What the leader keeps right in the cluster: the webhooks' `caBundle`, and no
//! enrolment of a pod that is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use sluice_core::Clock;
use sluice_k8s::webhooks::CONFIGURATION;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::FIELD_MANAGER;
use crate::certificates::Authorities;
use crate::enrol::is_orphaned;
use crate::shutdown::Shutdown;
use crate::world::{Caches, World};

const PACE: Duration = Duration::from_secs(10);
/// Enrolments removed in one round.
const MOST: usize = 100;

/// What tidying works with.
pub(crate) struct Tidy {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) caches: Caches,
    pub(crate) world: watch::Receiver<Arc<World>>,
    /// Those whom the API server must believe.
    pub(crate) authorities: watch::Receiver<Arc<Authorities>>,
    pub(crate) leader: watch::Receiver<bool>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Tidy {
    /// Goes on until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        self.caches.filled().await;
        loop {
            let leads = *self.leader.borrow_and_update();
            let roots = self.authorities.borrow_and_update().roots_pem();
            if leads {
                if !roots.is_empty() {
                    self.ca_bundles(&roots).await;
                }
                self.orphans().await;
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(PACE) => {}
                changed = self.leader.changed() => if changed.is_err() { return },
                changed = self.authorities.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn ca_bundles(&self, roots: &str) {
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let result = async {
            if let Some(present) = mutating.get_opt(CONFIGURATION).await? {
                let hooks = present.webhooks.unwrap_or_default();
                let present = hooks.iter().map(|one| (one.name.as_str(), one.client_config.ca_bundle.as_ref()));
                if let Some(patch) = ca_patch(present, roots) {
                    mutating.patch(CONFIGURATION, &written(), &Patch::Strategic(patch)).await?;
                    info!("caBundle of the injection webhooks written");
                }
            }
            if let Some(present) = validating.get_opt(CONFIGURATION).await? {
                let hooks = present.webhooks.unwrap_or_default();
                let present = hooks.iter().map(|one| (one.name.as_str(), one.client_config.ca_bundle.as_ref()));
                if let Some(patch) = ca_patch(present, roots) {
                    validating.patch(CONFIGURATION, &written(), &Patch::Strategic(patch)).await?;
                    info!("caBundle of the validation webhook written");
                }
            }
            Ok::<(), kube::Error>(())
        };
        if let Err(cause) = result.await {
            warn!(%cause, "the webhooks' caBundle cannot be written; trying again");
        }
    }

    async fn orphans(&self) {
        let pods: BTreeSet<String> = self.world.borrow().pods.keys().cloned().collect();
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let now = self.clock.now();
        let leases = self.caches.leases();
        for lease in leases.iter().filter(|lease| is_orphaned(lease, &pods, now)).take(MOST) {
            let Some(name) = &lease.metadata.name else { continue };
            // Written meanwhile: its pod lives.
            let parameters = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: lease.metadata.uid.clone(),
                    resource_version: lease.metadata.resource_version.clone(),
                }),
                ..DeleteParams::default()
            };
            match api.delete(name, &parameters).await {
                Ok(_) => info!(lease = name, "enrolment of a pod that is gone removed"),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(cause) => warn!(lease = name, %cause, "an enrolment cannot be removed"),
            }
        }
    }
}

fn written() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// What to write, if anything: `caBundle` of each webhook, merged by its name,
/// so that all else stays as the chart wrote it.
fn ca_patch<'a>(
    present: impl Iterator<Item = (&'a str, Option<&'a ByteString>)> + Clone,
    roots: &str,
) -> Option<Value> {
    let right = |bundle: Option<&ByteString>| bundle.is_some_and(|bundle| bundle.0 == roots.as_bytes());
    if present.clone().all(|(_, bundle)| right(bundle)) {
        return None;
    }
    let bundle = ByteString(roots.as_bytes().to_vec());
    let hooks: Vec<Value> =
        present.map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": &bundle}})).collect();
    Some(json!({"webhooks": hooks}))
}
