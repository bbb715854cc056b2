//! What policy says happens, when it says so, and is told in the client's own
//! words.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_testkit::{Protocol, Request, Seat, eventually};

use crate::clients::Ways;
use crate::world::{
    EVERYTHING, Fake, Real, TARGET, assert_denied, config_map, fake, reached_the_api_server, real_policy,
};

seats!(
    an_edit_takes_effect_in_the_same_process,
    a_broken_edit_changes_nothing,
    a_denial_is_readable_in_kubectl,
    the_api_server_never_sees_what_is_denied,
    conditions_look_into_the_body,
    a_denial_leaves_the_connection_usable,
    limits_hold
);

const LOOK: &str = r#"
  - name: look-around
    subjects: {groups: ["entra:developers"]}
    targets: [aks]
    kubernetes: {verbs: [get, list, watch], resources: [pods, deployments.apps, configmaps], namespaces: ["*"]}
    action: Allow
  - name: keep-deployments
    subjects: {anyone: true}
    kubernetes: {verbs: [delete, deletecollection], resources: [deployments.apps], namespaces: ["*"]}
    action: Deny
    message: "Deployments are removed through the release pipeline."
"#;

fn an_edit_takes_effect_in_the_same_process(seat: Seat) -> Result<()> {
    let real = Real::start(seat, LOOK)?;
    let namespace = real.cluster.namespace()?;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}});
    namespace.make(&namespace.core("configmaps"), &map)?;
    let path = namespace.core("configmaps/one");
    // The same connection lives through the edits.
    let mut client = real.client(Protocol::Http2)?;
    let delete = Request::new("DELETE", path.clone()).bearer(&real.token);
    let read = Request::get(path).bearer(&real.token);
    assert_denied(&client.send(&delete)?, 403, &[])?;
    real.gateway.write_policy("policy.yaml", &real_policy(EVERYTHING, "")?)?;
    eventually("the edit to allow", || client.send(&delete)?.expect(200).map(drop))?;
    real.gateway.write_policy("policy.yaml", &real_policy("[]", "")?)?;
    eventually("the edit to deny", || client.send(&read)?.expect(403).map(drop))?;
    let id = real.gateway.process().id();
    ensure!(fs::exists(format!("/proc/{id}"))?, "the gateway is another process");
    let records = real.gateway.trail().records()?;
    let revisions = records.iter().filter(|record| record.to_string().to_lowercase().contains("config")).count();
    ensure!(revisions >= 3, "the trail tells of {revisions} policies and not of 3: {records:#?}");
    Ok(())
}

fn a_broken_edit_changes_nothing(seat: Seat) -> Result<()> {
    let real = Real::start(seat, LOOK)?;
    let good = "/api/v1/namespaces/dev/pods";
    real.ask(Request::get(good))?.expect(200)?;
    let broken = real_policy(EVERYTHING, "")?.replace("verbs:", "verb:");
    real.gateway.write_policy("policy.yaml", &broken)?;
    real.gateway.process().error_line("complaint about the policy", |line| line.contains("verb").then_some(()))?;
    real.ask(Request::get(good))?.expect(200)?;
    assert_denied(&real.ask(Request::get("/api/v1/namespaces/dev/services"))?, 403, &[])?;
    real.gateway.write_policy("policy.yaml", &real_policy(EVERYTHING, "")?)?;
    eventually("the repaired policy", || {
        real.ask(Request::get("/api/v1/namespaces/dev/services"))?.expect(200).map(drop)
    })
}

fn a_denial_is_readable_in_kubectl(seat: Seat) -> Result<()> {
    let real = Real::start(seat, LOOK)?;
    let ways = Ways::new(&real, seat)?;
    let pods = ways.kubectl(&ways.through, &["get", "pods", "--namespace", "dev"])?;
    ensure!(pods.status.success() && pods.stdout.contains("web-"), "{}{}", pods.stdout, pods.stderr);
    let denied = ways.kubectl(&ways.through, &["delete", "deployment", "web", "--namespace", "dev"])?;
    assert_eq!(denied.status.code(), Some(1), "{}", denied.stdout);
    for word in ["Forbidden", "keep-deployments", "agents/e2e", "Deployments are removed through the release pipeline."]
    {
        ensure!(denied.stderr.contains(word), "kubectl does not say {word:?}: {}", denied.stderr);
    }
    let uncovered = ways.kubectl(&ways.through, &["get", "services", "--namespace", "dev"])?;
    assert_eq!(uncovered.status.code(), Some(1));
    for word in ["Forbidden", "services", "dev"] {
        ensure!(uncovered.stderr.contains(word), "kubectl does not say {word:?}: {}", uncovered.stderr);
    }
    real.cluster.admin(Request::get("/apis/apps/v1/namespaces/dev/deployments/web"))?.expect(200)?;
    Ok(())
}

