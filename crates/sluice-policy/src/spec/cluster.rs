use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LimitsSpec, MaskSpec, Mode, RuleSpec, Selector};

/// `spec` of a `ClusterGatewayPolicy`: denials, masks and limits that hold
/// whatever the policies of a namespace say. It has no `Allow`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterGatewayPolicySpec {
    /// Which namespaces, by their labels. Absent: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// Which workloads of these namespaces, by their labels. Absent: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// `Enforce` (default), or `Audit`: denials are recorded only. Masks and
    /// limits hold in both.
    #[serde(default)]
    pub mode: Mode,
    /// What must not be done, at any target. Each is a `Deny` without `targets`;
    /// its subjects may be of any `IdentityProvider`, and its service accounts
    /// are written `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleSpec>,
    /// What must not be seen in responses, beside what policies mask. Each is
    /// `Values`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<MaskSpec>,
    /// Upper bounds. Of several policies, the smallest counts.
    #[serde(default)]
    pub limits: LimitsSpec,
}
