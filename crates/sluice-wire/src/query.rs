use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes of a filter, as the query of a request.
pub const MAX_FILTER_BYTES: usize = 8 * 1024;

/// One pod's trail at the collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailSummary {
    /// UID of the pod.
    pub pod_uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Its name, where a record says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// In the order of their making.
    pub epochs: Vec<EpochSummary>,
    /// No `end`, and nothing heard for too long.
    pub silent: bool,
}

/// One epoch of a trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EpochSummary {
    /// Its id.
    pub epoch: Uuid,
    /// Its place in the trail, from 1.
    pub ordinal: u64,
    /// Leaves that are stored.
    pub leaves: u64,
    /// When the last batch came.
    pub last_heard: Timestamp,
    /// Whether its `end` is stored.
    pub ended: bool,
    /// Names of its files, below the trail's path.
    pub files: Vec<String>,
}

/// Which records are asked for. All that are set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RecordFilter {
    /// Id of the subject, or a part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// UID of a pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Namespace of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `allow` or `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Name of a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Kind of the leaf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Not before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Not after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Somewhere in the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Stay, and send what comes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
}
