//! Bundles of CA certificates that documents refer to.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::spec::CaBundleRef;
use crate::{Documents, units};

/// Key of a ConfigMap, where a reference names none.
const DEFAULT_KEY: &str = "ca.crt";
/// Stands for the control plane's namespace; no namespace can be called so.
const CONTROL: &str = "_control";

/// Names the bundle of a ConfigMap: `NAMESPACE/CONFIGMAP/KEY` as text, and as a
/// path below the folder of [`Documents::in_cluster`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BundleKey {
    /// Namespace of the policy; `None`: that of the control plane.
    pub namespace: Option<String>,
    /// Name of the ConfigMap.
    pub config_map: String,
    /// Its key.
    pub key: String,
}

impl fmt::Display for BundleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace.as_deref().unwrap_or(CONTROL), self.config_map, self.key)
    }
}

impl Documents {
    /// These documents come from a cluster: what they take from ConfigMaps is
    /// in `folder`, each bundle at the path that its [`BundleKey`] says. They
    /// may then not name files.
    #[must_use]
    pub fn in_cluster(mut self, folder: impl Into<PathBuf>) -> Self {
        self.bundles = Some(folder.into());
        self
    }

    /// These documents are asked about, and nobody is dialled by them: bundles
    /// of ConfigMaps are not needed. As [`in_cluster`](Self::in_cluster) where
    /// there are any, of no folder.
    #[must_use]
    pub fn offline(self) -> Self {
        if self.bundle_keys().is_empty() { self } else { self.in_cluster(PathBuf::new()) }
    }

    /// The bundles that the documents take from ConfigMaps: what a cluster must
    /// put into the folder of [`Self::in_cluster`]. References that are wrong
    /// are left out; [`compile`](crate::compile) says so.
    pub fn bundle_keys(&self) -> BTreeSet<BundleKey> {
        let targets = self.policies.iter().flat_map(|document| {
            let namespace = document.content.metadata.namespace();
            document.content.spec.targets.iter().map(move |target| (Some(namespace), target.ca_bundle_ref.as_ref()))
        });
        let providers = self.providers.iter().map(|document| (None, document.content.spec.ca_bundle_ref.as_ref()));
        targets
            .chain(providers)
            .filter_map(|(namespace, reference)| key(reference?, namespace).ok().flatten())
            .collect()
    }
}

/// The file of a reference. `folder`: that of the cluster's bundles. An error
/// is the field below the reference, and what is wrong.
pub(crate) fn path(
    reference: &CaBundleRef,
    namespace: Option<&str>,
    folder: Option<&Path>,
) -> Result<PathBuf, (&'static str, String)> {
    match (key(reference, namespace)?, folder) {
        (Some(key), Some(folder)) => Ok(folder.join(key.to_string())),
        (Some(_), None) => {
            Err((".configMap", "is read in a cluster only; write `file` and the path of a PEM file".to_owned()))
        }
        (None, None) => Ok(reference.file.clone().unwrap_or_default().into()),
        (None, Some(_)) => Err((".file", "is read from policy files only; in a cluster write `configMap`".to_owned())),
    }
}

/// The ConfigMap that is meant; `None`: a file is.
fn key(reference: &CaBundleRef, namespace: Option<&str>) -> Result<Option<BundleKey>, (&'static str, String)> {
    match (&reference.config_map, &reference.file) {
        (Some(_), Some(_)) => Err(("", "has `configMap` and `file`; remove one of them".to_owned())),
        (None, None) => Err(("", "names nothing; write `configMap`, or outside a cluster `file`".to_owned())),
        (None, Some(_)) if reference.key.is_some() => {
            Err((".key", "is of a ConfigMap; remove it, or write `configMap`".to_owned()))
        }
        (None, Some(file)) if file.is_empty() => Err((".file", "is empty; write the path of a PEM file".to_owned())),
        (None, Some(_)) => Ok(None),
        (Some(config_map), None) => {
            units::name(config_map).map_err(|message| (".configMap", message))?;
            let key = reference.key.as_deref().unwrap_or(DEFAULT_KEY);
            let fine = (1..=253).contains(&key.len())
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                && !matches!(key, "." | "..");
            if !fine {
                let shown: String = key.chars().take(64).collect();
                return Err((".key", format!("`{shown}` is no key; write letters, digits, `-`, `_` and `.`")));
            }
            Ok(Some(BundleKey {
                namespace: namespace.map(str::to_owned),
                config_map: config_map.clone(),
                key: key.to_owned(),
            }))
        }
    }
}
