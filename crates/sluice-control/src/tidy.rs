//! What the leader keeps right in the cluster: the webhooks' `caBundle` and the
//! path of the one for policies, the roots for everybody, and no enrolment of a pod that is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use sluice_core::Clock;
use sluice_link::server::Shutdown;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::FIELD_MANAGER;
use crate::certificates::{Authorities, Lifetimes};
use crate::enrol::is_orphaned;
use crate::owner::Owner;
use crate::webhook::caller;
use crate::world::{Caches, World};

const PACE: Duration = Duration::from_secs(10);
/// While the API server has not been told whom to believe.
const EAGER: Duration = Duration::from_secs(1);
/// Enrolments removed in one round.
const MOST: usize = 100;
/// ConfigMap with the roots of workloads, for whoever must believe the
/// collector or the control plane and is no pod of ours.
const ROOTS: &str = "sluice-roots";
const ROOTS_KEY: &str = "ca.crt";

/// What tidying works with.
pub(crate) struct Tidy {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// Name of both webhook configurations.
    pub(crate) webhooks: String,
    pub(crate) caches: Caches,
    pub(crate) world: watch::Receiver<Arc<World>>,
    /// Those whom the API server must believe.
    pub(crate) authorities: watch::Receiver<Arc<Authorities>>,
    /// When each of them is in use.
    pub(crate) lifetimes: Lifetimes,
    /// Those of the workloads.
    pub(crate) workloads: watch::Receiver<Arc<Authorities>>,
    pub(crate) leader: watch::Receiver<bool>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) owner: Owner,
    /// Set, for good, when every `caBundle` has been seen to be right.
    pub(crate) announced: Arc<AtomicBool>,
}

impl Tidy {
    /// Goes on until `shutdown`. Followers only look.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        if !self.caches.filled().await {
            return;
        }
        loop {
            let leads = *self.leader.borrow_and_update();
            let authorities = self.authorities.borrow_and_update().clone();
            let workloads = self.workloads.borrow_and_update().roots_pem();
            let announced = self.announced.load(Ordering::Acquire);
            let signer = authorities.signer(self.clock.now(), &self.lifetimes);
            if let Some(path) = signer.map(caller::path)
                && (leads || !announced)
            {
                match self.announce(&authorities.roots_pem(), &path, leads).await {
                    Ok(true) => self.announced.store(true, Ordering::Release),
                    Ok(false) => {}
                    Err(cause) => warn!(%cause, "the webhooks' configuration cannot be read or written; trying again"),
                }
            }
            if leads {
                if !workloads.is_empty()
                    && let Err(cause) = self.roots(&workloads).await
                {
                    warn!(config_map = ROOTS, %cause, "the roots cannot be published; trying again");
                }
                self.orphans().await;
            }
            let pace = if self.announced.load(Ordering::Acquire) { PACE } else { EAGER };
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(pace) => {}
                changed = self.leader.changed() => if changed.is_err() { return },
                changed = self.authorities.changed() => if changed.is_err() { return },
                changed = self.workloads.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Whether every `caBundle` is right; as the leader, makes it so, and writes
    /// the path for policies. Which path that is the leader alone decides: one
    /// of another version or with other lifetimes would wait for its own for
    /// ever. A configuration that is not there needs none.
    async fn announce(&self, roots: &str, path: &str, write: bool) -> kube::Result<bool> {
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let mut right = true;
        if let Some(present) = mutating.get_opt(&self.webhooks).await? {
            let hooks = present.webhooks.unwrap_or_default();
            let present = hooks.iter().map(|one| (one.name.as_str(), &one.client_config));
            if let Some(patch) = client_patch(present, roots, None) {
                right &= write;
                if write {
                    mutating.patch(&self.webhooks, &written(), &Patch::Strategic(patch)).await?;
                    info!("caBundle of the injection webhooks written");
                }
            }
        }
        if let Some(present) = validating.get_opt(&self.webhooks).await? {
            let hooks = present.webhooks.unwrap_or_default();
            let present = hooks.iter().map(|one| (one.name.as_str(), &one.client_config));
            if let Some(patch) = client_patch(present, roots, write.then_some(path)) {
                right &= write;
                if write {
                    validating.patch(&self.webhooks, &written(), &Patch::Strategic(patch)).await?;
                    info!("caBundle and path of the validation webhook written");
                }
            }
        }
        Ok(right)
    }

    async fn roots(&self, roots: &str) -> kube::Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let present = api.get_opt(ROOTS).await?;
        let Some(body) = roots_patch(present.as_ref(), roots, &self.owner) else { return Ok(()) };
        api.patch(ROOTS, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&body)).await?;
        info!(config_map = ROOTS, "roots of the workloads published");
        Ok(())
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

