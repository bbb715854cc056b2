use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Types of conditions.
pub mod condition {
    /// The object is read, and refers to what is there.
    pub const ACCEPTED: &str = "Accepted";
    /// The policy compiles; else the last good revision stays.
    pub const COMPILED: &str = "Compiled";
    /// Every pod that the policy selects decides by it.
    pub const PROGRAMMED: &str = "Programmed";
}

/// What became of a policy. Written by the control plane.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`, `Compiled` and `Programmed`, each with its reason, and a
    /// message that names field and fix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Running pods that the policy selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched_pods: Option<i32>,
    /// Of these, pods that decide by its latest revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programmed_pods: Option<i32>,
    /// Names the policy's latest revision that compiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// What became of a provider. Written by the control plane.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProviderStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`, with its reason, and a message that names field and fix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// One thing that is so, or is not (as in Kubernetes' own objects).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// Words for people: which field, what is wrong, what to do.
    pub message: String,
    /// When `status` changed last, as RFC 3339 says.
    pub last_transition_time: String,
    /// Generation of the spec that this condition is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
