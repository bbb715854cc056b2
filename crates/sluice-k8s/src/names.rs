//! Names that the control plane, the sidecar and the chart agree on.

/// Annotation of a pod that asks for the gateway; its value is
/// [`ENABLED`].
pub const INJECT: &str = "sluice.dev/inject";
/// The value that asks.
pub const ENABLED: &str = "enabled";
/// The value that a pod may carry to say that it does not ask.
pub const DISABLED: &str = "disabled";
/// Annotation (value: our version) and label (value: `true`) of a pod that was
/// injected.
pub const INJECTED: &str = "sluice.dev/injected";
/// Label of a namespace, value `true`: every pod is injected.
pub const REQUIRED: &str = "sluice.dev/required";
/// Annotation: why the agent runs.
pub const INTENT: &str = "sluice.dev/intent";
/// Annotation: which run of the agent this is.
pub const RUN_ID: &str = "sluice.dev/run-id";
/// Annotation: who or what started the agent.
pub const TRIGGERED_BY: &str = "sluice.dev/triggered-by";
/// Everything that begins so is ours.
pub const PREFIX: &str = "sluice.dev/";
/// Annotations of ours that a pod may carry.
pub const POD_ANNOTATIONS: [&str; 5] = [INJECT, INJECTED, INTENT, RUN_ID, TRIGGERED_BY];

/// The init container that writes the redirect rules.
pub const INIT: &str = "sluice-init";
/// The native sidecar.
pub const GATEWAY: &str = "sluice-gateway";
/// Names of containers and volumes that begin so are ours.
pub const RESERVED: &str = "sluice-";

/// Memory, the gateway's alone: the pod's CA key, the saved policy.
pub const PRIVATE: &str = "sluice-private";
/// Disk, the gateway's alone: records that the collector does not have yet.
pub const TRAIL: &str = "sluice-trail";
/// Memory, written by the gateway, read by the agent: what it trusts.
pub const TRUST: &str = "sluice-trust";
/// Memory, written by the gateway, read by the agent in place of the API
/// server's own folder.
pub const SERVICE_ACCOUNT: &str = "sluice-serviceaccount";
/// Projected, the gateway's alone: tokens and what the pod is.
pub const IDENTITY: &str = "sluice-identity";
/// All volumes of ours.
pub const VOLUMES: [&str; 5] = [PRIVATE, TRAIL, TRUST, SERVICE_ACCOUNT, IDENTITY];

/// Where [`PRIVATE`] is.
pub const PRIVATE_PATH: &str = "/run/sluice/private";
/// Where [`TRAIL`] is.
pub const TRAIL_PATH: &str = "/var/lib/sluice/trail";
/// Where [`TRUST`] is.
pub const TRUST_PATH: &str = "/run/sluice/trust";
/// Where [`IDENTITY`] is.
pub const IDENTITY_PATH: &str = "/run/sluice/identity";
/// Where clients look for the service account, and [`SERVICE_ACCOUNT`] is.
pub const SERVICE_ACCOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// In [`TRUST_PATH`]: the pod's CA.
pub const CA_FILE: &str = "/run/sluice/trust/ca.crt";
/// In [`TRUST_PATH`]: the pod's CA and the system's roots.
pub const BUNDLE_FILE: &str = "/run/sluice/trust/bundle.crt";
/// In [`TRUST_PATH`]: the Kubernetes targets of the policy.
pub const KUBECONFIG_FILE: &str = "/run/sluice/trust/kubeconfig";
/// In [`TRUST_PATH`]: the pod's CA and the system's roots, for Java.
pub const JAVA_FILE: &str = "/run/sluice/trust/java.p12";

/// Port of the transparent listener.
pub const TCP_PORT: u16 = 15001;
/// Port of the resolver, UDP and TCP.
pub const DNS_PORT: u16 = 15053;
/// Port of `/healthz` and `/readyz`.
pub const HEALTH_PORT: u16 = 15021;
/// On [`HEALTH_PORT`]: probes of the agent's containers, which the gateway makes
/// for the node. `CONTAINER/KIND` follows.
pub const PROBE_PATH: &str = "/probe/";
/// Variable of the gateway: those probes as their owner wrote them, JSON, by
/// path.
pub const PROBES: &str = "SLUICE_PROBES";
/// All ports of ours.
pub const PORTS: [u16; 3] = [TCP_PORT, DNS_PORT, HEALTH_PORT];

/// Audience of the token by which a sidecar enrols.
pub const CONTROL_AUDIENCE: &str = "control.sluice.dev";
/// The name by which agents reach the API server of their own cluster.
pub const IN_CLUSTER_SERVER: &str = "kubernetes.default.svc";
/// Namespace of the control plane, where the chart is told no other.
pub const SYSTEM_NAMESPACE: &str = "sluice-system";
/// In the admission policy `sluice-images`: the chart puts the images of the
/// gateway here, divided by commas.
pub const IMAGES_PLACEHOLDER: &str = "SLUICE_GATEWAY_IMAGES";
/// ConfigMap there: `settings.json`, an
/// [`InjectionSettings`](crate::inject::InjectionSettings).
pub const INJECTION_CONFIG: &str = "sluice-injection";
/// API group of our kinds.
pub const GROUP: &str = "sluice.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
