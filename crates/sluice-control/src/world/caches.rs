use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod as KubernetesPod};
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_k8s::crds::{ClusterGatewayPolicy, GatewayPolicy, IdentityProvider};
use sluice_k8s::names;
use sluice_link::server::Shutdown;
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};

use super::World;
use super::read::{Pod, Read, read};

/// How long changes are collected before a new world is made.
const COLLECT: Duration = Duration::from_millis(50);

/// The caches of this replica.
#[derive(Clone)]
pub struct Caches {
    policies: Store<GatewayPolicy>,
    guards: Store<ClusterGatewayPolicy>,
    providers: Store<IdentityProvider>,
    pods: Store<KubernetesPod>,
    namespaces: Store<Namespace>,
    leases: Store<Lease>,
    changed: Arc<Notify>,
    filled: watch::Receiver<bool>,
    /// Documents as they were read, so that each is read once.
    seen: Arc<Mutex<HashMap<String, Arc<Read>>>>,
}

impl Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caches").field("pods", &self.pods.len()).finish_non_exhaustive()
    }
}

impl Caches {
    /// Starts to watch. `namespace`: where enrolments lie. Ends with `shutdown`.
    pub fn start(client: &Client, namespace: &str, shutdown: &Shutdown) -> Self {
        let changed = Arc::new(Notify::new());
        let injected = watcher::Config::default().labels(&format!("{}=true", names::INJECTED));
        let all = watcher::Config::default;
        let (c, n, s) = (client, &changed, shutdown);
        let (filled, is_filled) = watch::channel(false);
        let caches = Self {
            policies: follow(Api::all(c.clone()), all(), n, s),
            guards: follow(Api::all(c.clone()), all(), n, s),
            providers: follow(Api::all(c.clone()), all(), n, s),
            pods: follow(Api::all(c.clone()), injected, n, s),
            namespaces: follow(Api::all(c.clone()), all(), n, s),
            leases: follow(Api::namespaced(c.clone(), namespace), all(), n, s),
            changed,
            filled: is_filled,
            seen: Arc::default(),
        };
        let stores = caches.clone();
        tokio::spawn(async move {
            if stores.wait().await.is_ok() {
                info!("the caches are filled");
                filled.send_replace(true);
            }
        });
        caches
    }

    /// Waits until each cache has been filled once. `false`: they never will,
    /// since the process ends.
    pub async fn filled(&self) -> bool {
        self.filled.clone().wait_for(|filled| *filled).await.is_ok()
    }

    /// Whether each cache has been filled once, now and later.
    pub fn fills(&self) -> watch::Receiver<bool> {
        self.filled.clone()
    }

    /// To be called once: of several that wait for one store, only the last is
    /// ever woken.
    async fn wait(&self) -> Result<(), WriterDropped> {
        self.policies.wait_until_ready().await?;
        self.guards.wait_until_ready().await?;
        self.providers.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.namespaces.wait_until_ready().await?;
        self.leases.wait_until_ready().await
    }

    /// A pod by its UID.
    pub fn pod(&self, uid: &str) -> Option<Arc<KubernetesPod>> {
        self.pods.find(|pod| pod.metadata.uid.as_deref() == Some(uid))
    }

    /// Enrolments, and the leader's Lease.
    pub fn leases(&self) -> Vec<Arc<Lease>> {
        self.leases.state()
    }

    /// Policies as they are now, status too.
    pub fn policies(&self) -> Vec<Arc<GatewayPolicy>> {
        self.policies.state()
    }

    /// Guard rails as they are now, status too.
    pub fn guards(&self) -> Vec<Arc<ClusterGatewayPolicy>> {
        self.guards.state()
    }

    /// Providers as they are now, status too.
    pub fn providers(&self) -> Vec<Arc<IdentityProvider>> {
        self.providers.state()
    }

    /// Makes a new [`World`] whenever something that matters changed, and pokes
    /// `touched` after every change, of a Lease or a status too. Ends with
    /// `shutdown`.
    pub async fn publish(
        &self,
        mut bundles: watch::Receiver<BTreeMap<String, String>>,
        world: watch::Sender<Arc<World>>,
        touched: Arc<Notify>,
        shutdown: Shutdown,
    ) {
        if !self.filled().await {
            return;
        }
        loop {
            let new = self.world(bundles.borrow_and_update().clone());
            world.send_if_modified(|present| {
                let differs = **present != new;
                if differs {
                    debug!(documents = new.documents.len(), pods = new.pods.len(), "the world changed");
                    *present = Arc::new(new);
                }
                differs
            });
            touched.notify_one();
            tokio::select! {
                () = shutdown.requested() => return,
                () = self.changed.notified() => {}
                changed = bundles.changed() => if changed.is_err() { return },
            }
            tokio::time::sleep(COLLECT).await;
        }
    }

    fn world(&self, bundles: BTreeMap<String, String>) -> World {
        let mut documents = BTreeMap::new();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = HashMap::new();
        let mut take = |uid: String, generation: Option<i64>, document: &dyn Fn() -> Value| {
            let read = match seen.get(&uid) {
                Some(read) if generation.is_some() && read.generation == generation => read.clone(),
                _ => Arc::new(read(&document(), &uid, generation)),
            };
            kept.insert(uid, read.clone());
            documents.insert(read.name.clone(), read);
        };
        for policy in self.policies.state() {
            take(policy.uid().unwrap_or_default(), policy.metadata.generation, &|| policy.document());
        }
        for guard in self.guards.state() {
            take(guard.uid().unwrap_or_default(), guard.metadata.generation, &|| guard.document());
        }
        for provider in self.providers.state() {
            take(provider.uid().unwrap_or_default(), provider.metadata.generation, &|| provider.document());
        }
        *seen = kept;
        drop(seen);
        World {
            documents,
            pods: self.pods.state().iter().filter_map(|pod| Pod::of(pod)).collect(),
            namespaces: self
                .namespaces
                .state()
                .iter()
                .map(|one| (one.name_any(), one.metadata.labels.clone().unwrap_or_default()))
                .collect(),
            bundles,
        }
    }
}

/// A cache of one kind. Only what is used is kept: who manages which field is
/// not.
fn follow<K>(api: Api<K>, config: watcher::Config, changed: &Arc<Notify>, shutdown: &Shutdown) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    let (store, writer) = reflector::store::<K>();
    let (changed, shutdown) = (changed.clone(), shutdown.clone());
    tokio::spawn(async move {
        let stream =
            watcher(api, config).default_backoff().modify(|object| object.managed_fields_mut().clear()).reflect(writer);
        let mut stream = std::pin::pin!(stream);
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                event = stream.next() => match event {
                    Some(Ok(_)) => changed.notify_one(),
                    Some(Err(cause)) => warn!(kind = %K::kind(&()), %cause, "a watch broke; it begins anew"),
                    None => return,
                },
            }
        }
    });
    store
}
