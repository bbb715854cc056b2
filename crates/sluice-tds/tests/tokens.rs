//! Properties of [`sluice_tds::Tokens`].

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_tds::{
    Event, Limits, Negotiated, Piece, ReturnValue, RowKind, Scalar, Token, Tokens, WireError, write_null, write_value,
};
use support::any;
use support::{pieces, read_tokens, response};

/// An answer: tokens, rows and return values in any order, and what was written.
#[derive(Clone, Debug)]
enum Part {
    Token(Token),
    Rows(any::Rows),
    ReturnValue(Box<ReturnValue>, Option<Vec<u8>>),
}

fn part(negotiated: Negotiated) -> impl Strategy<Value = Part> {
    let encrypted = negotiated.column_encryption.is_some();
    prop_oneof![
        3 => any::token(negotiated).prop_map(Part::Token),
        2 => any::rows(encrypted).prop_map(Part::Rows),
        1 => any::return_value(encrypted).prop_map(|(head, value)| Part::ReturnValue(Box::new(head), value)),
    ]
}

fn answer() -> impl Strategy<Value = (Negotiated, Vec<Part>)> {
    any::negotiated().prop_flat_map(|negotiated| (Just(negotiated), vec(part(negotiated), 0..8)))
}

fn write(negotiated: &Negotiated, parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Part::Token(token) => token.write(negotiated, &mut out).expect("fits"),
            Part::Rows(rows) => {
                let columns = Token::ColMetadata(std::sync::Arc::new(rows.columns.clone()));
                columns.write(negotiated, &mut out).expect("fits");
                rows.write_rows(&mut out);
            }
            Part::ReturnValue(head, value) => {
                head.write(negotiated, &mut out).expect("fits");
                match value {
                    Some(value) => write_value(&head.info, false, value, &mut out).expect("fits"),
                    None => write_null(&head.info, false, &mut out).expect("has NULL"),
                }
            }
        }
    }
    out
}

/// What reading must give.
#[derive(Debug, PartialEq)]
enum Read {
    Token(Token),
    Row(bool),
    ReturnValue(ReturnValue),
    Value(usize, Option<Vec<u8>>),
    End,
}

fn expected(parts: Vec<Part>) -> Vec<Read> {
    let mut reads = Vec::new();
    for part in parts {
        match part {
            Part::Token(token) => reads.push(Read::Token(token)),
            Part::Rows(any::Rows { columns, rows, compressed, .. }) => {
                reads.push(Read::Token(Token::ColMetadata(std::sync::Arc::new(columns))));
                for row in rows {
                    reads.push(Read::Row(compressed));
                    reads.extend(row.into_iter().enumerate().map(|(column, value)| Read::Value(column, value)));
                    reads.push(Read::End);
                }
            }
            Part::ReturnValue(head, value) => {
                reads.extend([Read::ReturnValue(*head), Read::Value(0, value), Read::End]);
            }
        }
    }
    reads
}

fn read(negotiated: Negotiated, wire: &[u8]) -> Vec<Read> {
    let mut tokens = response(negotiated);
    tokens.feed(wire);
    tokens.end();
    let (mut reads, mut large) = (Vec::new(), Vec::new());
    while let Some(item) = tokens.pull().expect("sound") {
        reads.push(match item.event {
            Event::Token(token) => Read::Token(token),
            Event::Row(kind) => Read::Row(kind == RowKind::NullCompressed),
            Event::ReturnValue(head) => Read::ReturnValue(*head),
            Event::End => Read::End,
            Event::Value { column, piece } => match piece {
                Piece::Null => Read::Value(column, None),
                Piece::Whole(value) => Read::Value(column, Some(value.to_vec())),
                Piece::Start { .. } => continue,
                Piece::Data(data) => {
                    large.extend_from_slice(data);
                    continue;
                }
                Piece::End => Read::Value(column, Some(std::mem::take(&mut large))),
            },
        });
    }
    reads
}

