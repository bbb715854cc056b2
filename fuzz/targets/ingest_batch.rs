//! A query, a line break, a byte that chooses the form, and a body: what the
//! collector judges before it stores anything. Judging ends, without a panic;
//! what is taken says where it goes on, and comes again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_audit::intake::{Intake, Piece, difference, says_the_same};
use sluice_wire::BatchStart;
use uuid::Uuid;

fuzz_target!(|input: &[u8]| {
    let Some(at) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (query, rest) = (String::from_utf8_lossy(&input[..at]), &input[at + 1..]);
    if let Ok(start) = query.parse::<BatchStart>() {
        assert_eq!(start.to_string().parse::<BatchStart>().as_ref(), Ok(&start), "one reading");
    }
    let Some((form, bytes)) = rest.split_first() else { return };
    let body = if form % 2 == 0 { bytes.to_vec() } else { framed(bytes) };
    let new = Intake::new(1, Uuid::from_u128(1));
    let piece = Piece { segment: 1, offset: 0, bytes: &body, rest: form & 2 != 0 };
    if let Ok(taken) = new.take(piece) {
        assert_eq!((taken.next.segment, taken.next.offset), (1, body.len() as u64));
        assert_eq!(taken.next.sequence, taken.leaves);
        assert!(taken.next.take(piece).is_err(), "nothing is taken twice");
    }
    assert!(says_the_same(&body, &body, true) && says_the_same(bytes, bytes, false));
    if let Some(last) = body.len().checked_sub(1) {
        assert!(difference(&body, &body[..last], true).is_some());
    }
});

/// A segment with a good header; each line break begins the next payload, and
/// a payload that begins with `#` is a head, its `|` the line breaks.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"sluice-1".to_vec();
    out.extend_from_slice(&1_u128.to_be_bytes());
    for number in [1_u64, 1, 1] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.resize(124, 0);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    for line in bytes.split(|byte| *byte == b'\n') {
        let (kind, payload) = match line.strip_prefix(b"#") {
            Some(head) => (2, head.iter().map(|byte| if *byte == b'|' { b'\n' } else { *byte }).collect()),
            None => (1, line.to_vec()),
        };
        let Ok(len) = u16::try_from(payload.len()) else { continue };
        let mut checked = vec![kind, 0];
        checked.extend_from_slice(&len.to_be_bytes());
        checked.extend_from_slice(&payload);
        out.extend_from_slice(&checked[..4]);
        out.extend_from_slice(&crc32fast::hash(&checked).to_be_bytes());
        out.extend_from_slice(&payload);
    }
    out
}
