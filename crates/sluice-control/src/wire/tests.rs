use std::collections::BTreeMap;

use futures_util::StreamExt;
use serde_json::json;

use super::*;
use crate::world::{Pod, read};

fn world(rule: &str) -> World {
    let policy = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "GatewayPolicy",
        "metadata": {"name": "coder", "namespace": "agents"}, "spec": {"rules": [{"name": rule}]},
    });
    let pod = Pod {
        namespace: "agents".to_owned(),
        name: "coder-1".to_owned(),
        service_account: "default".to_owned(),
        labels: BTreeMap::new(),
    };
    let document = Arc::new(read(&policy, "u", Some(1)));
    World {
        documents: BTreeMap::from([(document.name.clone(), document)]),
        pods: BTreeMap::from([("uid-1".to_owned(), pod)]),
        ..World::default()
    }
}

fn parsed(line: &Bytes) -> ConfigLine {
    assert!(line.ends_with(b"\n"));
    serde_json::from_slice(line).unwrap()
}

fn revision(line: &ConfigLine) -> String {
    match line {
        ConfigLine::Config(config) => config.revision.clone(),
        ConfigLine::Heartbeat => panic!("a heartbeat"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_brings_the_policy_then_changes_and_heartbeats_between() {
    let (sender, world_out) = watch::channel(Arc::new(world("a")));
    let (_keep, shutdown) = Shutdown::channel();
    let mut stream = Box::pin(lines(world_out, "uid-1".to_owned(), shutdown));
    let first = parsed(&stream.next().await.unwrap());
    assert_eq!(parsed(&stream.next().await.unwrap()), ConfigLine::Heartbeat);
    // The same again says nothing; another policy is a line.
    sender.send_replace(Arc::new(world("a")));
    assert_eq!(parsed(&stream.next().await.unwrap()), ConfigLine::Heartbeat);
    sender.send_replace(Arc::new(world("b")));
    let second = parsed(&stream.next().await.unwrap());
    assert_ne!(revision(&first), revision(&second));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_pod_and_with_the_process() {
    let (sender, world_out) = watch::channel(Arc::new(world("a")));
    let (stop, shutdown) = Shutdown::channel();
    let mut gone = Box::pin(lines(world_out.clone(), "uid-1".to_owned(), shutdown.clone()));
    assert!(gone.next().await.is_some());
    sender.send_replace(Arc::new(World::default()));
    assert!(gone.next().await.is_none());
    sender.send_replace(Arc::new(world("a")));
    let mut stopped = Box::pin(lines(world_out, "uid-1".to_owned(), shutdown));
    assert!(stopped.next().await.is_some());
    stop.send_replace(true);
    assert!(stopped.next().await.is_none());
}

#[test]
fn only_a_pods_certificate_of_our_domain_is_believed() {
    let peer = |id: &str| Peer { identity: id.parse().ok(), ..Peer::default() };
    assert_eq!(pod_of(&peer("spiffe://sluice.local/ns/a/sa/b/pod/c"), "sluice.local").unwrap(), "c");
    for id in ["", "spiffe://sluice.local/control", "spiffe://other/ns/a/sa/b/pod/c"] {
        assert_eq!(pod_of(&peer(id), "sluice.local").unwrap_err().code, Code::NotYou, "{id}");
    }
}

#[test]
fn a_token_is_a_bearer_token_of_some_size() {
    let headers = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
    assert_eq!(bearer(&headers("Bearer abc")).unwrap().expose(), "abc");
    assert_eq!(bearer(&headers("bearer abc")).unwrap().expose(), "abc");
    let long = format!("Bearer {}", "x".repeat(MAX_TOKEN + 1));
    for value in ["", "abc", "Basic abc", "Bearer ", long.as_str()] {
        assert_eq!(bearer(&headers(value)).unwrap_err().code, Code::BadToken);
    }
    assert_eq!(bearer(&HeaderMap::new()).unwrap_err().code, Code::BadToken);
}
