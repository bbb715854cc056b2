//! What policy allows arrives as it would without the gateway: reads.

use anyhow::{Context, Result, bail};
use serde_json::json;
use sluice_testkit::{Client, Namespace, Protocol, Request, Response, Seat};

use crate::world::{EVERYTHING, Real};

seats!(reads_on_http1, reads_on_http2);

fn reads_on_http1(seat: Seat) -> Result<()> {
    reads(seat, Protocol::Http1)
}

fn reads_on_http2(seat: Seat) -> Result<()> {
    reads(seat, Protocol::Http2)
}

/// Headers in which two answers of one API server differ, whoever asks.
pub(crate) const VOLATILE_HEADERS: &[&str] = &["audit-id", "date"];

/// The headers that must be equal, in an order of their own.
pub(crate) fn headers(response: &Response) -> Vec<(String, String)> {
    let mut headers = response.headers.clone();
    headers.retain(|(name, _)| !VOLATILE_HEADERS.contains(&name.as_str()));
    headers.sort();
    headers
}

fn reads(seat: Seat, protocol: Protocol) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let namespace = real.cluster.namespace()?;
    fill(&namespace)?;
    let pod = pod(&real)?;
    let mut direct = real.cluster.direct(seat, protocol)?;
    let mut through = real.client(protocol)?;
    let requests = requests(&namespace, &pod);
    assert!(requests.len() >= 40, "{} reads", requests.len());
    for request in requests {
        let request = request.bearer(&real.token);
        let (expected, got) = bracket(&mut direct, &mut through, &request)?;
        let what = format!("{} {}", request.method, request.path);
        assert_eq!(got.status, expected.status, "{what}: {}", got.text());
        assert_eq!(headers(&got), headers(&expected), "{what}");
        assert!(got.body == expected.body, "{what}: bodies differ\n{}\n{}", expected.text(), got.text());
    }
    Ok(())
}

/// Asks the API server before and after, until nothing changed in between.
fn bracket(direct: &mut Client, through: &mut Client, request: &Request) -> Result<(Response, Response)> {
    for _ in 0..50 {
        let before = direct.send(request).with_context(|| format!("direct: {}", request.path))?;
        let got = through.send(request).with_context(|| format!("through: {}", request.path))?;
        let after = direct.send(request)?;
        if before.status == after.status && before.body == after.body {
            return Ok((before, got));
        }
    }
    bail!("{} never stays the same for the time of three reads", request.path)
}

/// What the reads are about.
fn fill(namespace: &Namespace) -> Result<()> {
    for index in 0..5 {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("map-{index}"), "labels": {"index": index.to_string()}},
            "data": {"text": "Ünïcödé ☃ \u{1}\t\"\\", "long": "x".repeat(10_000)},
            "binaryData": {"bytes": "AAEC/w=="},
        });
        namespace.make(&namespace.core("configmaps"), &object)?;
    }
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "idle"},
        "spec": {"selector": {"app": "idle"}, "ports": [{"port": 80}]},
    });
    namespace.make(&namespace.core("services"), &service)?;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    });
    namespace.make(&namespace.group("rbac.authorization.k8s.io/v1", "roles"), &role)?;
    Ok(())
}

/// The pod of `web` in `dev`.
pub(crate) fn pod(real: &Real) -> Result<String> {
    let path = "/api/v1/namespaces/dev/pods?labelSelector=app%3Dweb";
    let pods = real.cluster.admin(Request::get(path))?.expect(200)?.json()?;
    Ok(pods["items"][0]["metadata"]["name"].as_str().context("no pod of app=web in dev")?.to_owned())
}

fn requests(namespace: &Namespace, pod: &str) -> Vec<Request> {
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let get = |path: String| Request::get(path);
    let map = namespace.core("configmaps/map-0");
    let maps = namespace.core("configmaps");
    let log = format!("/api/v1/namespaces/dev/pods/{pod}/log");
    vec![
        get("/version".into()),
        get("/api".into()),
        get("/apis".into()),
        get("/api".into()).header("accept", AGGREGATED),
        get("/apis".into()).header("accept", AGGREGATED),
        get("/api/v1".into()),
        get("/apis/apps".into()),
        get("/apis/apps/v1".into()),
        get("/openapi/v3".into()),
        get("/openapi/v3/apis/apps/v1".into()),
        get("/openapi/v2".into()).header("accept-encoding", "gzip"),
        get("/openapi/v2".into()).header("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"),
        get("/livez".into()),
        get("/readyz".into()),
        get(map.clone()),
        get(format!("{map}?pretty=true")),
        get(map.clone()).header("accept", "application/yaml"),
        get(map.clone()).header("accept", PROTOBUF),
        get(map.clone()).header("accept", TABLE),
        get(map.clone()).header("accept", METADATA),
        get(map.clone()).header("accept", "application/json, */*").header("user-agent", "Ünïcödé-free/1.0"),
        get(map.clone()).header("accept", "text/html"),
        get(namespace.core("configmaps/absent")),
        get(maps.clone()),
        get(maps.clone()).header("accept", PROTOBUF),
        get(maps.clone()).header("accept", TABLE),
        get(maps.clone()).header("accept", METADATA_LIST),
        get(maps.clone()).header("accept-encoding", "gzip"),
        get(format!("{maps}?limit=2")),
        get(format!("{maps}?labelSelector=index%20in%20%281%2C2%29")),
        get(format!("{maps}?fieldSelector=metadata.name%3Dmap-3")),
        get(format!("{maps}?labelSelector=%21%21")),
        get(format!("{maps}?watch=1&resourceVersion=0&timeoutSeconds=1&fieldSelector=metadata.name%3Dmap-1")),
        get(format!("{maps}?resourceVersion=nonsense")),
        get(namespace.core("services/idle")),
        get(namespace.core("serviceaccounts/default")),
        get(namespace.core("pods")),
        get(namespace.core("resourcequotas")),
        get(namespace.group("rbac.authorization.k8s.io/v1", "roles/reader")),
        get(namespace.group("apps/v1", "deployments")),
        get(namespace.group("apps/v1", "nonsense")),
        get(namespace.group("nonsense.example/v1", "things")),
        get(format!("/api/v1/namespaces/{}", namespace.name)),
        get("/api/v1/namespaces".into()).header("accept", TABLE),
        get("/api/v1/persistentvolumes".into()),
        get("/apis/storage.k8s.io/v1/storageclasses".into()),
        get("/apis/rbac.authorization.k8s.io/v1/clusterroles/view".into()),
        get("/api/v1/namespaces/kube-system/configmaps".into()),
        get("/api/v1/namespaces/dev/configmaps/settings".into()),
        get("/apis/apps/v1/namespaces/dev/deployments/web".into()),
        get("/apis/apps/v1/namespaces/dev/deployments/web/scale".into()),
        get("/api/v1/namespaces/dev/services/web".into()),
        get(format!("{log}?limitBytes=40")),
        get(format!("{log}?limitBytes=40&timestamps=true")),
        get(format!("{log}?container=absent")),
    ]
}
