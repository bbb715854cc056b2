//! Whose the objects are that the control plane makes while it runs: they go
//! with the ConfigMap of the injection settings, which the chart makes, so that
//! an uninstallation leaves no key, Lease or root behind.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Api, Client};
use sluice_k8s::names::INJECTION_CONFIG;
use tracing::warn;

const KIND: &str = "ConfigMap";

/// The owner of what is made; none where the ConfigMap is not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Owner(Option<OwnerReference>);

impl Owner {
    /// That ConfigMap, with this UID.
    pub fn of(uid: &str) -> Self {
        Self(Some(OwnerReference {
            api_version: "v1".to_owned(),
            kind: KIND.to_owned(),
            name: INJECTION_CONFIG.to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        }))
    }

    /// Asks the API server. Without an answer there is no owner, and a warning.
    pub async fn find(client: &Client, namespace: &str) -> Self {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        match api.get_opt(INJECTION_CONFIG).await {
            Ok(Some(ConfigMap { metadata: ObjectMeta { uid: Some(uid), .. }, .. })) => Self::of(&uid),
            Ok(_) => {
                warn!(
                    namespace,
                    config_map = INJECTION_CONFIG,
                    "not there: what is made here outlives an uninstallation"
                );
                Self::default()
            }
            Err(cause) => {
                warn!(namespace, config_map = INJECTION_CONFIG, %cause, "cannot be read: what is made here outlives an uninstallation");
                Self::default()
            }
        }
    }

    /// The reference, as it is written.
    pub fn reference(&self) -> Option<&OwnerReference> {
        self.0.as_ref()
    }

    /// Makes an object the owner's. Says whether that changed anything: an
    /// owner that was made anew has another UID.
    pub fn adopt(&self, metadata: &mut ObjectMeta) -> bool {
        let Some(owner) = &self.0 else { return false };
        let references = metadata.owner_references.get_or_insert_default();
        if references.contains(owner) {
            return false;
        }
        references.retain(|one| (one.kind.as_str(), one.name.as_str()) != (KIND, INJECTION_CONFIG));
        references.push(owner.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_adopted_once() {
        let mut metadata = ObjectMeta::default();
        assert!(Owner::of("u1").adopt(&mut metadata));
        assert!(!Owner::of("u1").adopt(&mut metadata));
        assert_eq!(metadata.owner_references.as_ref().map(Vec::len), Some(1));
    }

    #[test]
    fn an_owner_made_anew_takes_the_place_of_the_one_before_and_of_no_other() {
        let foreign = OwnerReference { kind: KIND.to_owned(), name: "another".to_owned(), ..OwnerReference::default() };
        let mut metadata = ObjectMeta { owner_references: Some(vec![foreign.clone()]), ..ObjectMeta::default() };
        assert!(Owner::of("u1").adopt(&mut metadata));
        assert!(Owner::of("u2").adopt(&mut metadata));
        let references = metadata.owner_references.expect("references");
        assert_eq!(references, [foreign, Owner::of("u2").0.expect("a reference")]);
    }

    #[test]
    fn without_an_owner_nothing_is_written() {
        let mut metadata = ObjectMeta::default();
        assert!(!Owner::default().adopt(&mut metadata));
        assert_eq!(metadata, ObjectMeta::default());
    }
}
