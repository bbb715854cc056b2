//! Memory stays bounded: many streams, long streams, slow readers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_testkit::{Answer, Http2, Protocol, Raw, Request, Seat, Seen, eventually};

use crate::world::{EVERYTHING, Fake, HOST, Real, TARGET, config_map};

seats!(two_hundred_watches, a_gibibyte_of_logs, a_reader_that_does_not_read, a_client_that_goes_away);

const MIB: u64 = 1 << 20;
const LOG: &str = "/api/v1/namespaces/dev/pods/web/log?follow=true";

/// On two hundred connections of HTTP/1.1 and, once these are gone, on as many
/// streams of HTTP/2, before the real API server.
fn two_hundred_watches(seat: Seat) -> Result<()> {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let real = Real::start(seat, EVERYTHING)?;
        let namespace = real.cluster.namespace()?;
        let path = namespace.core("configmaps?watch=1&fieldSelector=metadata.name%3Dseen");
        let request = Request::get(path).bearer(&real.token);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seen"}});
        let make = || namespace.make(&namespace.core("configmaps"), &map);
        match protocol {
            Protocol::Http1 => {
                let host = real.cluster.host()?;
                let mut watches = Vec::new();
                for _ in 0..200 {
                    let mut raw = real.raw()?;
                    raw.send(request.to_http1(host))?;
                    let (status, _) = raw.head()?;
                    assert_eq!(status, 200);
                    watches.push(raw);
                }
                make()?;
                for watch in &mut watches {
                    until_seen(|| watch.chunk())?;
                }
                within(&real)?;
            }
            Protocol::Http2 => {
                let address = real.gateway.address(&real.target)?;
                let roots = real.gateway.roots()?;
                let connections: Vec<_> =
                    (0..4).map(|_| Http2::connect(address, real.cluster.host()?, &roots)).collect::<Result<_>>()?;
                let mut watches = Vec::new();
                for connection in &connections {
                    for _ in 0..50 {
                        let stream = connection.open(&request)?;
                        assert_eq!(stream.head.status, 200);
                        watches.push((connection, stream));
                    }
                }
                make()?;
                for (connection, stream) in &mut watches {
                    until_seen(|| Ok(connection.chunk(stream)?.map(|chunk| chunk.to_vec())))?;
                }
                within(&real)?;
            }
        }
    }
    Ok(())
}

fn until_seen(mut chunk: impl FnMut() -> Result<Option<Vec<u8>>>) -> Result<()> {
    let mut text = String::new();
    while !text.contains("\"name\":\"seen\"") {
        text.push_str(&String::from_utf8_lossy(&chunk()?.context("the watch ended")?));
    }
    Ok(())
}

fn within(real: &Real) -> Result<()> {
    let memory = real.gateway.memory("VmRSS")?;
    println!("200 watches: {memory} KiB");
    ensure!(memory < 60 * 1024, "200 watches take {memory} KiB");
    Ok(())
}

/// 64 KiB, as often as asked; anything else is a small object.
fn logs(times: u64) -> impl Fn(&Seen) -> Answer + Send + Sync + 'static {
    let line = "2026-01-01T00:00:00Z a line of a log that has nothing to hide\n";
    let piece = line.repeat(65_536 / line.len());
    move |seen| {
        if seen.path.contains("/log") {
            Answer::bytes("text/plain", piece.clone()).times(times)
        } else {
            config_map(seen)
        }
    }
}

