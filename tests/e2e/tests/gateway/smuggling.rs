//! HTTP/1.1 that two readers could read in two ways (RFC 9112).

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_testkit::{Request, Seat};

use crate::world::{EVERYTHING, Fake, HOST, Real, assert_denied, config_map};

seats!(
    requests_with_two_readings_are_refused,
    heads_that_are_too_large_are_refused,
    a_large_but_honest_head_passes,
    upgrades_are_denied,
    what_http_allows_works,
    pipelined_requests_are_decided_one_by_one
);

const PATH: &str = "/api/v1/namespaces/dev/configmaps";

/// What would be a second request, were the first one read otherwise.
fn smuggled() -> String {
    format!("GET /api/v1/namespaces/smuggled/secrets HTTP/1.1\r\nhost: {HOST}\r\n\r\n")
}

fn cases() -> Vec<(&'static str, String)> {
    let post =
        |headers: &str, body: &str| format!("POST {PATH} HTTP/1.1\r\nhost: {HOST}\r\nAUTH\r\n{headers}\r\n{body}");
    let get = |line: &str, headers: &str| format!("{line}\r\n{headers}AUTH\r\n\r\n");
    let host = format!("host: {HOST}\r\n");
    let body = smuggled();
    let length = body.len();
    vec![
        ("CL and TE", post("content-length: 4\r\ntransfer-encoding: chunked\r\n", &format!("0\r\n\r\n{body}"))),
        ("TE and CL", post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", &format!("0\r\n\r\n{body}"))),
        ("two CL", post(&format!("content-length: 0\r\ncontent-length: {length}\r\n"), &body)),
        ("two equal CL", post("content-length: 0\r\ncontent-length: 0\r\n", &body)),
        ("CL list", post("content-length: 0, 0\r\n", &body)),
        ("CL with a plus", post("content-length: +0\r\n", &body)),
        ("CL negative", post("content-length: -1\r\n", &body)),
        ("CL hexadecimal", post("content-length: 0x0\r\n", &body)),
        ("CL with a blank inside", post("content-length: 0 0\r\n", &body)),
        ("CL empty", post("content-length: \r\n", &body)),
        ("CL beyond 64 bits", post("content-length: 99999999999999999999\r\n", &body)),
        ("TE identity", post("transfer-encoding: identity\r\n", &body)),
        ("TE gzip, chunked", post("transfer-encoding: gzip, chunked\r\n", &format!("0\r\n\r\n{body}"))),
        ("TE chunked, identity", post("transfer-encoding: chunked, identity\r\n", &format!("0\r\n\r\n{body}"))),
        ("TE twice", post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", &format!("0\r\n\r\n{body}"))),
        ("TE misspelt", post("transfer-encoding: xchunked\r\n", &format!("0\r\n\r\n{body}"))),
        ("TE in quotes", post("transfer-encoding: \"chunked\"\r\n", &format!("0\r\n\r\n{body}"))),
        ("TE with a vertical tab", post("transfer-encoding:\x0bchunked\r\n", &format!("0\r\n\r\n{body}"))),
        ("TE with a blank before the colon", post("transfer-encoding : chunked\r\n", &format!("0\r\n\r\n{body}"))),
        ("TE with a tab before the colon", post("transfer-encoding\t: chunked\r\n", &format!("0\r\n\r\n{body}"))),
        ("TE folded", post("transfer-encoding:\r\n chunked\r\n", &format!("0\r\n\r\n{body}"))),
        ("a folded header", post("x-folded: a\r\n b\r\ncontent-length: 0\r\n", &body)),
        ("a folded first header", format!("GET {PATH} HTTP/1.1\r\n x: y\r\n{host}AUTH\r\n\r\n")),
        ("bare CR in a value", post("x-bare: a\rb\r\ncontent-length: 0\r\n", &body)),
        ("bare CR between headers", post("x-one: a\rx-two: b\r\ncontent-length: 0\r\n", &body)),
        ("bare LF between headers", post("x-one: a\nx-two: b\r\ncontent-length: 0\r\n", &body)),
        ("bare LF after the request line", format!("GET {PATH} HTTP/1.1\n{host}AUTH\r\n\r\n")),
        ("bare LF at the end of the head", format!("GET {PATH} HTTP/1.1\r\n{host}AUTH\r\n\n")),
        ("only bare LF", format!("GET {PATH} HTTP/1.1\nhost: {HOST}\nAUTH\n\n")),
        ("NUL in a value", post("x-nul: a\0b\r\ncontent-length: 0\r\n", &body)),
        ("NUL in a name", post("x\0nul: a\r\ncontent-length: 0\r\n", &body)),
        ("a name of bytes above ASCII", post("x-n\u{e4}me: a\r\ncontent-length: 0\r\n", &body)),
        ("no colon", post("x-none\r\ncontent-length: 0\r\n", &body)),
        ("no name", post(": a\r\ncontent-length: 0\r\n", &body)),
        ("absolute form", get(&format!("GET https://{HOST}{PATH} HTTP/1.1"), &host)),
        ("absolute form of another", get(&format!("GET https://evil.example{PATH} HTTP/1.1"), &host)),
        ("absolute form, plain", get(&format!("GET http://{HOST}{PATH} HTTP/1.1"), &host)),
        ("authority form", get(&format!("CONNECT {HOST}:443 HTTP/1.1"), &host)),
        ("authority form with GET", get(&format!("GET {HOST}:443 HTTP/1.1"), &host)),
        ("asterisk form with GET", get("GET * HTTP/1.1", &host)),
        ("no leading slash", get("GET api/v1/pods HTTP/1.1", &host)),
        ("a fragment", get(&format!("GET {PATH}#x HTTP/1.1"), &host)),
        ("a blank in the target", get(&format!("GET {PATH} /x HTTP/1.1"), &host)),
        ("two blanks", get(&format!("GET  {PATH} HTTP/1.1"), &host)),
        ("a tab for a blank", get(&format!("GET\t{PATH}\tHTTP/1.1"), &host)),
        ("a blank before the method", get(&format!(" GET {PATH} HTTP/1.1"), &host)),
        ("no version", get(&format!("GET {PATH}"), &host)),
        ("version 0.9", get(&format!("GET {PATH} HTTP/0.9"), &host)),
        ("version 1.2", get(&format!("GET {PATH} HTTP/1.2"), &host)),
        ("version 2.0", get(&format!("GET {PATH} HTTP/2.0"), &host)),
        ("version 1.10", get(&format!("GET {PATH} HTTP/1.10"), &host)),
        ("a method with a colon", get(&format!("GE:T {PATH} HTTP/1.1"), &host)),
        ("no Host", get(&format!("GET {PATH} HTTP/1.1"), "")),
        ("two Hosts", get(&format!("GET {PATH} HTTP/1.1"), &format!("{host}{host}"))),
        ("two Hosts, one of another", get(&format!("GET {PATH} HTTP/1.1"), &format!("{host}host: evil.example\r\n"))),
        ("Host with a blank before the colon", get(&format!("GET {PATH} HTTP/1.1"), &format!("host : {HOST}\r\n"))),
        ("chunk size with a sign", post("transfer-encoding: chunked\r\n", &format!("+0\r\n\r\n{body}"))),
        ("chunk size with 0x", post("transfer-encoding: chunked\r\n", &format!("0x0\r\n\r\n{body}"))),
        ("chunk size too large", post("transfer-encoding: chunked\r\n", &format!("fffffffffffffffff\r\n{body}"))),
        ("chunk longer than it says", post("transfer-encoding: chunked\r\n", &format!("1\r\nxx\r\n0\r\n\r\n{body}"))),
        ("chunk line with a bare LF", post("transfer-encoding: chunked\r\n", &format!("0\n\r\n{body}"))),
        (
            "chunk line with a bare CR in its extension",
            post("transfer-encoding: chunked\r\n", &format!("0;x\ry\r\n\r\n{body}")),
        ),
        (
            "a length in the trailers",
            post("transfer-encoding: chunked\r\n", &format!("0\r\ncontent-length: 9\r\n\r\n{body}")),
        ),
    ]
}

fn requests_with_two_readings_are_refused(seat: Seat) -> Result<()> {
    let fake = Fake::http1(seat, config_map)?;
    let mut wrong = Vec::new();
    for (what, request) in cases() {
        let request = request.replace("AUTH", &format!("authorization: Bearer {}", fake.token));
        let mut raw = fake.raw()?;
        // A gateway that closes early may do so before all is sent.
        let _ = raw.send(request.as_bytes());
        let answer = raw.rest().with_context(|| format!("{what}: the connection must be closed"))?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5");
        if !refused || answer.matches("\r\ncontent-length: ").count() > 1 {
            wrong.push(format!("{what}: {answer}"));
        }
    }
    ensure!(wrong.is_empty(), "not refused:\n{}", wrong.join("\n"));
    // A body that breaks off in its framing may have begun to flow; a second request never does.
    for path in fake.paths() {
        ensure!(path == PATH, "{path} reached the server");
    }
    fake.ask(Request::get(PATH))?.expect(200)?;
    Ok(())
}

fn heads_that_are_too_large_are_refused(seat: Seat) -> Result<()> {
    let fake = Fake::http1(seat, config_map)?;
    let start = format!("GET {PATH} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {}\r\n", fake.token);
    let cases = [
        ("a large value", format!("x: {}\r\n", "y".repeat(200_000))),
        ("a large name", format!("{}: y\r\n", "x".repeat(200_000))),
        ("too many fields", (0..2_000).map(|index| format!("x-{index}: y\r\n")).collect()),
        ("many large fields", (0..90).map(|index| format!("x-{index}: {}\r\n", "y".repeat(4_000))).collect()),
    ];
    for (what, headers) in cases {
        let mut raw = fake.raw()?;
        let _ = raw.send(format!("{start}{headers}\r\n"));
        let answer = String::from_utf8_lossy(&raw.rest().context(what)?).into_owned();
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    let mut raw = fake.raw()?;
    let _ = raw.send(format!("GET /{} HTTP/1.1\r\nhost: {HOST}\r\n\r\n", "x".repeat(200_000)));
    let answer = String::from_utf8_lossy(&raw.rest()?).into_owned();
    ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "a large target: {answer}");
    // A head that never ends.
    let mut raw = fake.raw()?;
    raw.send(start.as_bytes())?;
    let line = format!("x: {}\r\n", "y".repeat(1_000));
    let sent = (0..20_000).take_while(|_| raw.send(line.as_bytes()).is_ok()).count();
    ensure!(sent < 20_000, "20 MB of head were taken");
    assert_eq!(fake.paths(), Vec::<String>::new());
    Ok(())
}

/// Tokens with many groups are large, and client-go sends what it is given.
fn a_large_but_honest_head_passes(seat: Seat) -> Result<()> {
    let fake = Fake::http1(seat, config_map)?;
    let mut request = Request::get(PATH);
    for index in 0..60 {
        request = request.header(&format!("x-{index}"), "y".repeat(600));
    }
    fake.ask(request)?.expect(200)?;
    Ok(())
}

fn upgrades_are_denied(seat: Seat) -> Result<()> {
    let fake = Fake::http1(seat, config_map)?;
    let exec = "/api/v1/namespaces/dev/pods/web/exec?command=sh&stdin=true";
    let cases = [
        (exec, "POST", vec![("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]),
        (
            exec,
            "GET",
            vec![
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ],
        ),
        (exec, "GET", vec![]),
        (exec, "POST", vec![]),
        ("/api/v1/namespaces/dev/pods/web/attach", "GET", vec![]),
        ("/api/v1/namespaces/dev/pods/web/portforward", "POST", vec![]),
        (PATH, "GET", vec![("connection", "Upgrade"), ("upgrade", "websocket")]),
        (PATH, "GET", vec![("connection", "keep-alive, uPgRaDe"), ("upgrade", "SPDY/3.1")]),
        (
            PATH,
            "GET",
            vec![
                ("connection", "Upgrade, HTTP2-Settings"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
            ],
        ),
    ];
    for (path, method, headers) in cases {
        let mut request = Request::new(method, path).bearer(&fake.token);
        for (name, value) in &headers {
            request = request.header(name, *value);
        }
        let mut raw = fake.raw()?;
        raw.send(request.to_http1(HOST))?;
        let response = raw.response()?;
        ensure!((400..500).contains(&response.status), "{method} {path} {headers:?}: {}", response.status);
        ensure!(response.json()?["kind"] == "Status", "{method} {path} {headers:?}: {}", response.text());
    }
    assert_eq!(fake.paths(), Vec::<String>::new());
    Ok(())
}

/// Framing that is unusual and has one reading only, before the real API
/// server.
fn what_http_allows_works(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    let namespace = real.cluster.namespace()?;
    let maps = namespace.core("configmaps");
    let host = real.cluster.host()?;
    let head = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n", real.token)
    };
    let map = |name: &str| json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}).to_string();
    let mut raw = real.raw()?;

    let body = map("expected");
    let start = head("POST", &maps);
    raw.send(format!(
        "{start}content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ))?;
    let (status, _) = raw.head()?;
    assert_eq!(status, 100, "an Expect is answered before the body is sent");
    raw.send(&body)?;
    raw.response()?.expect(201)?;

    let body = map("chunked");
    let (one, two) = body.split_at(7);
    let start = head("POST", &maps);
    let chunks = format!("{:X}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\nx-trailer: yes\r\n\r\n", one.len(), two.len());
    raw.send(format!(
        "{start}content-type: application/json\r\nTransfer-Encoding: Chunked\r\ntrailer: x-trailer\r\n\r\n"
    ))?;
    for byte in chunks.as_bytes() {
        raw.send([*byte])?;
    }
    raw.response()?.expect(201)?;

    raw.send(format!("{}connection: close, x-hop\r\nx-hop: 1\r\n\r\n", head("GET", &format!("{maps}/chunked"))))?;
    raw.response()?.expect(200)?;
    ensure!(raw.closed()?, "Connection: close closes");
    Ok(())
}

fn pipelined_requests_are_decided_one_by_one(seat: Seat) -> Result<()> {
    let rules = r#"
  - name: read-config
    subjects: {groups: ["entra:developers"]}
    targets: [aks]
    kubernetes: {verbs: [get, list], resources: [configmaps], namespaces: ["*"]}
    action: Allow
"#;
    let real = Real::start(seat, rules)?;
    let paths = [
        ("/api/v1/namespaces/dev/configmaps/settings", 200),
        ("/api/v1/namespaces/dev/pods", 403),
        ("/api/v1/namespaces/prod/configmaps/settings", 200),
        ("/api/v1/namespaces/prod/secrets", 403),
        ("/api/v1/namespaces/staging/configmaps", 200),
    ];
    let mut raw = real.raw()?;
    let host = real.cluster.host()?;
    let all: Vec<u8> =
        paths.iter().flat_map(|(path, _)| Request::get(*path).bearer(&real.token).to_http1(host)).collect();
    raw.send(all)?;
    for (path, status) in paths {
        let response = raw.response()?;
        if status == 403 {
            assert_denied(&response, 403, &[]).with_context(|| path.to_owned())?;
        }
        assert_eq!(response.status, status, "{path}: {}", response.text());
    }
    Ok(())
}
