//! The way to a cluster: kubeconfig, bearer token, streams to our own pods.

mod forward;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use sluice_k8s::names;

/// Which cluster, and where in it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Kubeconfig [default: $KUBECONFIG, ~/.kube/config, or the pod's own service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace that Sluice is installed in
    #[arg(long, value_name = "NS", default_value = names::SYSTEM_NAMESPACE)]
    sluice_namespace: String,
}

/// A cluster that can be asked.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// Namespace of Sluice.
    pub(crate) namespace: String,
    config: Config,
    /// What names the cluster, in words.
    named: String,
}

impl Cluster {
    /// Reads the kubeconfig; nothing is asked yet.
    ///
    /// # Errors
    /// When there is no kubeconfig, or it cannot be used.
    pub(crate) async fn find(args: &ClusterArgs) -> anyhow::Result<Self> {
        let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
        let mut named = args.context.as_ref().map(|name| format!("context `{name}`"));
        let mut config = match &args.kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig {}", path.display()))?;
                let context = args.context.as_ref().or(read.current_context.as_ref());
                named = context.map(|name| format!("context `{name}` of {}", path.display()));
                let config = Config::from_custom_kubeconfig(read, &options).await;
                config.with_context(|| format!("--kubeconfig {}", path.display()))?
            }
            None if args.context.is_some() => Config::from_kubeconfig(&options).await.context("--context")?,
            None => {
                let present = Kubeconfig::read().ok().and_then(|read| read.current_context);
                named = present.map(|name| format!("context `{name}`, the current one"));
                Config::infer().await.context("no cluster; name one with --kubeconfig FILE")?
            }
        };
        config.connect_timeout = Some(CONNECT);
        let client = Client::try_from(config.clone()).context("the kubeconfig cannot be used")?;
        let named = named.unwrap_or_else(|| "the pod's own cluster, or a kubeconfig without a context".to_owned());
        Ok(Self { client, namespace: args.sluice_namespace.clone(), config, named })
    }

    /// Why the API server did not do what it was asked, or was not heard.
    pub(crate) fn said(&self, error: kube::Error) -> anyhow::Error {
        if matches!(error, kube::Error::Api(_)) {
            return said(error);
        }
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let url = self.config.cluster_url.to_string();
        anyhow::anyhow!(
            "the API server {} ({}) gives no answer: {cause}; see whether it runs and can be reached from here, or name \
             another cluster with --context or --kubeconfig",
            url.trim_end_matches('/'),
            self.named
        )
    }
}

/// An answer of the API server's, without what only programmers read.
pub(crate) fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("the API server says: {}", status.message),
        other => other.into(),
    }
}

/// For a TCP connection to the API server.
const CONNECT: Duration = Duration::from_secs(10);
