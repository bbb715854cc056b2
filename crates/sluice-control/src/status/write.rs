use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sluice_core::Clock;
use sluice_k8s::crds::{ClusterGatewayPolicy, GatewayPolicy, IdentityProvider};
use sluice_link::server::Shutdown;
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use super::judge;
use crate::FIELD_MANAGER;
use crate::enrol::{pod_of, report_of};
use crate::metrics::Metrics;
use crate::world::{Caches, World};

/// Between two rounds: edits in a burst are judged together.
const PACE: Duration = Duration::from_millis(250);
/// A round without a reason, in case one was missed.
const AT_LEAST: Duration = Duration::from_secs(30);

/// What the writer of statuses works with.
#[derive(Clone)]
pub struct Writer {
    /// The API server.
    pub client: Client,
    /// Objects with their present status, and reports.
    pub caches: Caches,
    /// What is judged.
    pub world: watch::Receiver<Arc<World>>,
    /// Woken after each change.
    pub touched: Arc<Notify>,
    /// Whether this replica writes.
    pub leader: watch::Receiver<bool>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Keeps the statuses right, as the leader. Ends with `shutdown`.
pub async fn write_statuses(mut writer: Writer, shutdown: Shutdown) {
    if !writer.caches.filled().await {
        return;
    }
    loop {
        if *writer.leader.borrow_and_update() {
            writer.round().await;
        }
        tokio::select! {
            () = shutdown.requested() => return,
            () = writer.touched.notified() => {}
            changed = writer.leader.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AT_LEAST) => {}
        }
        tokio::time::sleep(PACE).await;
    }
}

impl Writer {
    async fn round(&self) {
        let world = self.world.borrow().clone();
        let reports = self
            .caches
            .leases()
            .iter()
            .filter_map(|lease| Some((pod_of(lease)?.to_owned(), report_of(lease)?)))
            .collect();
        // Compiling takes a while, and the webhook must not wait for it.
        let judged = tokio::task::spawn_blocking({
            let world = world.clone();
            move || judge(&world, &reports)
        });
        let Ok(drafts) = judged.await else {
            warn!("the statuses could not be judged; trying again");
            return;
        };
        self.metrics.judged(&drafts);
        let now = self.clock.now();
        // What the cache shows and what was judged must be one thing.
        let found = |name: &str, metadata: &ObjectMeta| {
            let read = world.documents.get(name)?;
            let same = metadata.uid.as_ref() == Some(&read.uid) && metadata.generation == read.generation;
            drafts.get(name).filter(|_| same)
        };
        for policy in self.caches.policies() {
            let metadata = &policy.metadata;
            let (Some(name), Some(namespace)) = (&metadata.name, &metadata.namespace) else { continue };
            let Some(draft) = found(&format!("GatewayPolicy/{namespace}/{name}"), metadata) else { continue };
            let status = draft.policy(policy.status.as_ref(), now);
            if policy.status.as_ref() != Some(&status) {
                self.apply(namespaced::<GatewayPolicy>(&self.client, namespace), name, metadata.uid.as_ref(), &status)
                    .await;
            }
        }
        for guard in self.caches.guards() {
            let metadata = &guard.metadata;
            let Some(name) = &metadata.name else { continue };
            let Some(draft) = found(&format!("ClusterGatewayPolicy/{name}"), metadata) else { continue };
            let status = draft.policy(guard.status.as_ref(), now);
            if guard.status.as_ref() != Some(&status) {
                self.apply(global::<ClusterGatewayPolicy>(&self.client), name, metadata.uid.as_ref(), &status).await;
            }
        }
        for provider in self.caches.providers() {
            let metadata = &provider.metadata;
            let Some(name) = &metadata.name else { continue };
            let Some(draft) = found(&format!("IdentityProvider/{name}"), metadata) else { continue };
            let status = draft.provider(provider.status.as_ref(), now);
            if provider.status.as_ref() != Some(&status) {
                self.apply(global::<IdentityProvider>(&self.client), name, metadata.uid.as_ref(), &status).await;
            }
        }
    }

    /// Server-side apply of the status as a whole, to this very object.
    async fn apply<K>(&self, api: Api<K>, name: &str, uid: Option<&String>, status: &impl Serialize)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "uid": uid},
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(name, &parameters, &Patch::Apply(&body)).await {
            Ok(_) => debug!(kind = %K::kind(&()), name, "status written"),
            // It went, or another took its name: the watch says so soon.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(cause) => warn!(kind = %K::kind(&()), name, %cause, "the status cannot be written"),
        }
    }
}

fn namespaced<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(
    client: &Client,
    namespace: &str,
) -> Api<K> {
    Api::namespaced(client.clone(), namespace)
}

fn global<K: Resource<DynamicType = (), Scope = ClusterResourceScope>>(client: &Client) -> Api<K> {
    Api::all(client.clone())
}
