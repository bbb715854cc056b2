use k8s_openapi::api::core::v1::ResourceRequirements;
use serde::{Deserialize, Serialize};

use super::Size;

/// What the injected containers are made of; the same for every pod. The
/// control plane reads it from the ConfigMap
/// [`INJECTION_CONFIG`](crate::names::INJECTION_CONFIG).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InjectionSettings {
    /// Our version, as the pods are marked with it.
    pub version: String,
    /// Image of both containers.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; absent: Kubernetes decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// URL of the control plane.
    pub control: String,
    /// URL of the collector; empty: there is none.
    pub collector: String,
    /// PEM: roots of the CA that vouches for both.
    pub roots: String,
    /// SPIFFE trust domain of the workloads' certificates.
    pub trust_domain: String,
    /// User and group of the gateway; no agent may have either.
    pub user: i64,
    /// Group of agents that name none: an image could name the gateway's.
    pub agent_group: i64,
    /// Room for records that the collector does not have yet.
    pub trail_size: Size,
    /// Whether Java programs are told of the trust store
    /// [`JAVA_FILE`](crate::names::JAVA_FILE), which the gateway always writes.
    pub java_trust_store: bool,
    /// `RUST_LOG` of both containers; empty: their default.
    pub log: String,
    /// Requests and limits of the gateway.
    pub resources: ResourceRequirements,
    /// Requests and limits of the init step.
    pub init_resources: ResourceRequirements,
}

impl Default for InjectionSettings {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            image: concat!("sluice-gateway:", env!("CARGO_PKG_VERSION")).to_owned(),
            image_pull_policy: None,
            control: "https://sluice-control.sluice-system.svc:8444".to_owned(),
            collector: "https://sluice-collector.sluice-system.svc:8445".to_owned(),
            roots: String::new(),
            trust_domain: "sluice.local".to_owned(),
            user: 62051,
            agent_group: 0,
            trail_size: Size::default(),
            java_trust_store: true,
            log: String::new(),
            resources: resources("25m", "48Mi", "1", "256Mi"),
            init_resources: resources("10m", "16Mi", "1", "64Mi"),
        }
    }
}

fn resources(cpu: &str, memory: &str, most_cpu: &str, most_memory: &str) -> ResourceRequirements {
    let pair = |cpu: &str, memory: &str| {
        use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
        Some([("cpu".to_owned(), Quantity(cpu.to_owned())), ("memory".to_owned(), Quantity(memory.to_owned()))].into())
    };
    ResourceRequirements { requests: pair(cpu, memory), limits: pair(most_cpu, most_memory), ..Default::default() }
}
