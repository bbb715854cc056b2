//! Resources that every API server has, to tell a misspelling from a resource
//! of somebody's own.

/// One built-in resource.
pub(crate) struct Known {
    /// API group; empty for the core group.
    pub(crate) group: &'static str,
    /// Plural name, as rules write it.
    pub(crate) plural: &'static str,
    /// Singular name.
    pub(crate) singular: &'static str,
    /// kubectl's short name; may be empty.
    pub(crate) short: &'static str,
    /// Whether its objects live in namespaces.
    pub(crate) namespaced: bool,
}

impl Known {
    /// As a rule writes it: `pods`, `deployments.apps`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Known> {
    KNOWN.iter()
}

/// Whether objects of this resource are known to live outside namespaces.
pub(crate) fn cluster_scoped(group: &str, plural: &str) -> bool {
    KNOWN.iter().any(|known| known.group == group && known.plural == plural && !known.namespaced)
}

/// Whether a `PUT` makes an object of this resource where there is none
/// (`AllowCreateOnUpdate` in Kubernetes 1.36).
pub(crate) fn made_by_update(group: &str, plural: &str) -> bool {
    matches!(
        (group, plural),
        ("", "endpoints" | "events" | "limitranges" | "services")
            | ("events.k8s.io", "events")
            | ("coordination.k8s.io", "leases" | "leasecandidates")
            | ("node.k8s.io", "runtimeclasses")
            | ("rbac.authorization.k8s.io", "roles" | "rolebindings" | "clusterroles" | "clusterrolebindings")
    )
}

/// What somebody who wrote `name` of `group` meant, where no built-in resource
/// is called so; `None` where it may well be a resource of their own.
pub(crate) fn meant(group: &str, name: &str) -> Option<String> {
    if KNOWN.iter().any(|known| known.group == group && known.plural == name) {
        return None;
    }
    let lower = name.to_lowercase();
    let called = |known: &&Known| known.plural == lower || known.singular == lower || known.short == lower;
    if let Some(known) = KNOWN.iter().filter(|known| known.group == group).find(called) {
        return Some(known.qualified());
    }
    if group.is_empty() {
        // Without a group only the core group is meant, which is closed.
        if let Some(known) = KNOWN.iter().find(called) {
            return Some(known.qualified());
        }
        let words = KNOWN.iter().map(|known| known.plural);
        let near = crate::nearest::nearest(name, words)?;
        return KNOWN.iter().find(|known| known.plural == near).map(Known::qualified);
    }
    let words = KNOWN.iter().filter(|known| known.group == group).map(|known| known.plural);
    if let Some(near) = crate::nearest::nearest(name, words) {
        return Some(format!("{near}.{group}"));
    }
    // `deployments.app`: the right name in a group that nearly exists.
    let known = KNOWN.iter().find(|known| known.plural == lower && !known.group.is_empty())?;
    (strsim::damerau_levenshtein(group, known.group) <= 2).then(|| known.qualified())
}

macro_rules! known {
    ($($group:literal: $($plural:literal $singular:literal $short:literal $scope:ident),+;)+) => {
        &[$($(Known {
            group: $group, plural: $plural, singular: $singular, short: $short, namespaced: known!(@ $scope),
        }),+),+]
    };
    (@ n) => { true };
    (@ c) => { false };
}

