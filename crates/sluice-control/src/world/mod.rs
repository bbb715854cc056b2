//! What the cluster says, as one value: policies, guard rails, providers, pods,
//! namespaces, CA bundles. Made from caches that each replica keeps itself.

mod bundles;
mod caches;
mod config;
mod read;
mod selector;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use bundles::follow_bundles;
pub use caches::Caches;
pub use config::config_for;
pub use read::{Pod, Read, Scope, read};
pub use selector::selects;

/// All that policy for a pod follows from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// By name of the document.
    pub documents: BTreeMap<String, Arc<Read>>,
    /// Injected pods that are not over, by UID.
    pub pods: BTreeMap<String, Pod>,
    /// Labels of namespaces, by name.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// PEM of ConfigMaps that documents name, by `NAMESPACE/CONFIGMAP/KEY`.
    pub bundles: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests;
