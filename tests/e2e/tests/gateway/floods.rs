//! Peers that send too much (HTTP/2).

use anyhow::{Context, Result, ensure};
use sluice_testkit::{Raw, Request, Seat, frames};

use crate::world::{Fake, HOST, TARGET, config_map};

seats!(rapid_reset, continuation_flood, settings_and_ping_flood, a_header_bomb);

const PATH: &str = "/api/v1/namespaces/dev/configmaps";

struct Flood {
    fake: Fake,
    raw: Raw,
    before: u64,
    head: Vec<u8>,
}

impl Flood {
    fn start(seat: Seat) -> Result<Self> {
        let fake = Fake::start(seat, config_map)?;
        fake.ask(Request::get(PATH))?.expect(200)?;
        let before = fake.gateway.memory("VmRSS")?;
        let mut raw = fake.gateway.raw_h2(TARGET)?;
        raw.send([frames::PREFACE, &frames::frame(frames::SETTINGS, 0, 0, &[])].concat())?;
        let authorization = format!("Bearer {}", fake.token);
        let head = frames::block(&[
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", HOST),
            (":path", PATH),
            ("authorization", &authorization),
        ]);
        Ok(Self { fake, raw, before, head })
    }

    /// Sends until the other side has closed, at most so many times.
    fn until_closed(&mut self, times: u32, piece: impl Fn(u32) -> Vec<u8>) -> u32 {
        (0..times).take_while(|&turn| self.raw.send(piece(turn)).is_ok()).count() as u32
    }

    /// The gateway serves others, and has not grown by more than so many KiB.
    fn over(self, most: u64) -> Result<()> {
        self.fake.ask(Request::get(PATH))?.expect(200)?;
        let after = self.fake.gateway.memory("VmHWM")?;
        ensure!(after < self.before + most, "memory went from {} KiB to {after} KiB", self.before);
        Ok(())
    }
}

fn rapid_reset(seat: Seat) -> Result<()> {
    let mut flood = Flood::start(seat)?;
    let head = flood.head.clone();
    let cancel = 8_u32.to_be_bytes();
    let turns = flood.until_closed(100_000, |turn| {
        let stream = 2 * turn + 1;
        let open = frames::frame(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, stream, &head);
        [open, frames::frame(frames::RST_STREAM, 0, stream, &cancel)].concat()
    });
    ensure!(turns < 100_000, "100,000 resets were taken");
    let seen = flood.fake.paths().len();
    ensure!(seen < 20_000, "{seen} requests reached the server");
    flood.over(48 * 1024)
}

fn continuation_flood(seat: Seat) -> Result<()> {
    let mut flood = Flood::start(seat)?;
    let first = frames::frame(frames::HEADERS, frames::END_STREAM, 1, &flood.head.clone());
    flood.raw.send(first)?;
    let piece = frames::block(&[("x-flood", &"y".repeat(8_000))]);
    let turns = flood.until_closed(20_000, |_| frames::frame(frames::CONTINUATION, 0, 1, &piece));
    ensure!(turns < 20_000, "160 MB of header block were taken");
    assert_eq!(flood.fake.paths().len(), 1, "only the honest request");
    flood.over(32 * 1024)?;
    // Empty ones cost little to send.
    let mut flood = Flood::start(seat)?;
    let first = frames::frame(frames::HEADERS, frames::END_STREAM, 1, &flood.head.clone());
    flood.raw.send(first)?;
    let many: Vec<u8> = (0..100).flat_map(|_| frames::frame(frames::CONTINUATION, 0, 1, &[])).collect();
    flood.until_closed(5_000, |_| many.clone());
    flood.over(32 * 1024)
}

fn settings_and_ping_flood(seat: Seat) -> Result<()> {
    for kind in [frames::SETTINGS, frames::PING] {
        let mut flood = Flood::start(seat)?;
        let payload: &[u8] = if kind == frames::PING { &[0; 8] } else { &[] };
        let many: Vec<u8> = (0..1_000).flat_map(|_| frames::frame(kind, 0, 0, payload)).collect();
        // Nothing is read: whoever answers each must not keep the answers.
        flood.raw.impatient()?;
        flood.until_closed(2_000, |_| many.clone());
        flood.over(32 * 1024).with_context(|| format!("frame type {kind}"))?;
    }
    Ok(())
}

/// A header of the dynamic table, named again and again (RFC 7541, 7.3).
fn a_header_bomb(seat: Seat) -> Result<()> {
    let mut flood = Flood::start(seat)?;
    let mut block = flood.head.clone();
    block.extend_from_slice(&[0x40, 1, b'x', 127, 0x81, 30]);
    block.extend_from_slice(&vec![b'y'; 127 + 1 + 30 * 128]);
    block.extend(std::iter::repeat_n(0xbe, 8_000));
    let flags = frames::END_HEADERS | frames::END_STREAM;
    for stream in 0..20 {
        if flood.raw.send(frames::frame(frames::HEADERS, flags, 2 * stream + 1, &block)).is_err() {
            break;
        }
    }
    assert_eq!(flood.fake.paths().len(), 1, "only the honest request");
    flood.over(32 * 1024)
}