// `n`: in namespaces, `c`: cluster-scoped. `namespaces` counts as `n`: a
// request about one namespace is a request in it.
const KNOWN: &[Known] = known! {
    "": "pods" "pod" "po" n, "services" "service" "svc" n, "configmaps" "configmap" "cm" n,
        "secrets" "secret" "" n, "serviceaccounts" "serviceaccount" "sa" n, "endpoints" "endpoint" "ep" n,
        "events" "event" "ev" n, "persistentvolumeclaims" "persistentvolumeclaim" "pvc" n,
        "replicationcontrollers" "replicationcontroller" "rc" n, "resourcequotas" "resourcequota" "quota" n,
        "limitranges" "limitrange" "limits" n, "podtemplates" "podtemplate" "" n,
        "bindings" "binding" "" n, "namespaces" "namespace" "ns" n, "nodes" "node" "no" c,
        "persistentvolumes" "persistentvolume" "pv" c, "componentstatuses" "componentstatus" "cs" c;
    "apps": "deployments" "deployment" "deploy" n, "replicasets" "replicaset" "rs" n,
        "statefulsets" "statefulset" "sts" n, "daemonsets" "daemonset" "ds" n,
        "controllerrevisions" "controllerrevision" "" n;
    "batch": "jobs" "job" "" n, "cronjobs" "cronjob" "cj" n;
    "autoscaling": "horizontalpodautoscalers" "horizontalpodautoscaler" "hpa" n;
    "policy": "poddisruptionbudgets" "poddisruptionbudget" "pdb" n;
    "networking.k8s.io": "ingresses" "ingress" "ing" n, "networkpolicies" "networkpolicy" "netpol" n,
        "ingressclasses" "ingressclass" "" c;
    "rbac.authorization.k8s.io": "roles" "role" "" n, "rolebindings" "rolebinding" "" n,
        "clusterroles" "clusterrole" "" c, "clusterrolebindings" "clusterrolebinding" "" c;
    "storage.k8s.io": "storageclasses" "storageclass" "sc" c, "csidrivers" "csidriver" "" c,
        "csinodes" "csinode" "" c, "volumeattachments" "volumeattachment" "" c,
        "csistoragecapacities" "csistoragecapacity" "" n;
    "coordination.k8s.io": "leases" "lease" "" n;
    "discovery.k8s.io": "endpointslices" "endpointslice" "" n;
    "events.k8s.io": "events" "event" "" n;
    "apiextensions.k8s.io": "customresourcedefinitions" "customresourcedefinition" "crd" c;
    "apiregistration.k8s.io": "apiservices" "apiservice" "" c;
    "admissionregistration.k8s.io":
        "mutatingwebhookconfigurations" "mutatingwebhookconfiguration" "" c,
        "validatingwebhookconfigurations" "validatingwebhookconfiguration" "" c,
        "validatingadmissionpolicies" "validatingadmissionpolicy" "" c,
        "validatingadmissionpolicybindings" "validatingadmissionpolicybinding" "" c;
    "authentication.k8s.io": "tokenreviews" "tokenreview" "" c, "selfsubjectreviews" "selfsubjectreview" "" c;
    "authorization.k8s.io": "subjectaccessreviews" "subjectaccessreview" "" c,
        "selfsubjectaccessreviews" "selfsubjectaccessreview" "" c,
        "selfsubjectrulesreviews" "selfsubjectrulesreview" "" c,
        "localsubjectaccessreviews" "localsubjectaccessreview" "" n;
    "certificates.k8s.io": "certificatesigningrequests" "certificatesigningrequest" "csr" c;
    "node.k8s.io": "runtimeclasses" "runtimeclass" "" c;
    "scheduling.k8s.io": "priorityclasses" "priorityclass" "pc" c;
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_are_told_from_resources_of_ones_own() {
        for (group, name, expected) in [
            ("", "pods", None),
            ("", "pod", Some("pods")),
            ("", "po", Some("pods")),
            ("", "Pods", Some("pods")),
            ("", "deployments", Some("deployments.apps")),
            ("", "deploy", Some("deployments.apps")),
            ("", "secrtes", Some("secrets")),
            ("", "widgets", None),
            ("apps", "deployment", Some("deployments.apps")),
            ("apps", "statefulset", Some("statefulsets.apps")),
            ("app", "deployments", Some("deployments.apps")),
            ("argoproj.io", "rollouts", None),
            ("example.com", "deployments", None),
            ("events.k8s.io", "events", None),
        ] {
            assert_eq!(meant(group, name).as_deref(), expected, "{name}.{group}");
        }
    }
}
