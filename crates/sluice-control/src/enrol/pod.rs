use k8s_openapi::api::core::v1::Pod;
use sluice_k8s::names;
use sluice_wire::{Code, Refusal};

use super::Holder;

/// Whether the pod that the token is bound to carries a gateway. That this
/// gateway is unaltered is what the admission policies hold.
///
/// # Errors
/// `NotInjected`, or `BadToken` where token and pod disagree.
pub fn admit(pod: &Pod, holder: &Holder) -> Result<(), Refusal> {
    let metadata = &pod.metadata;
    let same = metadata.uid.as_deref() == Some(holder.pod_uid.as_str())
        && metadata.namespace.as_deref() == Some(holder.namespace.as_str())
        && metadata.name.as_deref() == Some(holder.pod.as_str());
    let spec = pod.spec.as_ref();
    let account = spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    if !same || account != holder.service_account {
        return Err(Refusal::new(
            Code::BadToken,
            "the token speaks of another pod than the one that is known by its UID",
            "present the pod's own token",
        ));
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if let Some("Succeeded" | "Failed") = phase {
        return Err(Refusal::new(Code::BadToken, "the pod has ended", "present the token of a pod that runs"));
    }
    let marked = metadata.annotations.as_ref().is_some_and(|all| all.contains_key(names::INJECTED));
    let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let first_two = init.first().is_some_and(|first| first.name == names::INIT)
        && init
            .get(1)
            .is_some_and(|second| second.name == names::GATEWAY && second.restart_policy.as_deref() == Some("Always"));
    if marked && first_two {
        Ok(())
    } else {
        Err(Refusal::new(
            Code::NotInjected,
            format!("the pod {}/{} carries no gateway of ours", holder.namespace, holder.pod),
            "annotate the pod template with sluice.dev/inject: enabled, and make the pod anew",
        ))
    }
}
