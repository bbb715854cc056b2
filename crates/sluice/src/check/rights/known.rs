use super::walk::Holder;

/// Whose rights are as they come: not listed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known {
    /// Kubernetes' own components.
    System,
    /// What AKS puts in.
    Aks,
    /// Ours.
    Sluice,
}

impl Known {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::System => "of Kubernetes' own (system:masters, system:nodes, kube-system, …)",
            Self::Aks => "that AKS puts in",
            Self::Sluice => "of Sluice's own service accounts",
        }
    }
}

/// Whether a holder is one of these.
pub(super) fn of(holder: &Holder, ours: &str) -> Option<Known> {
    match holder {
        // Everybody is no component.
        holder if holder.is_everybody() => None,
        Holder::ServiceAccount { namespace, name } if namespace == ours && OURS.contains(&name.as_str()) => {
            Some(Known::Sluice)
        }
        Holder::ServiceAccount { namespace, .. } if namespace == "kube-system" => Some(Known::System),
        Holder::ServiceAccount { namespace, .. } if AKS_NAMESPACES.contains(&namespace.as_str()) => Some(Known::Aks),
        Holder::ServiceAccount { .. } => None,
        Holder::User(name) if AKS_USERS.contains(&name.as_str()) => Some(Known::Aks),
        Holder::User(name) | Holder::Group(name) if name.starts_with("system:serviceaccount") => {
            name.starts_with("system:serviceaccount:kube-system:").then_some(Known::System)
        }
        Holder::User(name) | Holder::Group(name) => name.starts_with("system:").then_some(Known::System),
    }
}

const OURS: [&str; 3] = ["sluice-control", "sluice-collector", "sluice-audit-reader"];
/// Whom AKS binds for itself: the subject of `aks-service-rolebinding`, used
/// while a support case is open (learn.microsoft.com/azure/aks/support-policies).
/// What it runs as else, `aksService`, is of `system:masters` by its
/// certificate, and no binding names it.
const AKS_USERS: [&str; 1] = ["aks-support"];
/// Subjects of `aks-cluster-admin-binding`: no components, but what
/// `az aks get-credentials` hands out to people, one certificate for all
/// (PSRule for Azure, `Azure.AKS.LocalAccounts`).
pub(super) const AKS_LOCAL_ACCOUNTS: [&str; 2] = ["clusterAdmin", "clusterUser"];
/// Of the run command (`az aks command invoke`) and of add-ons.
const AKS_NAMESPACES: [&str; 5] =
    ["aks-command", "aks-istio-system", "calico-system", "gatekeeper-system", "tigera-operator"];
