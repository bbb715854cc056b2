use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::ListParams;
use tokio::io::DuplexStream;

use super::Cluster;

impl Cluster {
    /// A stream to a port of a ready pod behind a Service of ours, through the
    /// API server, as `kubectl port-forward` does it.
    ///
    /// # Errors
    /// When there is no such Service, no ready pod, or it may not be done.
    pub(crate) async fn forward(&self, service: &str, port: u16) -> anyhow::Result<DuplexStream> {
        let pod = self.ready_pod(service).await?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut forwarder =
            api.portforward(&pod, &[port]).await.map_err(|error| self.said(error)).with_context(|| {
                format!(
                    "port {port} of pod {}/{pod} cannot be forwarded (it takes the right to `create pods/portforward`)",
                    self.namespace
                )
            })?;
        forwarder.take_stream(port).with_context(|| format!("port {port} of pod {pod} gave no stream"))
    }

    async fn ready_pod(&self, service: &str) -> anyhow::Result<String> {
        let namespace = &self.namespace;
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let found = services.get(service).await.map_err(|error| self.said(error)).with_context(|| {
            format!("Service {namespace}/{service}; is Sluice installed in another namespace (--sluice-namespace)?")
        })?;
        let selector = found.spec.and_then(|spec| spec.selector).unwrap_or_default();
        if selector.is_empty() {
            bail!("Service {namespace}/{service} selects no pods");
        }
        let labels: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods =
            pods.list(&ListParams::default().labels(&labels.join(","))).await.map_err(|error| self.said(error))?;
        match pods.items.iter().find(|pod| is_ready(pod)).and_then(|pod| pod.metadata.name.clone()) {
            Some(name) => Ok(name),
            None => bail!(
                "no pod of Service {namespace}/{service} is ready; see kubectl -n {namespace} get pods -l {}",
                labels.join(",")
            ),
        }
    }
}

/// Whether a pod serves: ready, and not about to end.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
