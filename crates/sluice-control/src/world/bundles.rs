use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use sluice_link::server::Shutdown;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::warn;

use super::World;

/// ConfigMaps that are watched at a time.
const MAX_WATCHED: usize = 256;
/// In place of the namespace: that of the control plane.
const CONTROL: &str = "_control";

/// A ConfigMap, by the namespace as documents name it, and name.
type Name = (String, String);

/// Watches each ConfigMap that a document names, and no other: a cluster's
/// ConfigMaps are many and large. Ends with `shutdown`.
pub async fn follow_bundles(
    client: Client,
    namespace: String,
    mut world: watch::Receiver<Arc<World>>,
    bundles: watch::Sender<BTreeMap<String, String>>,
    shutdown: Shutdown,
) {
    let (sender, mut contents) = mpsc::channel::<(Name, Option<ConfigMap>)>(64);
    let mut watched: BTreeMap<Name, JoinHandle<()>> = BTreeMap::new();
    let mut maps: BTreeMap<Name, ConfigMap> = BTreeMap::new();
    let mut keys: BTreeSet<String> = BTreeSet::new();
    loop {
        tokio::select! {
            () = shutdown.requested() => break,
            changed = world.changed() => {
                if changed.is_err() {
                    break;
                }
                keys = keys_of(&world.borrow_and_update());
            }
            Some((name, map)) = contents.recv() => {
                match map {
                    Some(map) => { maps.insert(name, map); }
                    None => { maps.remove(&name); }
                }
            }
        }
        let wanted = wanted(&keys);
        watched.retain(|name, task| {
            let keep = wanted.contains(name);
            if !keep {
                task.abort();
            }
            keep
        });
        maps.retain(|name, _| wanted.contains(name));
        for name in wanted {
            watched.entry(name.clone()).or_insert_with(|| {
                let place = if name.0 == CONTROL { &namespace } else { &name.0 };
                tokio::spawn(follow(Api::namespaced(client.clone(), place), name, sender.clone()))
            });
        }
        let new = contents_of(&keys, &maps);
        bundles.send_if_modified(|present| {
            let differs = *present != new;
            if differs {
                *present = new;
            }
            differs
        });
    }
    watched.into_values().for_each(|task| task.abort());
}

async fn follow(api: Api<ConfigMap>, name: Name, sender: mpsc::Sender<(Name, Option<ConfigMap>)>) {
    let mut stream = std::pin::pin!(watch_object(api, &name.1).default_backoff());
    while let Some(item) = stream.next().await {
        match item {
            Ok(map) => {
                if sender.send((name.clone(), map)).await.is_err() {
                    return;
                }
            }
            Err(cause) => warn!(config_map = ?name, %cause, "the ConfigMap of a caBundleRef cannot be watched"),
        }
    }
}

/// Which are watched. Where there are too many, each namespace has its first
/// ones: those who write policy in one take nothing from another.
fn wanted(keys: &BTreeSet<String>) -> BTreeSet<Name> {
    let names: BTreeSet<Name> = keys.iter().filter_map(|key| name_of(key)).collect();
    let mut of_namespace: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, &Name)> = names
        .iter()
        .map(|name| {
            let rank = of_namespace.entry(&name.0).or_default();
            *rank += 1;
            // Providers are everybody's.
            (if name.0 == CONTROL { 0 } else { *rank }, name)
        })
        .collect();
    ranked.sort();
    ranked.into_iter().take(MAX_WATCHED).map(|(_, name)| name.clone()).collect()
}

fn keys_of(world: &World) -> BTreeSet<String> {
    world.documents.values().flat_map(|document| document.bundles.iter().cloned()).collect()
}

/// Of `NAMESPACE/CONFIGMAP/KEY`.
fn name_of(key: &str) -> Option<Name> {
    let mut parts = key.splitn(3, '/');
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}

fn contents_of(keys: &BTreeSet<String>, maps: &BTreeMap<Name, ConfigMap>) -> BTreeMap<String, String> {
    let content = |key: &String| {
        let entry = key.splitn(3, '/').nth(2)?;
        Some((key.clone(), maps.get(&name_of(key)?)?.data.as_ref()?.get(entry)?.clone()))
    };
    keys.iter().filter_map(content).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_names_many_takes_nothing_from_others() {
        let mut keys: BTreeSet<String> =
            (0..2 * MAX_WATCHED).map(|index| format!("greedy/map-{index:04}/ca.crt")).collect();
        keys.extend(["other/one/ca.crt", "other/two/ca.crt", "_control/idp/ca.crt"].map(str::to_owned));
        let wanted = wanted(&keys);
        assert_eq!(wanted.len(), MAX_WATCHED);
        for (namespace, name) in [("other", "one"), ("other", "two"), ("_control", "idp"), ("greedy", "map-0000")] {
            assert!(wanted.contains(&(namespace.to_owned(), name.to_owned())), "{namespace}/{name}");
        }
    }

    #[test]
    fn only_what_is_named_is_taken() {
        let map = ConfigMap {
            data: Some(BTreeMap::from([
                ("ca.crt".to_owned(), "PEM".to_owned()),
                ("password".to_owned(), "x".to_owned()),
            ])),
            ..ConfigMap::default()
        };
        let maps = BTreeMap::from([(("agents".to_owned(), "aks".to_owned()), map)]);
        let keys = ["agents/aks/ca.crt", "agents/aks/other", "agents/gone/ca.crt", "b/aks/ca.crt"];
        let keys: BTreeSet<String> = keys.map(str::to_owned).into();
        let found = contents_of(&keys, &maps);
        assert_eq!(found, BTreeMap::from([("agents/aks/ca.crt".to_owned(), "PEM".to_owned())]));
    }
}