fn a_gibibyte_of_logs(seat: Seat) -> Result<()> {
    let wanted = 1024 * MIB;
    let fake = Fake::start(seat, logs(wanted / 65_000))?;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = fake.gateway.client(protocol, TARGET)?;
        client.send(&Request::get("/api/v1/namespaces/dev/pods").bearer(&fake.token))?.expect(200)?;
    }
    let before = fake.gateway.memory("VmHWM")?;
    let request = Request::get(LOG).bearer(&fake.token);
    let mut received = 0;
    match seat {
        Seat::RootV4 => {
            let mut raw = fake.raw()?;
            raw.send(request.to_http1(HOST))?;
            assert_eq!(raw.head()?.0, 200);
            while let Some(chunk) = raw.chunk()? {
                received += chunk.len() as u64;
            }
        }
        Seat::OrdinaryV6 => {
            let connection = Http2::connect(fake.gateway.address(TARGET)?, HOST, &fake.gateway.roots()?)?;
            let mut stream = connection.open(&request)?;
            while let Some(chunk) = connection.chunk(&mut stream)? {
                received += chunk.len() as u64;
            }
        }
    }
    assert_eq!(received, fake.upstream.sent() - sent_by_small_answers(&fake));
    ensure!(received > 1000 * MIB, "only {received} bytes came");
    let growth = fake.gateway.memory("VmHWM")?.saturating_sub(before);
    println!("{received} bytes of log: {growth} KiB more");
    ensure!(growth < 8 * 1024, "{received} bytes of log cost {growth} KiB");
    Ok(())
}

fn sent_by_small_answers(fake: &Fake) -> u64 {
    let small = fake.upstream.seen().into_iter().filter(|seen| !seen.path.contains("/log"));
    small.map(|seen| config_map(&seen).body.len() as u64).sum()
}

fn a_reader_that_does_not_read(seat: Seat) -> Result<()> {
    let fake = Fake::http1(seat, logs(8_192))?;
    fake.ask(Request::get("/api/v1/namespaces/dev/pods"))?.expect(200)?;
    let before = fake.gateway.memory("VmHWM")?;
    let mut raw = fake.raw()?;
    raw.send(Request::get(LOG).bearer(&fake.token).to_http1(HOST))?;
    assert_eq!(raw.head()?.0, 200);
    // Until the server is held back: nothing more is taken from it for a while.
    let mut sent = fake.upstream.sent();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(50));
        let now = fake.upstream.sent();
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
        ensure!(sent < 128 * MIB, "{sent} bytes were taken for a reader that does not read");
    }
    let growth = fake.gateway.memory("VmHWM")?.saturating_sub(before);
    ensure!(growth < 8 * 1024, "a reader that does not read costs {growth} KiB");
    // Others are served meanwhile, and the slow one gets everything in the end.
    fake.ask(Request::get("/api/v1/namespaces/dev/pods"))?.expect(200)?;
    let mut received = 0;
    while let Some(chunk) = raw.chunk()? {
        received += chunk.len() as u64;
    }
    ensure!(received > 500 * MIB, "only {received} bytes came");
    Ok(())
}

/// What came of an abandoned request is recorded, and the server's side of it
/// is ended.
fn a_client_that_goes_away(seat: Seat) -> Result<()> {
    let endless = |seen: &Seen| {
        if seen.path.contains("/log") { Answer::bytes("text/plain", "one line\n").open() } else { config_map(seen) }
    };
    let fake = Fake::start(seat, endless)?;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let request = Request::get(format!("{LOG}&tailLines={}", protocol as u8)).bearer(&fake.token);
        match protocol {
            Protocol::Http1 => {
                let mut raw: Raw = fake.raw()?;
                raw.send(request.to_http1(HOST))?;
                assert_eq!(raw.head()?.0, 200);
                raw.chunk()?.context("no line")?;
            }
            Protocol::Http2 => {
                let connection = Http2::connect(fake.gateway.address(TARGET)?, HOST, &fake.gateway.roots()?)?;
                let mut stream = connection.open(&request)?;
                connection.chunk(&mut stream)?.context("no line")?;
            }
        }
    }
    eventually("two abandoned outcomes", || {
        let records = fake.gateway.trail().records()?;
        let abandoned = records.iter().filter(|record| record["body"]["outcome"] == "abandoned").count();
        ensure!(abandoned == 2, "{abandoned} are recorded");
        Ok(())
    })
}
