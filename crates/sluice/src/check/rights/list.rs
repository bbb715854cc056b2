/// One right that would get around the gateway.
pub(super) struct Right {
    /// Behind "may".
    pub(super) label: &'static str,
    pub(super) group: &'static str,
    pub(super) resources: &'static [&'static str],
    pub(super) verbs: &'static [&'static str],
    pub(super) place: Place,
    /// Where a rule names objects: which names count; empty: all.
    pub(super) named: &'static [&'static str],
}

/// Where a right matters that is held in one namespace only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: the resource has no namespace.
    Cluster,
    /// Where agents run.
    Agents,
    /// Where Sluice runs.
    Ours,
    /// In both.
    Either,
}

const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const CHANGE: &[&str] = &["update", "patch"];

pub(super) const RIGHTS: &[Right] = &[
    Right {
        label: "impersonate others",
        group: "",
        resources: &["users", "groups"],
        verbs: &["impersonate"],
        place: Place::Cluster,
        named: &[],
    },
    Right {
        label: "impersonate service accounts",
        group: "",
        resources: &["serviceaccounts"],
        verbs: &["impersonate"],
        place: Place::Either,
        named: &[],
    },
    Right {
        label: "reach kubelets past admission (nodes/proxy)",
        group: "",
        resources: &["nodes/proxy"],
        verbs: &["get", "create"],
        place: Place::Cluster,
        named: &[],
    },
    Right {
        label: "change running pods",
        group: "",
        resources: &["pods"],
        verbs: CHANGE,
        place: Place::Agents,
        named: &[],
    },
    Right {
        label: "add ephemeral containers to pods",
        group: "",
        resources: &["pods/ephemeralcontainers"],
        verbs: CHANGE,
        place: Place::Agents,
        named: &[],
    },
    Right {
        label: "enter Sluice's own pods (pods/exec, pods/attach)",
        group: "",
        resources: &["pods/exec", "pods/attach"],
        verbs: &["create", "get"],
        place: Place::Ours,
        named: &[],
    },
    Right {
        label: "change labels of namespaces",
        group: "",
        resources: &["namespaces"],
        verbs: CHANGE,
        place: Place::Agents,
        named: &[],
    },
    Right {
        label: "lift the demand of namespaces for the gateway",
        group: "sluice.dev",
        resources: &["requirednamespaces"],
        verbs: &["delete"],
        place: Place::Cluster,
        named: &[],
    },
    Right {
        label: "make tokens of service accounts",
        group: "",
        resources: &["serviceaccounts/token"],
        verbs: &["create"],
        place: Place::Either,
        named: &[],
    },
    Right {
        label: "write policies",
        group: "sluice.dev",
        resources: &["gatewaypolicies"],
        verbs: WRITE,
        place: Place::Agents,
        named: &[],
    },
    Right {
        label: "say who vouches for whom, and write guard rails",
        group: "sluice.dev",
        resources: &["identityproviders", "clustergatewaypolicies"],
        verbs: WRITE,
        place: Place::Cluster,
        named: &[],
    },
    Right {
        label: "change the definitions of policies",
        group: "apiextensions.k8s.io",
        resources: &["customresourcedefinitions"],
        verbs: &["update", "patch", "delete", "deletecollection"],
        place: Place::Cluster,
        named: &["gatewaypolicies.sluice.dev", "clustergatewaypolicies.sluice.dev", "identityproviders.sluice.dev"],
    },
    Right {
        label: "write webhook configurations",
        group: "admissionregistration.k8s.io",
        resources: &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        verbs: WRITE,
        place: Place::Cluster,
        named: &["sluice"],
    },
    Right {
        label: "write admission policies",
        group: "admissionregistration.k8s.io",
        resources: &["validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies"],
        verbs: WRITE,
        place: Place::Cluster,
        named: &["sluice-agents", "sluice-required", "sluice-images", "sluice-tokens", "sluice-exec"],
    },
    Right {
        label: "read Sluice's keys (secrets)",
        group: "",
        resources: &["secrets"],
        verbs: &["get", "list", "watch"],
        place: Place::Ours,
        named: &["sluice-workload-ca", "sluice-webhook"],
    },
    Right {
        label: "run programs in Sluice's namespace",
        group: "",
        resources: &["pods"],
        verbs: &["create", "update", "patch"],
        place: Place::Ours,
        named: &[],
    },
    Right {
        label: "run programs in Sluice's namespace",
        group: "apps",
        resources: &["deployments", "daemonsets", "statefulsets", "replicasets"],
        verbs: &["create", "update", "patch"],
        place: Place::Ours,
        named: &["sluice-control", "sluice-collector"],
    },
    Right {
        label: "change Sluice's settings and roots",
        group: "",
        resources: &["configmaps"],
        verbs: CHANGE,
        place: Place::Ours,
        named: &["sluice-injection", "sluice-roots"],
    },
    Right {
        label: "give itself any right (bind, escalate)",
        group: "rbac.authorization.k8s.io",
        resources: &["clusterroles"],
        verbs: &["bind", "escalate"],
        place: Place::Cluster,
        named: &[],
    },
];
