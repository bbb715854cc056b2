use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Fact;

/// Who asks: what a validated token, or the pod itself, says of its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Whether a token or the pod's own identity speaks.
    pub kind: SubjectKind,
    /// Name of the `IdentityProvider` that vouches; qualifies groups, roles
    /// and users (`entra:developers`). Empty for a workload.
    pub provider: String,
    /// `iss` of the token. Empty for a workload.
    pub issuer: String,
    /// The subject claim (Entra: `oid`), or `system:serviceaccount:NS:NAME`.
    pub id: String,
    /// The name by which the API server knows this subject, where the provider
    /// maps it (`kubernetesUser`).
    pub kubernetes_user: Option<String>,
    /// Groups, unqualified. Unknown when the token does not carry them all
    /// (overage).
    pub groups: Fact<BTreeSet<String>>,
    /// Application roles, unqualified.
    pub roles: Fact<BTreeSet<String>>,
    /// `jti` or `uti`: names the token without being it.
    pub token_id: Option<String>,
    /// When the token ends. `None` for a workload.
    pub expires: Option<Timestamp>,
}

/// What vouches for a [`Subject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubjectKind {
    /// A validated OIDC token that the agent presented.
    Token,
    /// Nothing in the protocol: the pod (or the local command) as itself.
    Workload,
}

/// The pod, or the command under `sluice run`, whose traffic this is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Kubernetes namespace; what `selector` and namespaced policies see.
    pub namespace: String,
    /// Pod name, or a name for the local command.
    pub pod: String,
    /// Pod UID; a random one in local mode.
    pub uid: String,
    /// Service account name; empty where there is none.
    pub service_account: String,
    /// Name of the node; empty where there is none, or nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Pod labels; what `selector.matchLabels` sees.
    pub labels: BTreeMap<String, String>,
}

impl Subject {
    /// The workload acting as itself.
    pub fn workload(workload: &Workload) -> Self {
        Self {
            kind: SubjectKind::Workload,
            provider: String::new(),
            issuer: String::new(),
            id: format!("system:serviceaccount:{}:{}", workload.namespace, workload.service_account),
            kubernetes_user: None,
            groups: Fact::Known(BTreeSet::new()),
            roles: Fact::Known(BTreeSet::new()),
            token_id: None,
            expires: None,
        }
    }
}
