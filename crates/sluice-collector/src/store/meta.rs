use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sluice_audit::Kind;
use sluice_audit::read::Reader;
use sluice_core::Workload;
use sluice_wire::IngestRefusal;

/// Whose trail a folder holds: its file `meta.json`, written once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Who may add to it.
    pub owner: Owner,
    /// UID of the pod; name of the folder.
    pub uid: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Its name.
    pub pod: String,
    /// When the first batch came.
    pub since: Timestamp,
}

/// Who may add to a trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Owner {
    /// The pod's sidecar.
    Pod,
    /// The control plane: the pod is a replica of it.
    Control,
    /// The collector itself.
    Collector,
}

impl Owner {
    /// Whether it writes records of this kind. Who changed a policy, and who
    /// read what, is not a sidecar's to say.
    pub(super) fn may_write(self, kind: Kind) -> bool {
        self != Self::Pod || !matches!(kind, Kind::Policy | Kind::Read)
    }
}

impl Meta {
    /// Of the trail whose first record names `workload`.
    pub(super) fn of(owner: Owner, workload: &Workload, since: Timestamp) -> Self {
        Self {
            owner,
            uid: workload.uid.clone(),
            namespace: workload.namespace.clone(),
            service_account: workload.service_account.clone(),
            pod: workload.pod.clone(),
            since,
        }
    }

    /// What the folder says; where it does not (a copy without `meta.json`),
    /// what its first record says.
    pub(super) fn read(folder: &Path, uid: &str) -> Option<Self> {
        if let Ok(text) = std::fs::read(folder.join(FILE))
            && let Ok(meta) = serde_json::from_slice::<Self>(&text)
            && meta.uid == uid
        {
            return Some(meta);
        }
        let first = Reader::open(folder).ok()?.next()?.ok()?;
        let workload: Workload = serde_json::from_value(first.leaf.body.get("workload")?.clone()).ok()?;
        (workload.uid == uid).then(|| Self::of(Owner::Pod, &workload, first.leaf.at))
    }

    /// Whether a further epoch may name `workload`.
    pub(super) fn admits(&self, workload: &Workload) -> Result<(), IngestRefusal> {
        let same = |what: &str, found: &str, expected: &str| {
            if found == expected || (found.is_empty() && what == "service account") {
                return Ok(());
            }
            let message = format!(
                "the first record says {what} {found:?}, the certificate {expected:?}; fix: let the gateway record the pod that it runs in"
            );
            Err(IngestRefusal::NotYours { message })
        };
        same("pod UID", &workload.uid, &self.uid)?;
        same("namespace", &workload.namespace, &self.namespace)?;
        same("service account", &workload.service_account, &self.service_account)
    }
}

/// Whether a UID can be the name of a folder: what Kubernetes gives out, and
/// nothing that means something to a file system.
pub(super) fn is_uid(uid: &str) -> bool {
    (1..=64).contains(&uid.len())
        && !uid.starts_with('-')
        && uid.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether it can be the name of a pod (a DNS name), or says none. It stands in
/// each line that readers get.
pub(super) fn is_name(pod: &str) -> bool {
    pod.len() <= 253
        && pod.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

/// Name of the file.
pub(super) const FILE: &str = "meta.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_pod_is_short_and_plain() {
        assert!(is_name("coder-5d9c") && is_name(""));
        for pod in ["a b", "A", "a/b", "a\n", "ä", "\u{202e}a", &"a".repeat(254)] {
            assert!(!is_name(pod), "{pod:?}");
        }
    }

    #[test]
    fn a_uid_leads_nowhere_else() {
        assert!(is_uid("0b4c0d6a-6a0b-4c52-9f3a-0f8a6f0f6a11") && is_uid("6f1c"));
        for uid in ["", ".", "..", "a/b", "a.new", "-a", "A", "a b", "a\0", "ä", &"a".repeat(65)] {
            assert!(!is_uid(uid), "{uid:?}");
        }
    }
}
