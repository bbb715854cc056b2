//! The gateway as a pod's sidecar: what comes from the pod's volumes and from
//! the control plane, and what the agent's containers find in theirs.
//!
//! ```text
//! projected volume --workload, tokens--.
//! control plane ---credentials, policy--+--> Gateway --records--> collector
//!                                        '--> files that the agent reads
//! ```

#[cfg(test)]
mod agreement;
mod cluster;
mod control;
mod files;
mod follow;
mod options;
mod run;
mod saved;
mod workload;

pub(crate) use cluster::is_in_cluster;
pub use cluster::{InCluster, OwnToken};
pub(crate) use control::Control;
pub use files::AgentFiles;
pub(crate) use files::{CA, NO_TOKEN};
pub use options::PodArguments;
pub use run::run;

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use sluice_core::Intent;
use sluice_link::Link;

use crate::probe::Probes;

/// What only a pod's sidecar has.
#[derive(Debug)]
pub struct Pod {
    /// Where policy comes from.
    pub control: Link,
    /// Folder of the gateway's own: the interception CA's key, the last policy.
    pub private: PathBuf,
    /// Where records go.
    pub collector: Option<Collector>,
    /// What the pod's annotations say of the run.
    pub intents: Vec<Intent>,
    /// What the agent reads.
    pub files: AgentFiles,
    /// The API server of the pod's own cluster.
    pub in_cluster: Option<InCluster>,
    /// Probes of the agent's containers.
    pub probes: Probes,
    /// Bytes that the trail may take.
    pub capacity: u64,
    /// Sockets of the resolver, one pair for each family.
    pub dns: Vec<(UdpSocket, TcpListener)>,
}

/// Where records go.
#[derive(Debug)]
pub struct Collector {
    /// The way there.
    pub link: Link,
    /// How long a record that must be there is waited for.
    pub wait: Duration,
}
