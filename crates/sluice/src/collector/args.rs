use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rustls_pki_types::ServerName;
use sluice_core::Secret;
use sluice_wire::TrailSummary;

use super::session::{Endpoint, Way};
use super::{Collector, host_and_port, is_uid, roots_of, tls};
use crate::cluster::{Cluster, ClusterArgs};

/// Service of the collector.
pub(crate) const SERVICE: &str = "sluice-collector";
/// Its port for people.
pub(crate) const QUERY_PORT: u16 = 8446;
/// ConfigMap of the roots that vouch for our servers, and the key in it.
pub(crate) const ROOTS: (&str, &str) = ("sluice-roots", "ca.crt");

/// How the collector is reached, and whose records are wanted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Collector")]
pub(crate) struct CollectorArgs {
    /// Roots that vouch for the collector of a URL (PEM) [default, without a URL: ConfigMap sluice-roots]
    #[arg(long, value_name = "FILE", requires = "collector")]
    ca: Option<PathBuf>,
    /// Bearer token that Kubernetes believes [default: the kubeconfig's, else one of service account
    /// sluice-audit-reader]
    #[arg(long, value_name = "FILE", requires = "collector")]
    token_file: Option<PathBuf>,
    /// Name that the collector's certificate must have [default: the host of the URL]
    #[arg(long, value_name = "NAME", requires = "collector")]
    tls_server_name: Option<String>,
    /// Records of this pod alone
    #[arg(long, value_name = "UID|NAMESPACE/NAME", requires = "collector", value_parser = pod)]
    pub(crate) pod: Option<PodName>,
    /// Records of pods of this namespace alone
    #[arg(long, value_name = "NS", requires = "collector")]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How people name a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PodName {
    Uid(String),
    Named { namespace: String, name: String },
}

impl CollectorArgs {
    /// The collector at `url`; empty: the one of the cluster.
    pub(crate) async fn connect(&self, url: &str) -> anyhow::Result<Collector> {
        let token = match &self.token_file {
            Some(path) => {
                let text = fs::read_to_string(path).with_context(|| format!("--token-file {}", path.display()))?;
                let text = text.trim();
                ensure!(!text.is_empty(), "--token-file {}: is empty", path.display());
                Some(Secret::new(text.to_owned()))
            }
            None => None,
        };
        let ca = self.ca.as_deref().map(read_ca).transpose()?;
        if url.is_empty() {
            let cluster = Cluster::find(&self.cluster).await?;
            return of_cluster(&cluster, token, ca, self.tls_server_name.as_deref()).await;
        }
        let (host, port) = host_and_port(url)?;
        let Some(roots) = ca else { bail!("--collector {url}: --ca FILE is needed, the roots that vouch for it") };
        let token = match token {
            Some(token) => token,
            None => Cluster::find(&self.cluster).await?.bearer().await?,
        };
        let name = self.tls_server_name.as_deref().unwrap_or(&host);
        let name = ServerName::try_from(name.to_owned()).with_context(|| format!("`{name}` is no name of a server"))?;
        Ok(Collector::new(Endpoint { way: Way::Dial { host, port }, tls: tls::config(roots)?, name, token }))
    }

    /// The trails that are asked for, by namespace and name.
    ///
    /// # Errors
    /// When there is none of the pod that is named.
    pub(crate) async fn trails(&self, collector: &mut Collector) -> anyhow::Result<Vec<TrailSummary>> {
        let named = match &self.pod {
            Some(PodName::Named { namespace, .. }) => Some(namespace.as_str()),
            _ => self.namespace.as_deref(),
        };
        let mut trails = collector.trails(named).await?;
        trails.retain(|trail| {
            self.namespace.as_ref().is_none_or(|namespace| trail.namespace == *namespace)
                && self.pod.as_ref().is_none_or(|pod| pod.is(trail))
        });
        if let (Some(pod), true) = (&self.pod, trails.is_empty()) {
            bail!(
                "the collector has no trail of pod {pod} that may be seen; `sluice audit verify --collector` names all"
            );
        }
        trails.sort_by(|a, b| (&a.namespace, &a.pod, &a.pod_uid).cmp(&(&b.namespace, &b.pod, &b.pod_uid)));
        Ok(trails)
    }

