//! The only part of the check that asks anybody.

use std::fmt::Display;

use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sluice_k8s::inject::InjectionSettings;
use sluice_k8s::names;

use super::facts::{Facts, Grants, Read};
use super::templates::{self, KINDS, Unheard};
use crate::cluster::{Cluster, said};
use crate::collector::{QUERY_PORT, SERVICE, Shown, of_cluster, show};

/// Port of the webhook in the control plane's pods.
const WEBHOOK_PORT: u16 = 8443;
/// Port of the sidecars' server there.
const WIRE_PORT: u16 = 8444;

/// Reads all that is judged.
pub(super) async fn facts(cluster: &Cluster) -> Facts {
    let (client, namespace) = (&cluster.client, cluster.namespace.clone());
    let sluice = format!("/apis/{}/{}", names::GROUP, names::VERSION);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let admission = "/apis/admissionregistration.k8s.io/v1";
    let settings = settings(client, &namespace).await;
    let has_collector = has_collector(&settings);
    Facts {
        minor: minor(client).await,
        deployments: list(client, &format!("/apis/apps/v1/namespaces/{namespace}/deployments")).await,
        roots: cluster.roots().await.map_err(|error| format!("{error:#}")),
        mutating: list(client, &format!("{admission}/mutatingwebhookconfigurations")).await,
        validating: list(client, &format!("{admission}/validatingwebhookconfigurations")).await,
        definitions: list(client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions").await,
        asserted: list(client, &format!("{admission}/validatingadmissionpolicies")).await,
        bindings: list(client, &format!("{admission}/validatingadmissionpolicybindings")).await,
        namespaces: list(client, "/api/v1/namespaces").await,
        pods: list(client, "/api/v1/pods").await,
        unheard: unheard(client).await,
        policies: list(client, &format!("{sluice}/gatewaypolicies")).await,
        cluster_policies: list(client, &format!("{sluice}/clustergatewaypolicies")).await,
        providers: list(client, &format!("{sluice}/identityproviders")).await,
        rights: rights(client, rbac).await,
        webhook: shown(cluster, "sluice-control", WEBHOOK_PORT).await,
        wire: shown(cluster, "sluice-control", WIRE_PORT).await,
        query: if has_collector { shown(cluster, SERVICE, QUERY_PORT).await } else { Err(NONE.to_owned()) },
        trails: if has_collector { trails(cluster).await } else { Err(NONE.to_owned()) },
        settings,
        namespace,
    }
}

/// Whether the sidecars are told of a collector; where that cannot be read,
/// there is one.
pub(super) fn has_collector(settings: &Read<Option<InjectionSettings>>) -> bool {
    match settings {
        Ok(Some(settings)) => !settings.collector.is_empty(),
        Ok(None) | Err(_) => true,
    }
}

async fn minor(client: &Client) -> Read<u32> {
    let info = client.apiserver_version().await.map_err(|error| plain(said(error)))?;
    // Some providers write `30+`.
    let digits: String = info.minor.chars().take_while(char::is_ascii_digit).collect();
    match (info.major.as_str(), digits.parse()) {
        ("1", Ok(minor)) => Ok(minor),
        _ => Err(format!("`{}.{}` is no version of Kubernetes 1.x", info.major, info.minor)),
    }
}

async fn settings(client: &Client, namespace: &str) -> Read<Option<InjectionSettings>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = api.get_opt(names::INJECTION_CONFIG).await.map_err(|error| plain(said(error)))?;
    let Some(text) = map.and_then(|map| map.data?.remove("settings.json")) else { return Ok(None) };
    // Of another version it may have fields that are not known here.
    let mut value: Value = serde_json::from_str(&text).map_err(|error| format!("settings.json: {error}"))?;
    let known = serde_json::to_value(InjectionSettings::default()).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|field, _| known.get(field).is_some() || field == "imagePullPolicy");
    }
    serde_json::from_value(value).map(Some).map_err(|error| format!("settings.json: {error}"))
}

async fn rights(client: &Client, rbac: &str) -> Read<Grants> {
    Ok(Grants {
        cluster_roles: list(client, &format!("{rbac}/clusterroles")).await?,
        roles: list(client, &format!("{rbac}/roles")).await?,
        cluster_bindings: list(client, &format!("{rbac}/clusterrolebindings")).await?,
        bindings: list(client, &format!("{rbac}/rolebindings")).await?,
    })
}

async fn unheard(client: &Client) -> Read<Vec<Unheard>> {
    let mut all = Vec::new();
    for (kind, path) in KINDS {
        all.extend(gather(client, path, |item| Ok(templates::unheard(kind, &item))).await?);
    }
    Ok(all)
}

async fn shown(cluster: &Cluster, service: &str, port: u16) -> Read<Shown> {
    let asked = async {
        let stream = cluster.forward(service, port).await?;
        show(stream, &format!("{service}.{}.svc", cluster.namespace)).await
    };
    asked.await.map_err(|error| format!("{error:#}"))
}

async fn trails(cluster: &Cluster) -> Read<Vec<sluice_wire::TrailSummary>> {
    let asked = async { of_cluster(cluster, None, None, None).await?.trails(None).await };
    asked.await.map_err(|error| format!("{error:#}"))
}

/// All objects at a path. An object that cannot be read fails the whole: an
/// object that is passed over could be the one that matters.
async fn list<T: DeserializeOwned>(client: &Client, path: &str) -> Read<Vec<T>> {
    gather(client, path, |item| T::deserialize(item).map(Some)).await
}

/// What `take` keeps of the objects at a path, page by page.
async fn gather<T>(client: &Client, path: &str, take: impl Fn(Value) -> serde_json::Result<Option<T>>) -> Read<Vec<T>> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        items: Vec<Value>,
        #[serde(default)]
        metadata: Metadata,
    }
    #[derive(Deserialize, Default)]
    struct Metadata {
        #[serde(rename = "continue", default)]
        next: Option<String>,
    }
    let mut all = Vec::new();
    let mut next = String::new();
    loop {
        let more = if next.is_empty() { String::new() } else { format!("&continue={next}") };
        let request = Request::get(format!("{path}?limit={PAGE}{more}")).body(Vec::new()).map_err(plain)?;
        let page: Page = client.request(request).await.map_err(|error| format!("{path}: {}", said(error)))?;
        for item in page.items {
            let name = item.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            all.extend(take(item).map_err(|error| format!("{path}: {name}: {error}"))?);
        }
        match page.metadata.next.filter(|next| !next.is_empty()) {
            // Tokens of the API server are of the URL alphabet, or nearly.
            Some(token) => {
                next = percent_encoding::utf8_percent_encode(&token, percent_encoding::NON_ALPHANUMERIC).to_string()
            }
            None => return Ok(all),
        }
    }
}

fn plain(error: impl Display) -> String {
    error.to_string()
}

/// Nobody is told of it where there is no collector.
const NONE: &str = "there is no collector";
/// Objects of one page.
const PAGE: u32 = 500;
