//! Streams: as they come, to their end or to the client's.

use tokio::io::AsyncWriteExt;

use crate::world::{LONG, World, leaves, of_kind, read_until};

const WATCH: &str = "/api/v1/namespaces/dev/pods?watch=true";

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_passes_line_by_line() {
    let world = World::new().await;
    let mut client = world.connect(&[b"http/1.1"]).await;
    client.write_all(world.request("GET", WATCH, "").as_bytes()).await.expect("write");
    for line in ["one", "two", "three"] {
        world.server.line(line);
        read_until(&mut client, line).await;
    }
    world.server.line("end");
    read_until(&mut client, "0\r\n\r\n").await;
    drop(client);
    let leaves = world.leaves().await;
    let outcome = of_kind(&leaves, "outcome")[0];
    assert_eq!(outcome["body"]["outcome"], "done");
    assert_eq!(outcome["body"]["bytes"], "one\ntwo\nthree\n".len());
    assert!(outcome["response"]["commitment"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_watch_says_so() {
    let world = World::new().await;
    let mut client = world.connect(&[b"http/1.1"]).await;
    client.write_all(world.request("GET", WATCH, "").as_bytes()).await.expect("write");
    world.server.line("one");
    read_until(&mut client, "one").await;
    drop(client);
    let trail = world.folder.path().join("trail");
    let abandoned = async {
        while !of_kind(&leaves(&trail), "outcome").iter().any(|leaf| leaf["body"]["outcome"] == "abandoned") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, abandoned).await.expect("the outcome");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_keeps_its_length() {
    let world = World::new().await;
    let answer = world.ask("GET", "/api/v1/namespaces/dev/pods/large", "").await;
    assert!(answer.contains("content-length: 300000\r\n"), "{}", &answer[..200]);
    assert_eq!(answer.split_once("\r\n\r\n").expect("body").1.len(), 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_over_the_limit_is_not_taken_for_whole() {
    let world = World::with(|policy| policy.replace("  rules:", "  limits: {responseBytes: 1Ki}\n  rules:")).await;
    let answer = world.ask("GET", "/api/v1/namespaces/dev/pods/large", "").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("limits.responseBytes"), "{answer}");
    let leaves = world.leaves().await;
    assert_eq!(of_kind(&leaves, "outcome")[0]["body"]["outcome"], "failed");
}
