//! Objects as a client reads them. The spec stays JSON: one object that cannot
//! be read must not stop a watch of all the others. [`document`] hands it to
//! `sluice-policy`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{PolicyStatus, ProviderStatus, document};

macro_rules! object {
    ($(#[$doc:meta])* $name:ident, $plural:literal, $scope:ty, $status:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// Always `sluice.dev/v1alpha1`.
            #[serde(default = "api_version")]
            pub api_version: String,
            /// Always the kind itself.
            #[serde(default)]
            pub kind: String,
            /// Metadata.
            pub metadata: ObjectMeta,
            /// As it was written.
            #[serde(default)]
            pub spec: Value,
            /// As the control plane wrote it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub status: Option<$status>,
        }

        impl $name {
            /// What `sluice-policy` reads: name, namespace and spec.
            pub fn document(&self) -> Value {
                document(&json!({
                    "kind": <Self as Resource>::KIND,
                    "metadata": {"name": self.metadata.name, "namespace": self.metadata.namespace},
                    "spec": self.spec,
                }))
            }
        }

        impl Resource for $name {
            const API_VERSION: &'static str = "sluice.dev/v1alpha1";
            const GROUP: &'static str = "sluice.dev";
            const KIND: &'static str = stringify!($name);
            const VERSION: &'static str = "v1alpha1";
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = $scope;
        }

        impl Metadata for $name {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

object! {
    /// Who vouches for a token.
    IdentityProvider, "identityproviders", ClusterResourceScope, ProviderStatus
}
object! {
    /// What agents of a namespace may do.
    GatewayPolicy, "gatewaypolicies", NamespaceResourceScope, PolicyStatus
}
object! {
    /// What no agent may do.
    ClusterGatewayPolicy, "clustergatewaypolicies", ClusterResourceScope, PolicyStatus
}

fn api_version() -> String {
    "sluice.dev/v1alpha1".to_owned()
}
