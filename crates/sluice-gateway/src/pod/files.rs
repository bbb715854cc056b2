//! What the agent's containers read: whom to trust, which API servers there
//! are, their service account. Readable by every user of the pod.

use std::path::PathBuf;

use serde_json::json;
use sluice_core::Secret;
use sluice_policy::{Compiled, Target, TargetKind};

use super::is_in_cluster;
use crate::trust::{Authorities, TrustError, java_store, pem_of, write_whole};

/// Where the agent finds its service account; the token is written there.
pub(super) const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Where the agent finds the pod's CA.
pub(crate) const CA: &str = "/run/sluice/trust/ca.crt";
/// Stands where the kubeconfig has no token. Without any word there kubectl asks
/// for a user name and sends nothing, so that nobody could tell it what to do.
pub(crate) const NO_TOKEN: &str = "this-is-no-token-present-one-with--token";
const READABLE: u32 = 0o644;

/// Folders that the agent reads.
#[derive(Debug, Clone)]
pub struct AgentFiles {
    /// `ca.crt`, `bundle.crt`, `java.p12`, `kubeconfig`.
    pub trust: PathBuf,
    /// `ca.crt`, `namespace`, `token`.
    pub service_account: PathBuf,
    /// Namespace of the pod.
    pub namespace: String,
}

impl AgentFiles {
    /// The pod's CAs.
    pub(crate) fn write_trust(&self, authority: &Authorities) -> Result<(), TrustError> {
        let ca = authority.certificates_pem();
        write_whole(&self.trust.join("ca.crt"), ca.as_bytes(), READABLE)?;
        let trusted = authority.trusted();
        write_whole(&self.trust.join("bundle.crt"), pem_of(&trusted).as_bytes(), READABLE)?;
        write_whole(&self.trust.join("java.p12"), &java_store(&trusted), READABLE)?;
        write_whole(&self.service_account.join("ca.crt"), ca.as_bytes(), READABLE)?;
        write_whole(&self.service_account.join("namespace"), self.namespace.as_bytes(), READABLE)
    }

    /// The API servers of a policy.
    pub(crate) fn write_kubeconfig(&self, compiled: &Compiled) -> Result<(), TrustError> {
        write_whole(
            &self.trust.join("kubeconfig"),
            kubeconfig(compiled.targets(), &self.namespace).as_bytes(),
            READABLE,
        )
    }

    /// The token of the moment.
    pub(crate) fn write_token(&self, token: &Secret<String>) -> Result<(), TrustError> {
        write_whole(&self.service_account.join("token"), token.expose().as_bytes(), READABLE)
    }
}

/// A context for each API server. Users have no credentials here (a word says
/// so, [`NO_TOKEN`]): agents bring theirs, but for the pod's own cluster, where the service account's token is,
/// and where clients start in the pod's namespace, as without a kubeconfig.
fn kubeconfig(targets: &[Target], namespace: &str) -> String {
    let servers: Vec<&Target> = targets.iter().filter(|target| target.kind == TargetKind::Kubernetes).collect();
    let user = |target: &Target| {
        if is_in_cluster(&target.host) { json!({"tokenFile": TOKEN}) } else { json!({"token": NO_TOKEN}) }
    };
    let clusters = servers.iter().map(|target| {
        let port = target.ports.first().filter(|port| **port != 443).map(|port| format!(":{port}"));
        let server = format!("https://{}{}", target.host, port.unwrap_or_default());
        json!({"name": target.name, "cluster": {"server": server, "certificate-authority": CA}})
    });
    let users = servers.iter().map(|target| json!({"name": target.name, "user": user(target)}));
    let contexts = servers.iter().map(|target| {
        let mut context = json!({"cluster": target.name, "user": target.name});
        if is_in_cluster(&target.host) {
            context["namespace"] = json!(namespace);
        }
        json!({"name": target.name, "context": context})
    });
    let current = servers.iter().find(|target| is_in_cluster(&target.host)).or(servers.first());
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": clusters.collect::<Vec<_>>(),
        "users": users.collect::<Vec<_>>(),
        "contexts": contexts.collect::<Vec<_>>(),
        "current-context": current.map_or("", |target| target.name.as_str()),
    });
    serde_norway::to_string(&config).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn target(name: &str, host: &str, port: u16) -> Target {
        Target {
            name: name.into(),
            host: host.into(),
            ports: vec![port],
            kind: TargetKind::Kubernetes,
            audiences: vec!["a".into()],
            ca_bundle: None,
            providers: Vec::new(),
        }
    }

    #[test]
    fn each_server_has_a_context_and_the_own_one_is_current() {
        let targets = [target("aks", "prod.hcp.azmk8s.io", 6443), target("here", "kubernetes.default.svc", 443)];
        let text = kubeconfig(&targets, "agents");
        let config: serde_json::Value = serde_norway::from_str(&text).expect("YAML");
        assert_eq!(config["current-context"], "here");
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://prod.hcp.azmk8s.io:6443");
        assert_eq!(config["clusters"][1]["cluster"]["server"], "https://kubernetes.default.svc");
        assert_eq!(config["users"][0]["user"], json!({"token": NO_TOKEN}));
        assert_eq!(config["users"][1]["user"]["tokenFile"], TOKEN);
        assert_eq!(config["contexts"][0]["context"], json!({"cluster": "aks", "user": "aks"}));
        assert_eq!(config["contexts"][1]["context"], json!({"cluster": "here", "user": "here", "namespace": "agents"}));
        let none: serde_json::Value = serde_norway::from_str(&kubeconfig(&[], "agents")).expect("YAML");
        assert_eq!(none["current-context"], "");
        let one = kubeconfig(&[target("aks", "prod.hcp.azmk8s.io", 443)], "agents");
        assert!(one.contains("current-context: aks"), "{one}");
    }

    #[test]
    fn everybody_in_the_pod_reads_the_token() {
        let folder = tempfile::tempdir().expect("folder");
        let files = AgentFiles {
            trust: folder.path().into(),
            service_account: folder.path().into(),
            namespace: "agents".into(),
        };
        for text in ["one", "two"] {
            files.write_token(&Secret::new(text.to_owned())).expect("token");
            let path = folder.path().join("token");
            assert_eq!(std::fs::read_to_string(&path).expect("token"), text);
            assert_eq!(path.metadata().expect("metadata").permissions().mode() & 0o777, 0o644);
        }
    }
}
