//! HTTP/2 that is malformed, or would be smuggled into HTTP/1.1 (RFC 9113,
//! 8.2 and 8.3).

use anyhow::{Result, ensure};
use sluice_testkit::{Request, Seat, frames};

use crate::names::ask_h2;
use crate::world::{Fake, HOST, TARGET, config_map};

seats!(malformed_heads_are_refused, a_body_that_is_not_as_long_as_it_says);

const PATH: &str = "/api/v1/namespaces/dev/configmaps";

fn malformed_heads_are_refused(seat: Seat) -> Result<()> {
    // The server behind speaks HTTP/2 in one half and HTTP/1.1 is what the gateway must not fall back to.
    let fake = Fake::start(seat, config_map)?;
    let usual = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", PATH)];
    let mut cases: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for (what, more) in [
        ("connection", ("connection", "close")),
        ("keep-alive", ("keep-alive", "timeout=5")),
        ("proxy-connection", ("proxy-connection", "keep-alive")),
        ("transfer-encoding", ("transfer-encoding", "chunked")),
        ("upgrade", ("upgrade", "websocket")),
        ("te", ("te", "gzip")),
        ("upper case", ("X-Upper", "1")),
        ("CR in a value", ("x", "a\rb")),
        ("LF in a value", ("x", "a\nb: c")),
        ("CRLF and a request in a value", ("x", "a\r\n\r\nGET /smuggled HTTP/1.1\r\n")),
        ("NUL in a value", ("x", "a\0b")),
        ("colon in a name", ("x: y\r\nz", "1")),
        ("blank in a name", ("x y", "1")),
        ("CRLF in a name", ("x\r\ny", "1")),
        ("empty name", ("", "1")),
        ("unknown pseudo header", (":evil", "1")),
        ("a status", (":status", "200")),
        ("pseudo header after the others", (":path", "/smuggled")),
        ("a second authority", (":authority", "evil.example")),
        ("a second method", (":method", "DELETE")),
        ("extended connect without CONNECT", (":protocol", "websocket")),
        ("another Host", ("host", "evil.example")),
    ] {
        cases.push((what, [&usual[..], &[more]].concat()));
    }
    for path in ["", "*", "api/v1/pods", "https://evil.example/api", "/a b", "/a\r\nx: y", "/a#b", "//evil.example/x"] {
        cases.push(("path", vec![(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)]));
    }
    for method in ["", "GET /x", "GET\r\n", "CONNECT", "get"] {
        cases.push(("method", vec![(":method", method), (":scheme", "https"), (":authority", HOST), (":path", PATH)]));
    }
    cases.push((
        "scheme",
        vec![(":method", "GET"), (":scheme", "https://evil.example/"), (":authority", HOST), (":path", PATH)],
    ));
    cases.push(("no scheme", vec![(":method", "GET"), (":authority", HOST), (":path", PATH)]));
    cases.push(("no method", vec![(":scheme", "https"), (":authority", HOST), (":path", PATH)]));
    cases.push(("no path", vec![(":method", "GET"), (":scheme", "https"), (":authority", HOST)]));
    cases.push(("no authority", vec![(":method", "GET"), (":scheme", "https"), (":path", PATH)]));
    cases.push(("CONNECT", vec![(":method", "CONNECT"), (":authority", HOST)]));
    cases.push((
        "extended CONNECT",
        vec![
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":authority", HOST),
            (":path", PATH),
        ],
    ));
    let mut wrong = Vec::new();
    for (what, fields) in &cases {
        if let Some(status @ 0..400) = ask_h2(&fake, fields)? {
            wrong.push(format!("{what} {fields:?}: {status}"));
        }
    }
    ensure!(wrong.is_empty(), "not refused:\n{}", wrong.join("\n"));
    assert_eq!(fake.paths(), Vec::<String>::new());
    assert_eq!(ask_h2(&fake, &usual)?, Some(200), "the honest one");
    Ok(())
}

fn a_body_that_is_not_as_long_as_it_says(seat: Seat) -> Result<()> {
    let fake = Fake::start(seat, config_map)?;
    let authorization = format!("Bearer {}", fake.token);
    for (length, body) in [("0", "x"), ("5", "xx"), ("1", "xx"), ("-1", "x"), ("1, 1", "x"), ("+1", "x")] {
        let mut raw = fake.gateway.raw_h2(TARGET)?;
        let fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", HOST),
            (":path", PATH),
            ("content-type", "application/json"),
            ("content-length", length),
            ("authorization", authorization.as_str()),
        ];
        raw.send([frames::PREFACE, &frames::frame(frames::SETTINGS, 0, 0, &[])].concat())?;
        raw.send(frames::frame(frames::HEADERS, frames::END_HEADERS, 1, &frames::block(&fields)))?;
        let _ = raw.send(frames::frame(frames::DATA, frames::END_STREAM, 1, body.as_bytes()));
        while let Ok(frame) = frames::read(&mut raw) {
            match frame.kind {
                frames::HEADERS => {
                    let status = frames::status(&frame.payload);
                    ensure!(!matches!(status, Some(200..400)), "length {length} for {body:?}: {status:?}");
                    break;
                }
                frames::RST_STREAM | frames::GOAWAY => break,
                _ => {}
            }
        }
    }
    let bodies: Vec<_> = fake.upstream.seen().into_iter().filter(|seen| !seen.body.is_empty()).collect();
    ensure!(bodies.is_empty(), "a body of a false length reached the server: {bodies:?}");
    fake.ask(Request::get(PATH))?.expect(200)?;
    Ok(())
}