fn the_api_server_never_sees_what_is_denied(seat: Seat) -> Result<()> {
    let real = Real::start(seat, LOOK)?;
    let namespace = real.cluster.namespace()?;
    let denied = [
        Request::get(namespace.core("secrets/denied-0")),
        Request::new("DELETE", namespace.core("configmaps/denied-1")),
        Request::new("DELETE", namespace.group("apps/v1", "deployments/denied-2")),
        Request::get(namespace.core("pods/denied-3/log")),
        Request::get(namespace.core("pods/denied-4/proxy/")),
        Request::new("POST", namespace.core("pods/denied-5/exec?command=sh")),
        Request::get(namespace.core("configmaps/denied-6")).header("impersonate-user", "system:admin"),
        Request::get(format!("/api/v1/namespaces/{}//secrets/denied-7", namespace.name)),
        Request::get(format!("/api/v1/namespaces/{}/configmaps/../secrets/denied-8", namespace.name)),
        Request::get(format!("/api/v1/namespaces/{}/configmaps%2F..%2Fsecrets/denied-9", namespace.name)),
        Request::get(namespace.core("%73ecrets/denied-10")),
        Request::get(format!("/api/v1/proxy/namespaces/{}/services/denied-11", namespace.name)),
        Request::new("POST", namespace.core("serviceaccounts/denied-12/token")).json(&json!({})),
        Request::new("POST", namespace.group("sluice.dev/v1alpha1", "gatewaypolicies?name=denied-13")).json(&json!({})),
        Request::get("/api/v1/nodes/node1/proxy/denied-14"),
        Request::get("/logs/denied-15"),
        Request::new("PUT", namespace.core("configmaps/denied-16"))
            .header("x-http-method-override", "GET")
            .json(&json!({})),
    ];
    for request in denied {
        let what = format!("{} {}", request.method, request.path);
        let response = real.ask(request)?;
        ensure!(matches!(response.status, 400 | 403), "{what}: {} {}", response.status, response.text());
        assert_eq!(response.json()?["kind"], "Status", "{what}");
    }
    assert_eq!(real.ask(Request::get(namespace.core("configmaps/seen")))?.status, 404);
    ensure!(reached_the_api_server(real.cluster, &format!("{}/configmaps/seen", namespace.name))?);
    for line in api_server_log(&real)?.lines().filter(|line| line.contains(&namespace.name)) {
        ensure!(!line.contains("denied-"), "it reached the API server: {line}");
    }
    Ok(())
}

fn api_server_log(real: &Real) -> Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(real.cluster.variable("CLUSTER_AUDIT_LOG")?)?).into_owned())
}

fn conditions_look_into_the_body(seat: Seat) -> Result<()> {
    let rules = r#"
  - name: make-config
    subjects: {groups: ["entra:developers"]}
    targets: [aks]
    kubernetes: {verbs: [create], resources: [configmaps], namespaces: ["*"]}
    when: "request.object.metadata.name.startsWith('tmp-')"
    action: Allow
"#;
    let (builder, upstream, signer) = fake(seat, &["h2", "http/1.1"], rules, "", config_map)?;
    let fake = Fake::over(builder, upstream, signer)?;
    let maps = "/api/v1/namespaces/dev/configmaps";
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let post = || Request::new("POST", maps);
    fake.ask(post().json(&map("tmp-1")))?.expect(201)?;
    fake.ask(post().body("application/yaml", "metadata: {name: tmp-2}\n"))?.expect(201)?;
    let refused = [
        post().json(&map("prod-1")),
        post().json(&json!({"metadata": {}})),
        post().body("application/json", r#"{"metadata": {"name": "tmp-x"}, "metadata": {"name": "prod"}}"#),
        post().body("application/json", "not JSON"),
        post().body("application/vnd.kubernetes.protobuf", b"k8s\0unread".to_vec()),
        post().body("application/cbor", b"\xd9\xd9\xf7\xa0".to_vec()),
        post().body("text/plain", map("tmp-3").to_string()),
        post(),
    ];
    for request in refused {
        let what = format!("{:?}", String::from_utf8_lossy(&request.body));
        let response = fake.ask(request)?;
        ensure!(matches!(response.status, 400 | 403 | 415), "{what}: {} {}", response.status, response.text());
    }
    assert_eq!(fake.paths().len(), 2);
    let bodies: Vec<_> = fake.upstream.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(
        bodies,
        [map("tmp-1").to_string().into_bytes(), b"metadata: {name: tmp-2}\n".to_vec()],
        "bodies arrive as sent"
    );
    Ok(())
}

fn a_denial_leaves_the_connection_usable(seat: Seat) -> Result<()> {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let real = Real::start(seat, LOOK)?;
        let mut client = real.client(protocol)?;
        let good = Request::get("/api/v1/namespaces/dev/pods").bearer(&real.token);
        let body = json!({"kind": "ConfigMap", "data": {"long": "x".repeat(40_000)}});
        let bad = Request::new("POST", "/api/v1/namespaces/dev/configmaps").bearer(&real.token).json(&body);
        for _ in 0..3 {
            client.send(&good)?.expect(200)?;
            assert_denied(&client.send(&bad)?, 403, &[])?;
        }
        client.send(&good)?.expect(200).context("after a denial")?;
    }
    Ok(())
}

fn limits_hold(seat: Seat) -> Result<()> {
    let limits = "  limits: {commandsPerMinute: 5, responseBytes: 1Mi}\n";
    let large = |seen: &sluice_testkit::Seen| {
        if seen.path.contains("large") {
            sluice_testkit::Answer::bytes("application/json", vec![b' '; 65_536]).times(1_000)
        } else {
            config_map(seen)
        }
    };
    let (builder, upstream, signer) = fake(seat, &["http/1.1"], EVERYTHING, limits, large)?;
    let fake = Fake::over(builder, upstream, signer)?;
    let path = "/api/v1/namespaces/dev/configmaps/one";
    // A body beyond the limit breaks off: whoever reads it must notice.
    let outcome = fake.ask(Request::get("/api/v1/namespaces/dev/configmaps/large"));
    if let Ok(response) = &outcome {
        ensure!(response.status != 200 || response.body.len() < 2_000_000, "{} bytes passed", response.body.len());
        ensure!(response.status != 200, "a cut body looks whole");
    }
    // A minute may end in between, so more than two minutes' worth is asked.
    let statuses: Vec<u16> = (0..12).map(|_| Ok(fake.ask(Request::get(path))?.status)).collect::<Result<_>>()?;
    ensure!(statuses.contains(&429), "no limit was met: {statuses:?}");
    let _ = fake.gateway.address(TARGET)?;
    Ok(())
}
