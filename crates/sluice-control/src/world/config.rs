use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use sluice_wire::{Config, Document};

use super::World;

/// Labels that every namespace has, even where the cache does not know it yet.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Policy for one pod; `None`: it is not known here.
///
/// The revision names exactly what is sent, so a sidecar that reports it has
/// this policy, these bundles and these labels.
pub fn config_for(world: &World, uid: &str) -> Option<Config> {
    let pod = world.pods.get(uid)?;
    let fallback = BTreeMap::from([(NAME_LABEL.to_owned(), pod.namespace.clone())]);
    let labels = world.namespaces.get(&pod.namespace).unwrap_or(&fallback);
    let about = || world.documents.values().filter(|document| document.is_about(pod, labels));
    let documents: Vec<Document> =
        about().map(|read| Document { name: read.name.clone(), yaml: read.text.clone() }).collect();
    let bundles: BTreeMap<String, String> = about()
        .flat_map(|read| &read.bundles)
        .filter_map(|name| Some((name.clone(), world.bundles.get(name)?.clone())))
        .collect();
    let mut config = Config { revision: String::new(), documents, bundles, labels: pod.labels.clone() };
    config.revision = revision(&config);
    Some(config)
}

/// The first 16 hex digits of SHA-256 over all parts, each with its length.
fn revision(config: &Config) -> String {
    let mut digest = Context::new(&SHA256);
    let mut part = |text: &str| {
        digest.update(&(text.len() as u64).to_be_bytes());
        digest.update(text.as_bytes());
    };
    part("documents");
    for document in &config.documents {
        part(&document.name);
        part(&document.yaml);
    }
    for (section, entries) in [("bundles", &config.bundles), ("labels", &config.labels)] {
        part(section);
        for (key, value) in entries {
            part(key);
            part(value);
        }
    }
    let mut revision = hex::encode(digest.finish().as_ref());
    revision.truncate(16);
    revision
}
