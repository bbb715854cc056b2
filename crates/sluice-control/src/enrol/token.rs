use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use sluice_wire::{Code, Refusal};

/// Who holds a token: what the API server says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Namespace of pod and service account.
    pub namespace: String,
    /// Service account.
    pub service_account: String,
    /// Pod.
    pub pod: String,
    /// Its UID.
    pub pod_uid: String,
}

/// Reads the answer to a `TokenReview` for `audience`.
///
/// # Errors
/// `BadToken`, where the token is not believed, is for another audience, is no
/// service account's, or is not bound to a pod.
pub fn holder(status: TokenReviewStatus, audience: &str) -> Result<Holder, Refusal> {
    let refuse = |message: &str, fix: &str| Refusal::new(Code::BadToken, message, fix);
    if status.authenticated != Some(true) {
        return Err(refuse("the API server does not believe the token", "present the pod's own, fresh token"));
    }
    // A server that does not know audiences answers without one.
    if !status.audiences.unwrap_or_default().iter().any(|one| one == audience) {
        return Err(refuse("the token is for another audience", "present the one that was projected for Sluice"));
    }
    let user = status.user.unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let parts: Vec<&str> = name.split(':').collect();
    let ["system", "serviceaccount", namespace, service_account] = parts.as_slice() else {
        return Err(refuse("the token is no service account's", "present the pod's own token"));
    };
    let extra: BTreeMap<String, Vec<String>> = user.extra.unwrap_or_default();
    let bound = |key: &str| match extra.get(key).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Some(value.clone()),
        _ => None,
    };
    let (Some(pod), Some(pod_uid)) =
        (bound("authentication.kubernetes.io/pod-name"), bound("authentication.kubernetes.io/pod-uid"))
    else {
        return Err(refuse("the token is not bound to a pod", "present the one that the kubelet projected"));
    };
    Ok(Holder { namespace: (*namespace).to_owned(), service_account: (*service_account).to_owned(), pod, pod_uid })
}