    /// The UID of the one pod that is named, if one is.
    pub(crate) async fn uid(&self, collector: &mut Collector) -> anyhow::Result<Option<String>> {
        match &self.pod {
            None => Ok(None),
            Some(PodName::Uid(uid)) => Ok(Some(uid.clone())),
            Some(pod @ PodName::Named { .. }) => match self.trails(collector).await?.as_slice() {
                [one] => Ok(Some(one.pod_uid.clone())),
                several => {
                    let uids: Vec<&str> = several.iter().map(|trail| trail.pod_uid.as_str()).collect();
                    bail!("--pod {pod}: several pods had this name; name one by its UID: {}", uids.join(", "))
                }
            },
        }
    }
}

/// The collector of a cluster, through its API server.
pub(crate) async fn of_cluster(
    cluster: &Cluster,
    token: Option<Secret<String>>,
    roots: Option<rustls::RootCertStore>,
    name: Option<&str>,
) -> anyhow::Result<Collector> {
    let roots = match roots {
        Some(roots) => roots,
        None => {
            let pem = cluster.roots().await?;
            roots_of(pem.as_bytes()).with_context(|| format!("ConfigMap {}/{}", cluster.namespace, ROOTS.0))?
        }
    };
    let token = match token {
        Some(token) => token,
        None => cluster.bearer().await?,
    };
    let name = name.map_or_else(|| format!("{SERVICE}.{}.svc", cluster.namespace), str::to_owned);
    let name = ServerName::try_from(name.clone()).with_context(|| format!("`{name}` is no name of a server"))?;
    let way = Way::Forward(Box::new(cluster.clone()));
    Ok(Collector::new(Endpoint { way, tls: tls::config(roots)?, name, token }))
}

impl Cluster {
    /// PEM of the roots that vouch for our servers, as the control plane
    /// publishes them.
    pub(crate) async fn roots(&self) -> anyhow::Result<String> {
        let (name, key) = ROOTS;
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let map = api.get(name).await.map_err(|error| self.said(error)).with_context(|| {
            format!("ConfigMap {}/{name}, which the control plane writes (is Sluice installed there?)", self.namespace)
        })?;
        let pem = map.data.and_then(|mut data| data.remove(key));
        pem.with_context(|| format!("ConfigMap {}/{name} has no `{key}`", self.namespace))
    }
}

impl PodName {
    fn is(&self, trail: &TrailSummary) -> bool {
        match self {
            Self::Uid(uid) => trail.pod_uid == *uid,
            Self::Named { namespace, name } => trail.namespace == *namespace && trail.pod == *name,
        }
    }
}

impl std::fmt::Display for PodName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uid(uid) => f.write_str(uid),
            Self::Named { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

fn pod(text: &str) -> Result<PodName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(PodName::Named { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        None if is_uid(text) => Ok(PodName::Uid(text.to_owned())),
        _ => Err(format!("`{text}` names no pod; write its UID, or NAMESPACE/NAME")),
    }
}

fn read_ca(path: &Path) -> anyhow::Result<rustls::RootCertStore> {
    let pem = fs::read(path).with_context(|| format!("--ca {}", path.display()))?;
    roots_of(&pem).with_context(|| format!("--ca {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_named_by_uid_or_by_name() {
        assert_eq!(pod("0a-1"), Ok(PodName::Uid("0a-1".to_owned())));
        let named = PodName::Named { namespace: "dev".to_owned(), name: "web".to_owned() };
        assert_eq!(pod("dev/web").as_ref(), Ok(&named));
        assert_eq!(named.to_string(), "dev/web");
        for wrong in ["", "/web", "dev/", "a/b/c", "a b"] {
            assert!(pod(wrong).is_err(), "{wrong}");
        }
    }
}
