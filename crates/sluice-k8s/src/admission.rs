//! `AdmissionReview` (`admission.k8s.io/v1`) in, answer out.

use std::collections::BTreeMap;

use base64::Engine;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::inject::{self, InjectionSettings, Placement};
use crate::patch::{Operation, difference};
use crate::{crds, names};

/// What the API server asks.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionRequest {
    /// Names the question; the answer repeats it.
    pub uid: String,
    /// Kind of the object.
    pub kind: Kind,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// Name of the object; empty where the server makes one up.
    #[serde(default)]
    pub name: String,
    /// Namespace of the object; empty outside namespaces.
    #[serde(default)]
    pub namespace: String,
    /// Subresource; empty for the object itself.
    #[serde(default)]
    pub sub_resource: String,
    /// Who asks.
    #[serde(default)]
    pub user_info: UserInfo,
    /// The object; null on `DELETE`.
    #[serde(default)]
    pub object: Value,
    /// The object before; null on `CREATE`.
    #[serde(default)]
    pub old_object: Value,
    /// Whether nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// Kind of an object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Kind {
    /// API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
}

/// Who asks, as the API server authenticated them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct UserInfo {
    /// Name.
    #[serde(default)]
    pub username: String,
    /// UID, where there is one.
    #[serde(default)]
    pub uid: String,
    /// Groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whatever the authenticator adds.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What is no `AdmissionReview` that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// No JSON, or other fields.
    #[error("no AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version.
    #[error("`{0}` is no version of AdmissionReview that is answered; admission.k8s.io/v1 is")]
    Version(String),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It may be, changed like this.
    Allowed {
        /// Empty: as it is.
        patch: Vec<Operation>,
        /// Shown by clients.
        warnings: Vec<String>,
    },
    /// It may not be, for these reasons.
    Refused(Vec<String>),
}

impl AdmissionRequest {
    /// Reads the body of a webhook's request.
    ///
    /// # Errors
    /// When it is no `AdmissionReview` of `v1` with a request in it.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Review {
            api_version: String,
            request: AdmissionRequest,
        }
        let review: Review = serde_json::from_slice(body)?;
        match review.api_version.as_str() {
            "admission.k8s.io/v1" => Ok(review.request),
            other => Err(Malformed::Version(other.chars().take(64).collect())),
        }
    }
}

impl Answer {
    fn allowed() -> Self {
        Self::Allowed { patch: Vec::new(), warnings: Vec::new() }
    }

    /// The `AdmissionReview` that answers `request`.
    pub fn review(&self, request: &AdmissionRequest) -> Value {
        let mut response = json!({"uid": request.uid, "allowed": matches!(self, Self::Allowed { .. })});
        match self {
            Self::Allowed { patch, warnings } => {
                if !patch.is_empty() {
                    let text = serde_json::to_vec(patch).unwrap_or_default();
                    response["patchType"] = json!("JSONPatch");
                    response["patch"] = json!(base64::engine::general_purpose::STANDARD.encode(text));
                }
                if !warnings.is_empty() {
                    response["warnings"] = json!(warnings);
                }
            }
            Self::Refused(reasons) => {
                response["status"] = json!({
                    "code": 403,
                    "reason": "Forbidden",
                    "message": reasons.join("; "),
                });
            }
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }
}

/// Answers for a pod that is created. `required`: the webhook of namespaces
/// that demand injection asks; else a pod that does not ask is left alone.
pub fn pod(request: &AdmissionRequest, required: bool, settings: &InjectionSettings) -> Answer {
    let is_pod = request.kind.group.is_empty() && request.kind.kind == "Pod" && request.sub_resource.is_empty();
    if !is_pod || request.operation != "CREATE" || !(required || inject::asks(&request.object)) {
        return Answer::allowed();
    }
    let placement = Placement { required, ..Placement::default() };
    match inject::inject(&request.object, placement, settings) {
        Ok(injected) => Answer::Allowed { patch: difference(&request.object, &injected), warnings: Vec::new() },
        Err(refusals) => Answer::Refused(refusals.iter().map(|refusal| format!("sluice: {refusal}")).collect()),
    }
}

/// Answers for a policy or a provider that is created or changed: whether it
/// compiles by itself. What others must give (a provider that is not there yet)
/// is left to its status. `DELETE` and status are allowed.
pub fn policy(request: &AdmissionRequest) -> Answer {
    let ours = request.kind.group == names::GROUP && request.sub_resource.is_empty();
    if !ours || !matches!(request.operation.as_str(), "CREATE" | "UPDATE") {
        return Answer::allowed();
    }
    let going = request.object.pointer("/metadata/deletionTimestamp").is_some_and(|when| !when.is_null());
    if going || request.object.get("spec") == request.old_object.get("spec") {
        return Answer::allowed();
    }
    match crds::check(&request.object) {
        Ok(warnings) => Answer::Allowed { patch: Vec::new(), warnings },
        Err(problems) => Answer::Refused(problems),
    }
}

#[cfg(test)]
mod tests;
