//! What is read of a cluster, before anything is judged.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use sluice_k8s::crds::{ClusterGatewayPolicy, GatewayPolicy, IdentityProvider};
use sluice_k8s::inject::InjectionSettings;
use sluice_wire::TrailSummary;

use super::templates::Unheard;
use crate::collector::Shown;

/// `Err`: it could not be read, and why.
pub(super) type Read<T> = Result<T, String>;

/// All that is judged.
pub(super) struct Facts {
    /// Namespace of Sluice.
    pub(super) namespace: String,
    /// Minor version of the API server's Kubernetes 1.x.
    pub(super) minor: Read<u32>,
    pub(super) deployments: Read<Vec<Deployment>>,
    /// `None`: the ConfigMap is not there.
    pub(super) settings: Read<Option<InjectionSettings>>,
    /// Roots that the control plane publishes, PEM.
    pub(super) roots: Read<String>,
    pub(super) mutating: Read<Vec<MutatingWebhookConfiguration>>,
    pub(super) validating: Read<Vec<ValidatingWebhookConfiguration>>,
    pub(super) definitions: Read<Vec<CustomResourceDefinition>>,
    pub(super) asserted: Read<Vec<ValidatingAdmissionPolicy>>,
    pub(super) bindings: Read<Vec<ValidatingAdmissionPolicyBinding>>,
    pub(super) namespaces: Read<Vec<Namespace>>,
    pub(super) pods: Read<Vec<Pod>>,
    pub(super) unheard: Read<Vec<Unheard>>,
    pub(super) policies: Read<Vec<GatewayPolicy>>,
    pub(super) cluster_policies: Read<Vec<ClusterGatewayPolicy>>,
    pub(super) providers: Read<Vec<IdentityProvider>>,
    pub(super) rights: Read<Grants>,
    /// What our servers show.
    pub(super) webhook: Read<Shown>,
    pub(super) wire: Read<Shown>,
    pub(super) query: Read<Shown>,
    pub(super) trails: Read<Vec<TrailSummary>>,
}

/// Who may do what.
#[derive(Debug, Default)]
pub(super) struct Grants {
    pub(super) cluster_roles: Vec<ClusterRole>,
    pub(super) roles: Vec<Role>,
    pub(super) cluster_bindings: Vec<ClusterRoleBinding>,
    pub(super) bindings: Vec<RoleBinding>,
}

impl Facts {
    /// The version of what is installed, where it is known.
    pub(super) fn installed(&self) -> Option<&str> {
        self.settings.as_ref().ok()?.as_ref().map(|settings| settings.version.as_str())
    }
}
