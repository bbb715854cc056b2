use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use sluice_link::Endpoint;

use crate::probe::Probes;

/// Serves the pod that it was injected into.
///
/// Everything comes from the injected container: its environment and its
/// volumes.
#[derive(Debug, Clone, Args)]
pub struct PodArguments {
    /// URL of the control plane.
    #[arg(long, env = "SLUICE_CONTROL", value_name = "URL")]
    pub control: Endpoint,

    /// URL of the collector; empty: records stay in the pod.
    #[arg(long, env = "SLUICE_COLLECTOR", default_value = "", value_name = "URL")]
    pub collector: String,

    /// Roots that vouch for both, PEM.
    #[arg(long, env = "SLUICE_ROOTS", hide_env_values = true, value_name = "PEM")]
    pub roots: String,

    /// SPIFFE trust domain.
    #[arg(long, env = "SLUICE_TRUST_DOMAIN", default_value = sluice_wire::TRUST_DOMAIN, value_name = "NAME")]
    pub trust_domain: String,

    /// Service account of the pod.
    #[arg(long, env = "SLUICE_SERVICE_ACCOUNT", default_value = "default", value_name = "NAME")]
    pub service_account: String,

    /// Node on which it runs.
    #[arg(long, env = "SLUICE_NODE", default_value = "", value_name = "NAME")]
    pub node: String,

    /// Address of the cluster's API server.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", value_name = "IP")]
    pub api_host: Option<IpAddr>,

    /// Its port.
    #[arg(long, env = "KUBERNETES_SERVICE_PORT", default_value_t = 443, value_name = "PORT")]
    pub api_port: u16,

    /// Probes of the pod's containers, JSON by path: made here for the node.
    #[arg(long, env = "SLUICE_PROBES", default_value = "", hide_env_values = true, value_name = "JSON")]
    pub probes: Probes,

    /// Tokens, and what the pod is.
    #[arg(long, default_value = "/run/sluice/identity", value_name = "DIR")]
    pub identity: PathBuf,

    /// Keys and the last policy; the gateway's alone.
    #[arg(long, default_value = "/run/sluice/private", value_name = "DIR")]
    pub private: PathBuf,

    /// What the agent trusts.
    #[arg(long, default_value = "/run/sluice/trust", value_name = "DIR")]
    pub trust: PathBuf,

    /// What the agent takes for its service account.
    #[arg(long, default_value = "/var/run/secrets/kubernetes.io/serviceaccount", value_name = "DIR")]
    pub service_account_folder: PathBuf,

    /// Folder of the trail.
    #[arg(long, default_value = "/var/lib/sluice/trail", value_name = "DIR")]
    pub trail: PathBuf,

    /// Bytes that the trail may take. Keep it below the volume's limit: a pod
    /// that exceeds that is evicted.
    #[arg(long, env = "SLUICE_TRAIL_BYTES", default_value_t = 768 << 20, value_name = "BYTES")]
    pub trail_bytes: u64,

    /// Seconds that a record may take to the collector where it must be there
    /// before its command goes on.
    #[arg(long, env = "SLUICE_COLLECTOR_WAIT", default_value_t = 5, value_name = "SECONDS")]
    pub collector_wait: u64,

    /// Takes the connections that the kernel redirects.
    #[arg(long, default_value = "[::]:15001", value_name = "IP:PORT")]
    pub transparent: SocketAddr,

    /// Answers DNS, over UDP and TCP. Redirected questions arrive at the
    /// loopback addresses, and the answer must leave from there.
    #[arg(long, default_values = ["127.0.0.1:15053", "[::1]:15053"], value_name = "IP:PORT")]
    pub dns: Vec<SocketAddr>,

    /// Serves /healthz, /readyz and /metrics.
    #[arg(long, default_value = "[::]:15021", value_name = "IP:PORT")]
    pub health: SocketAddr,
}
