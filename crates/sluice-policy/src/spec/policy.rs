use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MaskSpec, RuleSpec};

/// `spec` of a `GatewayPolicy`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayPolicySpec {
    /// Which workloads of the namespace. Absent: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// `Enforce` (default), or `Audit`: decide and record, never deny. Masks
    /// stay on in both. Where an `Enforce` policy names the same target, the
    /// rules of an `Audit` policy are recorded and do not count.
    #[serde(default)]
    pub mode: Mode,
    /// Who may speak for a subject of this policy.
    #[serde(default)]
    pub identity: IdentitySpec,
    /// The API servers that this policy opens a way to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetSpec>,
    /// What may be done there. Their order never matters: any matching `Deny`
    /// wins, else a matching `Allow` is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSpec>,
    /// What must not be seen in responses. Secrets are masked by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<MaskSpec>,
    /// Destinations that are no target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressSpec>,
    /// Upper bounds. Of several policies, the smallest counts.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// How commands are recorded. Of several policies, the strictest counts.
    #[serde(default)]
    pub audit: AuditSpec,
    /// How old a policy may grow without contact to where it comes from, such
    /// as `24h` (the default) or `30m`. Past it, everything is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_policy_age: Option<String>,
}

/// Which workloads, by their labels. All conditions must hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Labels that must have exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: Operator,
    /// Values for `In` and `NotIn`; none for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// Whether a policy's verdicts count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Verdicts count.
    #[default]
    Enforce,
    /// Verdicts are recorded only.
    Audit,
}

/// Who may speak for a subject.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentitySpec {
    /// Names of `IdentityProvider`s whose tokens are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// Whether a workload that presents no token may act as its own service
    /// account. Default `Denied`.
    #[serde(default)]
    pub workload: WorkloadIdentity,
}

/// Whether a workload may act as itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadIdentity {
    /// Only a token identifies.
    #[default]
    Denied,
    /// Without a token the workload's service account is the subject.
    Allowed,
}

/// A service that the gateway opens a way to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetSpec {
    /// By which rules name it.
    pub name: String,
    /// A Kubernetes API server.
    pub kubernetes: KubernetesTarget,
    /// Ports. Absent: 443.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Audiences that a token for this target must carry one of. Absent: that
    /// of AKS, `6dae42f8-4368-4678-94ff-3960e28e3630`; for
    /// `kubernetes.default.svc` the issuer of the cluster's own tokens, by its
    /// usual names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Roots that vouch for the server beside the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleRef>,
}

/// Where a Kubernetes API server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesTarget {
    /// Its host name, such as `prod-abc123.hcp.westeurope.azmk8s.io`: no
    /// scheme, port or path. `kubernetes.default.svc` is the API server of the
    /// cluster that the workload runs in.
    pub server: String,
}

/// Where a bundle of CA certificates is: a ConfigMap in a cluster, a file
/// outside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaBundleRef {
    /// Name of a ConfigMap in the namespace of the policy (for an
    /// `IdentityProvider`, in that of the control plane).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<String>,
    /// Key of the ConfigMap that holds the PEM text. Absent: `ca.crt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Path of a PEM file, absolute or relative to the gateway's working
    /// directory. For policy files only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Destinations that are no target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressSpec {
    /// `Deny` (default): nothing else is reached; wins over other policies.
    /// `Allow`: the hosts of `allow` are passed through unread, and recorded.
    #[serde(default)]
    pub other: EgressOther,
    /// The hosts that are passed through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<EgressRule>,
}

/// What becomes of destinations that are no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum EgressOther {
    /// They are not reached.
    #[default]
    Deny,
    /// Those on the list are reached.
    Allow,
}

/// One host, or all hosts under a name, that is passed through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressRule {
    /// `files.pypi.example`, or `*.pypi.example` for every name below it.
    pub host: String,
    /// Ports. Absent: 443.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

/// Upper bounds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsSpec {
    /// Commands of a workload in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands_per_minute: Option<u32>,
    /// Bytes of one response, such as `64Mi` or `500k`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<Quantity>,
    /// Connections of a workload at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_sessions: Option<u32>,
}

/// A number of bytes: a whole number, or one with a suffix (`k`, `M`, `G`,
/// `Ki`, `Mi`, `Gi`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a number of bytes such as 64Mi, 500k or 1048576")]
pub enum Quantity {
    /// Bytes.
    Number(u64),
    /// With a suffix.
    Text(String),
}

/// How commands are recorded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditSpec {
    /// `Strict` (default): a command that cannot be recorded is denied.
    /// `BestEffort`: it goes on, counted and flagged.
    #[serde(default)]
    pub mode: crate::AuditMode,
    /// How safe a record must be before its command goes on: `Process` (it
    /// survives the end of the gateway), `Disk` (it survives the end of the
    /// machine), `Collector` (it survives the loss of the machine; without a
    /// collector every command is denied), `Auto` (default: for what changes
    /// state `Collector` where there is one, else `Disk`; for the rest
    /// `Process`).
    #[serde(default)]
    pub durability: crate::Durability,
    /// What is kept of responses: `Digest` (default) or `None`.
    #[serde(default)]
    pub responses: crate::Responses,
}
