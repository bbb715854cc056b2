//! What people write: the documents `GatewayPolicy`, `ClusterGatewayPolicy` and
//! `IdentityProvider` of `sluice.dev/v1alpha1`.
//!
//! The types say exactly what works. A field that is not here is refused, so
//! that a misspelt or a future field never makes a policy wider than it reads.

mod cluster;
mod policy;
mod provider;
mod rule;

pub use cluster::ClusterGatewayPolicySpec;
pub use policy::{
    AuditSpec, CaBundleRef, EgressOther, EgressRule, EgressSpec, Expression, GatewayPolicySpec, IdentitySpec,
    KubernetesTarget, LimitsSpec, Mode, Operator, Quantity, Selector, TargetSpec, WorkloadIdentity,
};
pub use provider::{ClaimsSpec, IdentityProviderSpec, KeySet};
pub use rule::{KubernetesMask, KubernetesRule, MaskSpec, RuleAction, RuleMode, RuleSpec, SecretMask, Subjects};

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The only `apiVersion` that is read.
pub const API_VERSION: &str = "sluice.dev/v1alpha1";

/// What agents of a namespace may do, and what becomes of what they see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayPolicy {
    /// `sluice.dev/v1alpha1`.
    pub api_version: String,
    /// `GatewayPolicy`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: Metadata,
    /// The policy itself.
    pub spec: GatewayPolicySpec,
}

/// What no agent may do or see, whatever the policies of its namespace say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterGatewayPolicy {
    /// `sluice.dev/v1alpha1`.
    pub api_version: String,
    /// `ClusterGatewayPolicy`.
    pub kind: String,
    /// Its name; it has no namespace.
    pub metadata: Metadata,
    /// The guard rails themselves.
    pub spec: ClusterGatewayPolicySpec,
}

/// Who vouches for the people and programs behind a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityProvider {
    /// `sluice.dev/v1alpha1`.
    pub api_version: String,
    /// `IdentityProvider`.
    pub kind: String,
    /// Its name qualifies groups, roles and users: `entra:developers`.
    pub metadata: Metadata,
    /// The provider itself.
    pub spec: IdentityProviderSpec,
}

/// The part of Kubernetes' object metadata that a document may carry.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name of the document: lower case letters, digits, `-` and `.`.
    pub name: String,
    /// Namespace of a `GatewayPolicy`; it applies to workloads of this
    /// namespace only. Absent: `default`. An `IdentityProvider` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// For people and tools; no meaning here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For people and tools; no meaning here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// The namespace, `default` where none is written.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }
}

/// JSON schema (draft 2020-12) of a `GatewayPolicy`.
pub fn policy_schema() -> serde_json::Value {
    schemars::schema_for!(GatewayPolicy).to_value()
}

/// JSON schema (draft 2020-12) of a `ClusterGatewayPolicy`.
pub fn cluster_policy_schema() -> serde_json::Value {
    schemars::schema_for!(ClusterGatewayPolicy).to_value()
}

/// JSON schema (draft 2020-12) of an `IdentityProvider`.
pub fn provider_schema() -> serde_json::Value {
    schemars::schema_for!(IdentityProvider).to_value()
}
