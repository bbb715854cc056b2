//! Two bytes that say what login settled and how to cut, then the payload of a
//! server's answers: reading ends, without a panic; any cut gives the same; the
//! payload comes out without a gap; a token that was read can be written, and
//! is read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_tds::{Event, Limits, Negotiated, Piece, Token, Tokens, TypeInfo, Variant};

fuzz_target!(|input: &[u8]| {
    let [settled, cut, payload @ ..] = input else { return };
    let negotiated = Negotiated {
        column_encryption: Some(settled & 3).filter(|version| *version > 0),
        data_classification: Some(settled >> 2 & 3).filter(|version| *version > 0),
    };
    let tokens = || match settled & 0x10 {
        0 => Tokens::response(Limits::default(), negotiated),
        _ => Tokens::bulk_load(Limits::default(), negotiated),
    };
    let whole = read(tokens(), payload, payload.len().max(1));
    let cut = read(tokens(), payload, usize::from(*cut).max(1));
    assert_eq!(whole, cut);
});

/// What was handed out, and whether an error ended it. Where a value is cut is
/// not part of what was said.
fn read(mut tokens: Tokens, payload: &[u8], step: usize) -> (Vec<String>, usize, bool) {
    let (mut events, mut read, mut variants) = (Vec::new(), 0, Vec::new());
    let count = payload.len().div_ceil(step);
    for (index, piece) in payload.chunks(step).enumerate() {
        tokens.feed(piece);
        if index + 1 == count {
            tokens.end();
        }
        loop {
            let negotiated = tokens.negotiated();
            match tokens.pull() {
                Ok(None) => break,
                Err(_) => return (events, read, true),
                Ok(Some(item)) => {
                    assert_eq!(payload.get(read..read + item.raw.len()), Some(item.raw), "a gap");
                    read += item.raw.len();
                    match &item.event {
                        Event::Token(token) => {
                            if let Token::ColMetadata(columns) = token {
                                variants = columns
                                    .columns
                                    .iter()
                                    .map(|column| matches!(column.info, TypeInfo::Variant(_)))
                                    .collect();
                            }
                            check(token, negotiated);
                        }
                        Event::Value { column, piece: Piece::Whole(value) } if variants.get(*column) == Some(&true) => {
                            if let Ok(variant) = Variant::parse(value) {
                                let mut again = Vec::new();
                                variant.write(&mut again).expect("it was read");
                                assert_eq!(again, *value);
                            }
                        }
                        _ => {}
                    }
                    let text = format!("{:?}", item.event);
                    if !text.contains("piece: Data(") {
                        events.push(text);
                    }
                }
            }
        }
    }
    (events, read, false)
}

fn check(token: &Token, negotiated: Negotiated) {
    let mut wire = Vec::new();
    if token.write(&negotiated, &mut wire).is_err() {
        return;
    }
    let mut tokens = Tokens::response(Limits::default(), negotiated);
    tokens.feed(&wire);
    tokens.end();
    let item = tokens.pull().expect("a token of ours").expect("a token");
    assert_eq!(item.event, Event::Token(token.clone()));
    assert_eq!(item.raw, wire);
}
