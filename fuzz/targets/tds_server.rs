//! Two bytes that say what login settled and how to cut, then the payload of a
//! server's answers: reading ends, without a panic; any cut gives the same; the
//! payload comes out without a gap; a token that was read can be written, and
//! is read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_tds::{Event, Limits, Negotiated, Piece, RowKind, Scalar, Token, Tokens, TypeInfo, Variant};

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
    let (mut events, mut read, mut types) = (Vec::new(), 0, Vec::new());
    let mut of_columns = false;
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
                                types = columns.columns.iter().map(|column| column.info.clone()).collect();
                            }
                            check(token, negotiated);
                        }
                        Event::Row(kind) => of_columns = !matches!(kind, RowKind::Total(_)),
                        Event::ReturnValue(_) => of_columns = false,
                        Event::Value { column, piece: Piece::Whole(value) } if of_columns => {
                            check_value(&types[*column], value);
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

/// What a value means is written, and means the same then. The bytes are not
/// always the same: a number may come shorter than its type declares.
fn check_value(info: &TypeInfo, value: &[u8]) {
    let mut again = Vec::new();
    if let TypeInfo::Variant(_) = info {
        let Ok(variant) = Variant::parse(value) else { return };
        variant.write(&mut again).expect("it was read");
        assert_eq!(again, value);
    } else {
        let Ok(scalar) = Scalar::parse(info, value) else { return };
        scalar.write(info, &mut again).expect("it was read");
        let meaning = Scalar::parse(info, &again).expect("it was written");
        // Not a number is not equal to itself.
        assert_eq!(format!("{meaning:?}"), format!("{scalar:?}"));
    }
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