proptest! {
    #[test]
    fn what_was_written_is_read((negotiated, parts) in answer()) {
        let wire = write(&negotiated, &parts);
        prop_assert_eq!(read(negotiated, &wire), expected(parts));
    }

    #[test]
    fn acknowledgements_are_read_as_written(token in any::acks()) {
        let mut wire = Vec::new();
        token.write(&Negotiated::default(), &mut wire).expect("fits");
        prop_assert_eq!(read(Negotiated::default(), &wire), vec![Read::Token(token)]);
    }

    #[test]
    fn any_cut_gives_the_same((negotiated, parts) in answer(), cuts in vec(any::<usize>(), 0..12)) {
        let wire = write(&negotiated, &parts);
        let (whole, error) = read_tokens(response(negotiated), &[&wire], true);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&whole.raw, &wire);
        prop_assert_eq!(&read_tokens(response(negotiated), &pieces(&wire, &cuts), true), &(whole, None));
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        let (single, _) = read_tokens(response(negotiated), &bytes, true);
        prop_assert_eq!(single.raw, wire);
    }

    #[test]
    fn what_is_cut_short_is_incomplete((negotiated, parts) in answer(), cut in any::<usize>()) {
        let wire = write(&negotiated, &parts);
        let short = &wire[..cut % (wire.len() + 1)];
        let (all, _) = read_tokens(response(negotiated), &[&wire], true);
        // Without an end, it waits; and says nothing that the whole does not say.
        let (found, error) = read_tokens(response(negotiated), &[short], false);
        prop_assert_eq!(error, None);
        prop_assert!(short.starts_with(&found.raw) && wire.starts_with(&found.raw));
        let same = found.events.iter().zip(&all.events).filter(|(short, whole)| short != whole);
        prop_assert!(same.into_iter().all(|(short, whole)| short.starts_with("data") && whole.starts_with(short)));
        // With an end, it is an error, unless it ends between two tokens.
        let (found, error) = read_tokens(response(negotiated), &[short], true);
        match error {
            None => prop_assert_eq!(found.raw.len(), short.len()),
            Some(error) => prop_assert!(matches!(error, WireError::Incomplete { .. }), "{:?}", error),
        }
    }

    #[test]
    fn no_bytes_break_it(
        (negotiated, parts) in answer(),
        changes in vec(any::<(usize, u8)>(), 1..6),
        cuts in vec(any::<usize>(), 0..4),
        bulk in any::<bool>(),
    ) {
        let mut wire = write(&negotiated, &parts);
        for (at, byte) in changes {
            let length = wire.len().max(1);
            if let Some(slot) = wire.get_mut(at % length) {
                *slot = byte;
            }
        }
        let new = || match bulk {
            true => Tokens::bulk_load(Limits::default(), negotiated),
            false => response(negotiated),
        };
        let (whole, error) = read_tokens(new(), &[&wire], true);
        prop_assert!(wire.starts_with(&whole.raw));
        let (cut, cut_error) = read_tokens(new(), &pieces(&wire, &cuts), true);
        prop_assert_eq!((&whole.events, error.is_some()), (&cut.events, cut_error.is_some()));
    }

    /// What a value means is written as it was read.
    #[test]
    fn meanings_are_written_as_read((info, value) in any::type_info(true).prop_flat_map(|info| {
        let value = any::value(&info);
        (Just(info), value)
    })) {
        let value = value.unwrap_or_default();
        if let Ok(scalar) = Scalar::parse(&info, &value) {
            let mut again = Vec::new();
            prop_assert_eq!(scalar.write(&info, &mut again), Ok(()));
            // Any byte but zero is true.
            prop_assert!(again == value || matches!(scalar, Scalar::Bit(true)), "{:?}", scalar);
        }
    }

    #[test]
    fn noise_does_not_break_it(noise in vec(any::<u8>(), 0..300), negotiated in any::negotiated()) {
        let (found, _) = read_tokens(response(negotiated), &[&noise], true);
        prop_assert!(noise.starts_with(&found.raw));
    }
}