/// What to apply, if anything, so that the ConfigMap holds these roots.
fn roots_patch(present: Option<&ConfigMap>, roots: &str, owner: &Owner) -> Option<Value> {
    let mut metadata = present.map(|map| map.metadata.clone()).unwrap_or_default();
    let held = present.and_then(|map| map.data.as_ref()?.get(ROOTS_KEY));
    if !owner.adopt(&mut metadata) && held.is_some_and(|held| held == roots) {
        return None;
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": ROOTS,
            "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER},
            "ownerReferences": owner.reference().into_iter().collect::<Vec<_>>(),
        },
        "data": {ROOTS_KEY: roots},
    }))
}

/// What to write, if anything: `caBundle` of each webhook, and `path` where it
/// is given; merged by the webhook's name, so that all else stays as the chart
/// wrote it.
fn client_patch<'a>(
    present: impl Iterator<Item = (&'a str, &'a WebhookClientConfig)> + Clone,
    roots: &str,
    path: Option<&str>,
) -> Option<Value> {
    let right = |config: &WebhookClientConfig| {
        let asks_there =
            config.service.as_ref().is_none_or(|service| path.is_none() || service.path.as_deref() == path);
        config.ca_bundle.as_ref().is_some_and(|bundle| bundle.0 == roots.as_bytes()) && asks_there
    };
    if present.clone().all(|(_, config)| right(config)) {
        return None;
    }
    let bundle = ByteString(roots.as_bytes().to_vec());
    let hooks = present.map(|(name, config)| {
        let mut client = json!({"caBundle": &bundle});
        if let (Some(path), Some(_)) = (path, &config.service) {
            client["service"] = json!({"path": path});
        }
        json!({"name": name, "clientConfig": client})
    });
    Some(json!({"webhooks": hooks.collect::<Vec<Value>>()}))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::admissionregistration::v1::ServiceReference;

    use super::*;

    fn config(bundle: Option<&str>, path: Option<&str>) -> WebhookClientConfig {
        let service =
            ServiceReference { name: "s".into(), namespace: "n".into(), path: path.map(str::to_owned), port: None };
        let ca_bundle = bundle.map(|bundle| ByteString(bundle.as_bytes().to_vec()));
        WebhookClientConfig { ca_bundle, service: Some(service), url: None }
    }

    #[test]
    fn a_ca_bundle_is_written_once() {
        let (right, none) = (config(Some("PEM"), Some("/inject")), config(None, Some("/inject")));
        assert_eq!(client_patch([("a", &right)].into_iter(), "PEM", None), None);
        assert_eq!(
            client_patch([("a", &right), ("b", &none)].into_iter(), "PEM", None),
            Some(json!({"webhooks": [
                {"name": "a", "clientConfig": {"caBundle": "UEVN"}},
                {"name": "b", "clientConfig": {"caBundle": "UEVN"}},
            ]}))
        );
    }

    #[test]
    fn the_path_for_policies_is_written_with_it() {
        let right = config(Some("PEM"), Some("/validate/s"));
        assert_eq!(client_patch([("a", &right)].into_iter(), "PEM", Some("/validate/s")), None);
        for wrong in [config(Some("PEM"), None), config(Some("PEM"), Some("/validate")), config(None, None)] {
            let patch = client_patch([("a", &wrong)].into_iter(), "PEM", Some("/validate/s"));
            let written = json!({"caBundle": "UEVN", "service": {"path": "/validate/s"}});
            assert_eq!(patch, Some(json!({"webhooks": [{"name": "a", "clientConfig": written}]})));
        }
    }

    #[test]
    fn roots_are_published_once_and_put_right_when_changed() {
        let owner = Owner::of("u");
        let body = roots_patch(None, "PEM", &owner).expect("something to write");
        assert_eq!(body["data"], json!({"ca.crt": "PEM"}));
        assert_eq!(body["metadata"]["ownerReferences"][0]["uid"], json!("u"));
        let written: ConfigMap = serde_json::from_value(body).expect("a ConfigMap");
        assert_eq!(roots_patch(Some(&written), "PEM", &owner), None);
        assert!(roots_patch(Some(&written), "PEM2", &owner).is_some(), "new roots");
        assert!(roots_patch(Some(&written), "PEM", &Owner::of("u2")).is_some(), "a new owner");
        let emptied = ConfigMap { data: None, ..written };
        assert!(roots_patch(Some(&emptied), "PEM", &owner).is_some(), "somebody emptied it");
    }
}
