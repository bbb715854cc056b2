//! Names and addresses that are not the target's.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use sluice_testkit::{Http2, Protocol, Raw, Request, Seat, frames};

use crate::world::{EVERYTHING, Fake, HOST, Real, TARGET, config_map};

seats!(
    a_name_of_another_in_tls,
    a_name_of_another_in_http,
    plain_http_is_told_what_to_do,
    the_certificate_carries_the_targets_names,
    alpn_is_what_the_server_speaks
);

fn a_name_of_another_in_tls(seat: Seat) -> Result<()> {
    let fake = Fake::start(seat, config_map)?;
    let address = fake.gateway.address(TARGET)?;
    let roots = fake.gateway.roots()?;
    for name in
        ["evil.example", "kubernetes.default.svc", "sluice.test", "x.api.sluice.test", "api.sluice.test.evil.example"]
    {
        let outcome = Raw::tls(address, name, &roots, &["http/1.1"]);
        ensure!(outcome.is_err(), "TLS for {name} came to be");
    }
    // Without a name: an address in place of one.
    for ip in [seat.loopback(), IpAddr::from([10, 77, 0, 1])] {
        let outcome = Raw::tls(address, &ip.to_string(), &roots, &["http/1.1"]);
        ensure!(outcome.is_err(), "TLS for {ip} came to be");
    }
    assert_eq!(fake.paths(), Vec::<String>::new());
    let records = fake.gateway.trail().records()?;
    ensure!(
        records.iter().any(|record| record.to_string().contains("evil.example")),
        "the trail does not name the refused host: {records:#?}"
    );
    Ok(())
}

fn a_name_of_another_in_http(seat: Seat) -> Result<()> {
    let fake = Fake::start(seat, config_map)?;
    let path = "/api/v1/namespaces/dev/pods";
    let token = &fake.token;
    for host in [
        "evil.example",
        "api.sluice.test.evil.example",
        "api.sluice.test:8443",
        "api.sluice.test:443:443",
        "user@api.sluice.test",
        "10.77.0.1",
        "api.sluice.test, evil.example",
        "api.sluice.test/",
        "",
    ] {
        let mut raw = fake.raw()?;
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n"))?;
        let response = raw.response()?;
        ensure!((400..500).contains(&response.status), "Host {host:?}: {} {}", response.status, response.text());
    }
    for authority in ["evil.example", "api.sluice.test:8443", "api.sluice.test.", "10.77.0.1"] {
        let status =
            ask_h2(&fake, &[(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", path)])?;
        ensure!(!matches!(status, Some(200..400)), ":authority {authority:?}: {status:?}");
    }
    let both =
        [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path), ("host", "evil.example")];
    let status = ask_h2(&fake, &both)?;
    ensure!(!matches!(status, Some(200..400)), ":authority against Host: {status:?}");
    assert_eq!(fake.paths(), Vec::<String>::new());
    // The honest spellings.
    for host in [HOST, TARGET, "API.Sluice.Test"] {
        let mut raw = fake.raw()?;
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n"))?;
        assert_eq!(raw.response()?.status, 200, "Host {host:?}");
    }
    for seen in fake.upstream.seen() {
        ensure!(seen.header("host").is_none_or(|host| host == HOST || host == TARGET), "{seen:?}");
    }
    Ok(())
}

/// The status of one request by raw frames; `None` is a reset or a close.
pub(crate) fn ask_h2(fake: &Fake, fields: &[(&str, &str)]) -> Result<Option<u16>> {
    let mut raw = fake.gateway.raw_h2(TARGET)?;
    let authorization = format!("Bearer {}", fake.token);
    let fields = [fields, &[("authorization", authorization.as_str())]].concat();
    let flags = frames::END_HEADERS | frames::END_STREAM;
    raw.send([frames::PREFACE, &frames::frame(frames::SETTINGS, 0, 0, &[])].concat())?;
    raw.send(frames::frame(frames::HEADERS, flags, 1, &frames::block(&fields)))?;
    while let Ok(frame) = frames::read(&mut raw) {
        match frame.kind {
            frames::HEADERS if frame.stream == 1 => return Ok(frames::status(&frame.payload)),
            frames::RST_STREAM | frames::GOAWAY => return Ok(None),
            _ => {}
        }
    }
    Ok(None)
}

fn plain_http_is_told_what_to_do(seat: Seat) -> Result<()> {
    let fake = Fake::start(seat, config_map)?;
    let mut raw = Raw::plain(fake.gateway.address(TARGET)?)?;
    raw.send(format!("GET /api/v1/pods HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {}\r\n\r\n", fake.token))?;
    let response = raw.response()?;
    ensure!((400..500).contains(&response.status), "{} {}", response.status, response.text());
    ensure!(response.text().contains("https"), "the answer does not name the fix: {}", response.text());
    assert_eq!(fake.paths(), Vec::<String>::new());
    // Something that is neither.
    let mut raw = Raw::plain(fake.gateway.address(TARGET)?)?;
    raw.send(b"SSH-2.0-OpenSSH_9.2\r\n")?;
    raw.rest()?;
    assert_eq!(fake.paths(), Vec::<String>::new());
    Ok(())
}

fn the_certificate_carries_the_targets_names(seat: Seat) -> Result<()> {
    let real = Real::start(seat, EVERYTHING)?;
    // The clients of every other test believe it; here it is enough that no root but the gateway's own vouches.
    let outcome = Raw::tls(real.gateway.address(&real.target)?, real.cluster.host()?, real.cluster.roots(), &["h2"]);
    ensure!(outcome.is_err(), "the cluster's own CA vouches for the gateway");
    real.ask(Request::get("/version"))?.expect(200)?;
    Ok(())
}

fn alpn_is_what_the_server_speaks(seat: Seat) -> Result<()> {
    let fake = Fake::http1(seat, config_map)?;
    let address = fake.gateway.address(TARGET)?;
    let roots = fake.gateway.roots()?;
    let raw = Raw::tls(address, HOST, &roots, &["h2", "http/1.1"])?;
    assert_eq!(raw.alpn().as_deref(), Some("http/1.1"));
    // A client that speaks nothing else is told so, at the latest by the answer to its request.
    if let Ok(connection) = Http2::connect(address, HOST, &roots) {
        let response = connection.send(&Request::get("/api/v1/namespaces/dev/pods").bearer(&fake.token))?;
        assert_eq!(response.status, 502, "{}", response.text());
    }
    assert_eq!(fake.paths(), Vec::<String>::new());
    let fake = Fake::start(seat, config_map)?;
    let mut client = fake.gateway.client(Protocol::Http2, TARGET)?;
    client.send(&Request::get("/api/v1/namespaces/dev/pods").bearer(&fake.token))?.expect(200)?;
    let raw = Raw::tls(fake.gateway.address(TARGET)?, HOST, &fake.gateway.roots()?, &[])?;
    assert_eq!(raw.alpn(), None);
    Ok(())
}
