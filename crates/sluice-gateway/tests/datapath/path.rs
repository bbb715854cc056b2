//! Decided, recorded, forwarded, masked; denied without losing the connection.

use tokio::io::AsyncWriteExt;

use crate::world::{LONG, World, of_kind, read_until};

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_request_passes_and_has_two_leaves() {
    let world = World::new().await;
    let answer = world
        .ask("GET", "/api/v1/namespaces/dev/pods?limit=5", "X-Sluice-Intent: look around\r\nAccept: a/b\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with(r#"{"apiVersion":"v1","items":[],"kind":"PodList"}"#), "{answer}");
    let seen = world.server.requests().remove(0);
    assert_eq!(seen.line, "GET /api/v1/namespaces/dev/pods?limit=5");
    assert_eq!(seen.headers["host"], "api.example");
    assert_eq!(seen.headers["accept"], "a/b");
    assert_eq!(seen.headers["authorization"], format!("Bearer {}", world.token));
    assert!(!seen.headers.contains_key("x-sluice-intent"));
    let leaves = world.leaves().await;
    let (intent, outcome) = (of_kind(&leaves, "intent"), of_kind(&leaves, "outcome"));
    assert_eq!(intent[0]["body"]["command"]["intents"][0]["text"], "look around");
    assert_eq!(intent[0]["body"]["rule"]["rule"], "developers");
    assert_eq!(outcome[0]["body"]["outcome"], "done");
    assert_eq!(outcome[0]["body"]["status"], 200);
    assert_eq!(outcome[0]["body"]["upstreamId"], "abc");
    assert_eq!(outcome[0]["of"]["id"], intent[0]["id"]);
    assert!(!leaves.iter().any(|leaf| leaf.to_string().contains("Bearer")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_leaves_the_connection_usable() {
    let world = World::new().await;
    let mut client = world.connect(&[b"http/1.1"]).await;
    let body = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"x\"}}";
    let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    client.write_all(world.request("POST", "/api/v1/namespaces/prod/pods", &head).as_bytes()).await.expect("write");
    let answer = read_until(&mut client, "\"code\":403").await;
    assert!(answer.contains("sluice denies create pods"), "{answer}");
    client.write_all(world.request("POST", "/api/v1/namespaces/dev/pods", &head).as_bytes()).await.expect("write");
    read_until(&mut client, "PodList").await;
    assert_eq!(world.server.requests()[0].body, body);
    drop(client);
    let leaves = world.leaves().await;
    assert_eq!(of_kind(&leaves, "refused")[0]["body"]["reason"]["code"], "NoRule");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_and_strangers_are_refused() {
    let world = World::new().await;
    for authorization in ["", "Authorization: Basic YTpi\r\n", "Authorization: Bearer a.b.c\r\n"] {
        let head = format!("GET /api HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n{authorization}\r\n");
        let answer = world.raw(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    assert!(world.server.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_masked_and_counted() {
    let world = World::new().await;
    let answer =
        world.ask("GET", "/api/v1/namespaces/dev/secrets/db", "Accept: application/vnd.kubernetes.protobuf\r\n").await;
    assert!(!answer.contains("aHVudGVyMg") && answer.contains("\"password\":"), "{answer}");
    let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    assert_eq!(length.parse::<usize>().ok(), Some(body.len()));
    let seen = world.server.requests().remove(0);
    assert_eq!(seen.headers["accept"], "application/json");
    assert_eq!(seen.headers["accept-encoding"], "identity");
    let leaves = world.leaves().await;
    assert_eq!(of_kind(&leaves, "outcome")[0]["body"]["masks"]["kubernetes.secrets"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_edit_changes_the_next_decision() {
    let world = World::new().await;
    let file = world.folder.path().join("policy.yaml");
    let text = std::fs::read_to_string(&file).expect("policy");
    assert!(world.ask("GET", "/api/v1/namespaces/prod/pods", "").await.starts_with("HTTP/1.1 403"));
    std::fs::write(&file, "kind: Nonsense").expect("policy");
    std::fs::write(&file, text.replace("namespaces: [dev]", "namespaces: [dev, prod]")).expect("policy");
    let allowed =
        async { while !world.ask("GET", "/api/v1/namespaces/prod/pods", "").await.starts_with("HTTP/1.1 200") {} };
    tokio::time::timeout(LONG, allowed).await.expect("the edit is taken");
    let leaves = world.leaves().await;
    assert!(of_kind(&leaves, "config").len() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_policy_leaves_the_last_good_one() {
    let world = World::new().await;
    let mut trail = Vec::new();
    std::fs::write(world.folder.path().join("policy.yaml"), "apiVersion: sluice.dev/v1alpha1\nkind: GatewayPolicy\n")
        .expect("policy");
    let refused = async {
        while !trail.iter().any(|leaf: &serde_json::Value| leaf["body"]["taken"] == false) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            trail = crate::world::leaves(&world.folder.path().join("trail"));
        }
    };
    tokio::time::timeout(LONG, refused).await.expect("the refusal is recorded");
    assert!(world.ask("GET", "/api/v1/namespaces/dev/pods", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_without_a_target_says_so() {
    let world = World::with(|policy| policy.replace("namespace: agents", "namespace: elsewhere")).await;
    let answer = world.ask("GET", "/api/v1/namespaces/dev/pods", "").await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("no target of the policy"), "{answer}");
    assert!(world.server.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hung_up_is_dialled_again() {
    let world = World::over(&[b"http/1.1"], |policy| policy).await;
    let mut client = world.connect(&[b"http/1.1"]).await;
    for _ in 0..3 {
        client.write_all(world.request("GET", "/api/v1/namespaces/dev/pods", "").as_bytes()).await.expect("write");
        read_until(&mut client, "PodList").await;
        world.server.hang_up();
    }
    assert!(world.server.connections() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hung_up_is_dialled_again_over_h2() {
    let world = World::new().await;
    let mut client = world.h2().await;
    for _ in 0..3 {
        let request = world.h2_request("GET", "/api/v1/namespaces/dev/pods");
        let response =
            tokio::time::timeout(LONG, client.send_request(request)).await.expect("in time").expect("response");
        assert_eq!(response.status(), 200);
        world.server.hang_up();
    }
    assert!(world.server.connections() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_another_host_is_refused() {
    let world = World::new().await;
    let mut client = world.h2().await;
    let mut request = world.h2_request("GET", "/api/v1/namespaces/dev/pods");
    *request.uri_mut() = "https://other.example/api/v1/namespaces/dev/pods".parse().expect("uri");
    assert_eq!(client.send_request(request).await.expect("response").status(), 421);
    let mut request = world.h2_request("GET", "/api/v1/namespaces/dev/pods");
    request.headers_mut().insert("host", "other.example".parse().expect("host"));
    assert_eq!(client.send_request(request).await.expect("response").status(), 421);
    assert!(world.server.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_named() {
    let away = World::new().await;
    let file = away.folder.path().join("upstream-ca.pem");
    let key = rcgen::KeyPair::generate().expect("key");
    let other = rcgen::CertificateParams::default().self_signed(&key).expect("certificate");
    std::fs::write(&file, other.pem()).expect("another CA");
    let named = async {
        loop {
            let answer = away.ask("GET", "/api/v1/namespaces/dev/pods", "").await;
            if answer.starts_with("HTTP/1.1 502") {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(LONG, named).await.expect("the new CA file is taken");
    assert!(answer.contains("TLS with api.example:443 failed"), "{answer}");
    let leaves = away.leaves().await;
    assert!(of_kind(&leaves, "outcome").iter().any(|leaf| leaf["body"]["outcome"] == "failed"));
}

/// Nobody asked for another protocol: what would follow belongs to no request.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_switches_protocols_unasked_is_not_followed() {
    let world = World::over(&[b"http/1.1"], |policy| policy).await;
    let mut client = world.connect(&[b"http/1.1"]).await;
    client.write_all(world.request("GET", "/api/v1/namespaces/dev/switches", "").as_bytes()).await.expect("write");
    let answer = read_until(&mut client, "\"code\":502").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("another protocol"), "{answer}");
    client.write_all(world.request("GET", "/api/v1/namespaces/dev/pods", "").as_bytes()).await.expect("write");
    read_until(&mut client, "PodList").await;
    drop(client);
    let leaves = world.leaves().await;
    assert_eq!(of_kind(&leaves, "outcome")[0]["body"]["outcome"], "failed");
    assert_eq!(of_kind(&leaves, "outcome")[0]["body"]["status"], 101);
}

/// What is guessed about an immutable Secret is refused, right or wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_of_values_takes_immutable_away() {
    let world = World::new().await;
    let body = r#"{"data":{"password":"aHVudGVyMg=="}}"#;
    let head = format!("Content-Type: application/merge-patch+json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = world.ask("PATCH", "/api/v1/namespaces/dev/secrets/db", &head).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = world.server.requests().remove(0);
    assert_eq!(seen.body, r#"{"immutable":null,"data":{"password":"aHVudGVyMg=="}}"#);
}
