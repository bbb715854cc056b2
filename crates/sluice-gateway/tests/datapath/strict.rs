//! What must not be read in two ways is not read at all.

use tokio::io::AsyncWriteExt;

use crate::world::{HOST, World, of_kind, read_to_end};

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_are_refused_and_never_forwarded() {
    let world = World::new().await;
    let auth = format!("Authorization: Bearer {}\r\n", world.token);
    let host = format!("Host: {HOST}\r\n");
    let path = "/api/v1/namespaces/dev/pods";
    for (name, bytes, expected) in [
        (
            "CL and TE",
            format!(
                "POST {path} HTTP/1.1\r\n{host}{auth}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            "400",
        ),
        (
            "two CL",
            format!("POST {path} HTTP/1.1\r\n{host}{auth}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
            "400",
        ),
        ("TE variant", format!("POST {path} HTTP/1.1\r\n{host}{auth}Transfer-Encoding: xchunked\r\n\r\n"), "400"),
        ("TE with space", format!("POST {path} HTTP/1.1\r\n{host}{auth}Transfer-Encoding : chunked\r\n\r\n"), "400"),
        ("obs-fold", format!("GET {path} HTTP/1.1\r\n{host}{auth}X: a\r\n b\r\n\r\n"), "400"),
        ("bare LF", format!("GET {path} HTTP/1.1\n{host}{auth}\r\n"), "400"),
        ("bare CR", format!("GET {path} HTTP/1.1\r\n{host}{auth}X: a\rb\r\n\r\n"), "400"),
        ("absolute form", format!("GET https://{HOST}{path} HTTP/1.1\r\n{host}{auth}\r\n"), "400"),
        ("authority form", format!("CONNECT {HOST}:443 HTTP/1.1\r\n{host}{auth}\r\n"), "400"),
        ("no Host", format!("GET {path} HTTP/1.1\r\n{auth}\r\n"), "400"),
        ("two Hosts", format!("GET {path} HTTP/1.1\r\n{host}{host}{auth}\r\n"), "400"),
        ("another Host", format!("GET {path} HTTP/1.1\r\nHost: other.example\r\n{auth}\r\n"), "421"),
        ("long head", format!("GET {path} HTTP/1.1\r\n{host}{auth}X: {}\r\n\r\n", "x".repeat(70_000)), "431"),
        ("many fields", format!("GET {path} HTTP/1.1\r\n{host}{auth}{}\r\n", "X: y\r\n".repeat(120)), "431"),
        ("no HTTP", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = world.raw(bytes.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{name}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{name}: {answer}");
        assert!(answer.contains("\"kind\":\"Status\""), "{name}: {answer}");
    }
    assert!(world.server.requests().is_empty());
    let leaves = world.leaves().await;
    assert_eq!(of_kind(&leaves, "refused").len(), 15);
    assert!(of_kind(&leaves, "intent").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_chunks_end_the_connection_without_a_forwarded_request() {
    let world = World::new().await;
    for body in [
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "5\r\nhellooo\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "0\r\nContent-Length: 5\r\n\r\n",
    ] {
        let head = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer =
            world.raw(world.request("POST", "/api/v1/namespaces/dev/pods", &format!("{head}{body}")).as_bytes()).await;
        assert!(answer.is_empty() || status(&answer) == "400", "{body:?}: {answer}");
    }
    assert!(world.server.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_decided_one_by_one() {
    let world = World::new().await;
    let mut client = world.connect(&[b"http/1.1"]).await;
    let requests = [
        world.request("GET", "/api/v1/namespaces/dev/pods", ""),
        world.request("DELETE", "/api/v1/namespaces/prod/pods/x", ""),
        world.request("GET", "/api/v1/namespaces/dev/pods/y", ""),
        world.request("GET", "/api/v1/namespaces/dev/pods", "Upgrade: websocket\r\nConnection: upgrade\r\n"),
        "GET /api HTTP/1.1\r\nHost: other.example\r\n\r\n".to_owned(),
        world.request("GET", "/api/v1/namespaces/dev/pods/never", ""),
    ];
    client.write_all(requests.concat().as_bytes()).await.expect("write");
    let answers = read_to_end(&mut client).await;
    let codes: Vec<&str> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(codes, ["200", "403", "200", "403", "421"], "{answers}");
    let lines: Vec<String> = world.server.requests().into_iter().map(|seen| seen.line).collect();
    assert_eq!(lines, ["GET /api/v1/namespaces/dev/pods", "GET /api/v1/namespaces/dev/pods/y"]);
}
