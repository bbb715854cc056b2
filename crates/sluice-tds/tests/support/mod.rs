//! Readers that take bytes in any pieces and say what they found, and
//! strategies for what there is to find.
#![allow(dead_code)]

pub(crate) mod any;

use sluice_tds::{
    Deframer, Event, Frame, Framer, Limits, Negotiated, PacketKind, PacketSize, Piece, Request, Requests, Status,
    Tokens, WireError,
};

/// Cuts `bytes` at `cuts`, taken round their length.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// What was found, in words, with adjacent pieces of a value joined: where a
/// value is cut is not part of what was said. And all `raw`, in one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) events: Vec<String>,
    pub(crate) raw: Vec<u8>,
}

impl Found {
    fn add(&mut self, event: String, data: Option<&[u8]>, raw: &[u8]) {
        self.raw.extend_from_slice(raw);
        match (data, self.events.last_mut()) {
            (Some(data), Some(last)) if last.starts_with("data") => last.push_str(&hex(data)),
            (Some(data), _) => self.events.push(format!("data {}", hex(data))),
            (None, _) => self.events.push(event),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn data<'a>(piece: &Piece<'a>) -> Option<&'a [u8]> {
    match piece {
        Piece::Data(data) => Some(data),
        _ => None,
    }
}

/// Reads an answer's payload; the error, if that is how it ends.
pub(crate) fn read_tokens(mut tokens: Tokens, pieces: &[&[u8]], end: bool) -> (Found, Option<WireError>) {
    let mut found = Found::default();
    for (index, piece) in pieces.iter().enumerate() {
        tokens.feed(piece);
        if end && index + 1 == pieces.len() {
            tokens.end();
        }
        loop {
            match tokens.pull() {
                Ok(Some(item)) => {
                    let part = match &item.event {
                        Event::Value { piece, .. } => data(piece),
                        _ => None,
                    };
                    found.add(format!("{:?}", item.event), part, item.raw);
                }
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

pub(crate) fn response(negotiated: Negotiated) -> Tokens {
    Tokens::response(Limits::default(), negotiated)
}

/// Reads what a client sends, packets and all.
pub(crate) fn read_requests(negotiated: Negotiated, pieces: &[&[u8]]) -> (Found, Option<WireError>) {
    let (mut deframer, mut requests) = (Deframer::default(), Requests::new(Limits::default()));
    requests.set_negotiated(negotiated);
    let mut found = Found::default();
    for piece in pieces {
        let mut input = *piece;
        loop {
            let frame = match deframer.read(&mut input) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            };
            if let Err(error) = requests.feed(&frame) {
                return (found, Some(error));
            }
            loop {
                match requests.pull() {
                    Ok(Some(item)) => {
                        let part = match &item.event {
                            Request::Value { piece, .. } | Request::Bulk(Event::Value { piece, .. }) => data(piece),
                            _ => None,
                        };
                        found.add(format!("{:?}", item.event), part, item.raw);
                    }
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                }
            }
        }
    }
    (found, None)
}

/// A message in packets.
pub(crate) fn packets(kind: PacketKind, status: Status, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut framer = Framer::new(kind, status, PacketSize::MIN);
    framer.write(payload, &mut out);
    framer.finish(&mut out);
    out
}

/// The payload of packets.
pub(crate) fn payload(mut wire: &[u8]) -> Vec<u8> {
    let (mut deframer, mut out) = (Deframer::default(), Vec::new());
    while let Some(frame) = deframer.read(&mut wire).expect("sound packets") {
        if let Frame::Payload(bytes) = frame {
            out.extend_from_slice(bytes);
        }
    }
    out
}

/// Bytes from digits; white space is skipped.
pub(crate) fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("digits"))
        .collect()
}
