use std::io::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::canonical::write_string;
use crate::commitment::SALT;
use crate::hash::Hash;
use crate::record::{Kind, Prepared, RecordId};

/// A leaf, as read back. `docs/trail-format.md`, "Leaf".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// Wall time at which the writer took it.
    pub at: Timestamp,
    /// What its kind has to say.
    pub body: Map<String, Value>,
    /// The epoch it belongs to.
    pub epoch: Uuid,
    /// Its name.
    pub id: RecordId,
    /// What it is about.
    pub kind: Kind,
    /// Monotonic time of the writer, microseconds.
    pub mono: u64,
    /// The leaf that this one belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Of>,
    /// Hash of the leaf before it in the epoch; zeros for the first.
    pub prev: Hash,
    /// The commitment to the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// Place in the epoch, from 1, without holes.
    pub sequence: u64,
    /// Version of the format: 1.
    pub v: u8,
}

/// Names another leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Of {
    /// Its epoch.
    pub epoch: Uuid,
    /// Its id.
    pub id: RecordId,
    /// Its place in that epoch.
    pub sequence: u64,
}

/// The commitment to a response, in the leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// `SHA-256(salt || response)`.
    pub commitment: Hash,
    /// SHA-256 of the salt, which lies beside the leaf.
    pub salt: Hash,
}

/// The part of a leaf that checking needs. The body is skipped, not built.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Envelope {
    #[serde(rename = "at")]
    pub(crate) _at: Timestamp,
    #[serde(rename = "body")]
    pub(crate) _body: serde::de::IgnoredAny,
    pub(crate) epoch: Uuid,
    pub(crate) id: RecordId,
    pub(crate) kind: Kind,
    #[serde(rename = "mono")]
    pub(crate) _mono: u64,
    #[serde(default)]
    pub(crate) of: Option<Of>,
    pub(crate) prev: Hash,
    #[serde(default)]
    pub(crate) response: Option<Response>,
    pub(crate) sequence: u64,
    pub(crate) v: u8,
}

/// Reads a leaf, or the part of it that checking needs ([`Envelope`]).
///
/// Canonical bytes have no white space and escape what is below a space. A line
/// feed, which JSON would allow between its parts, would let one leaf look like
/// several to whoever reads records line by line: with a pod's name of its
/// writer's choice.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    if bytes.iter().any(|byte| *byte < b' ') {
        return Err("the record is not canonical: it holds a line feed or another control character".to_owned());
    }
    serde_json::from_slice(bytes).map_err(|error| format!("the record is no leaf: {error}"))
}

/// Format version that this crate writes.
pub(crate) const VERSION: u8 = 1;

/// Where a leaf goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) at: Timestamp,
    pub(crate) epoch: Uuid,
    pub(crate) mono: u64,
    pub(crate) prev: Hash,
    pub(crate) sequence: u64,
}

/// Appends the canonical bytes of a leaf to `out`: fields in the order of
/// their names.
pub(crate) fn encode(record: &Prepared, place: &Place, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"at\":");
    // A time has nothing to escape.
    let _ = write!(out, "\"{}\"", place.at);
    out.extend_from_slice(b",\"body\":");
    out.extend_from_slice(&record.body);
    out.extend_from_slice(b",\"epoch\":\"");
    uuid_into(&place.epoch, out);
    out.extend_from_slice(b"\",\"id\":\"");
    uuid_into(record.id.uuid(), out);
    out.extend_from_slice(b"\",\"kind\":");
    write_string(record.kind.label(), out);
    out.extend_from_slice(b",\"mono\":");
    number_into(place.mono, out);
    if let Some(of) = &record.of {
        out.extend_from_slice(b",\"of\":{\"epoch\":\"");
        uuid_into(&of.epoch, out);
        out.extend_from_slice(b"\",\"id\":\"");
        uuid_into(of.id.uuid(), out);
        out.extend_from_slice(b"\",\"sequence\":");
        number_into(of.sequence, out);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"prev\":\"");
    hash_into(&place.prev, out);
    out.push(b'"');
    if let Some(response) = &record.response {
        out.extend_from_slice(b",\"response\":{\"commitment\":\"");
        hash_into(&response.value, out);
        out.extend_from_slice(b"\",\"salt\":\"");
        hash_into(&Hash::of(&response.salt), out);
        out.extend_from_slice(b"\"}");
    }
    out.extend_from_slice(b",\"sequence\":");
    number_into(place.sequence, out);
    out.extend_from_slice(b",\"v\":");
    number_into(u64::from(VERSION), out);
    out.push(b'}');
}

fn uuid_into(id: &Uuid, out: &mut Vec<u8>) {
    let mut buffer = Uuid::encode_buffer();
    out.extend_from_slice(id.hyphenated().encode_lower(&mut buffer).as_bytes());
}

fn hash_into(hash: &Hash, out: &mut Vec<u8>) {
    let mut digits = [0; 64];
    if hex::encode_to_slice(hash.0, &mut digits).is_ok() {
        out.extend_from_slice(&digits);
    }
}

fn number_into(number: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "{number}");
}

/// The salt that lies beside a leaf, as the leaf's own `response` judges it.
pub(crate) fn salt_is_right(response: Option<&Response>, salt: &[u8]) -> Result<Salt, &'static str> {
    match response {
        None if salt.is_empty() => Ok(Salt::None),
        None => Err("a salt lies beside a leaf without a response"),
        Some(_) if salt.len() != SALT => Err("the salt of its response is missing"),
        Some(_) if salt.iter().all(|byte| *byte == 0) => Ok(Salt::Erased),
        Some(response) if Hash::of(salt) == response.salt => Ok(Salt::There),
        Some(_) => Err("the salt beside it is not the one that the leaf names"),
    }
}

/// What lies beside a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Salt {
    None,
    There,
    Erased,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commitment::Commitment;

    fn golden() -> (Prepared, Place) {
        let of = Of { epoch: Uuid::from_u128(2), id: RecordId::from(Uuid::from_u128(3)), sequence: 41 };
        let mut record = crate::Record::new(Kind::Outcome)
            .of(of)
            .with("status", 200)
            .with("outcome", "done")
            .with("note", "\"quoted\" \\ \n\u{7f} ü 漢")
            .response(Commitment { value: Hash([7; 32]), salt: [9; SALT] })
            .prepare();
        record.id = RecordId::from(Uuid::from_u128(4));
        let place = Place {
            at: "2026-12-01T04:00:00.5Z".parse().unwrap(),
            epoch: Uuid::from_u128(2),
            mono: 1_234_567,
            prev: Hash([1; 32]),
            sequence: 42,
        };
        (record, place)
    }

    /// If this changes, so does the format: `v` and the documentation too.
    #[test]
    fn the_bytes_of_a_leaf_are_these() {
        let (record, place) = golden();
        let mut bytes = Vec::new();
        encode(&record, &place, &mut bytes);
        let expected = concat!(
            "{\"at\":\"2026-12-01T04:00:00.5Z\",",
            "\"body\":{\"note\":\"\\\"quoted\\\" \\\\ \\n\u{7f} ü 漢\",\"outcome\":\"done\",\"status\":200},",
            "\"epoch\":\"00000000-0000-0000-0000-000000000002\",",
            "\"id\":\"00000000-0000-0000-0000-000000000004\",",
            "\"kind\":\"outcome\",\"mono\":1234567,",
            "\"of\":{\"epoch\":\"00000000-0000-0000-0000-000000000002\",",
            "\"id\":\"00000000-0000-0000-0000-000000000003\",\"sequence\":41},",
            "\"prev\":\"0101010101010101010101010101010101010101010101010101010101010101\",",
            "\"response\":{\"commitment\":\"0707070707070707070707070707070707070707070707070707070707070707\",",
            "\"salt\":\"8c0cc17a04942cc4f8e0fe0b302606d3108860c126428ba2ceeb5f9ed41c2b05\"},",
            "\"sequence\":42,\"v\":1}"
        );
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert_eq!(
            Hash::of_leaf(&bytes).to_string(),
            "9483ece732936c03b1656fff30920c353ef2c37641cd22fa864c0452f5ffefe5"
        );
    }

    #[test]
    fn the_bytes_of_a_leaf_are_canonical_json_and_come_back() {
        let (record, place) = golden();
        let mut bytes = Vec::new();
        encode(&record, &place, &mut bytes);
        let leaf: Leaf = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((leaf.sequence, leaf.kind, leaf.prev), (42, Kind::Outcome, Hash([1; 32])));
        assert_eq!(crate::canonical::to_vec(&serde_json::to_value(&leaf).unwrap()), bytes);
        let envelope: Envelope = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(salt_is_right(envelope.response.as_ref(), &[9; SALT]), Ok(Salt::There));
        assert_eq!(salt_is_right(envelope.response.as_ref(), &[0; SALT]), Ok(Salt::Erased));
        assert!(salt_is_right(envelope.response.as_ref(), &[8; SALT]).is_err());
        assert!(salt_is_right(envelope.response.as_ref(), &[]).is_err());
        assert!(salt_is_right(None, &[9; SALT]).is_err());
    }

    #[test]
    fn no_envelope_is_larger_than_what_is_kept_for_it() {
        let (mut record, mut place) = golden();
        record.body = b"{}".to_vec();
        record.kind = Kind::Recovered;
        record.of = record.of.map(|of| Of { sequence: u64::MAX, ..of });
        (place.sequence, place.mono) = (u64::MAX, u64::MAX);
        place.at = jiff::Timestamp::MIN + jiff::SignedDuration::from_nanos(123_456_789);
        let mut bytes = Vec::new();
        encode(&record, &place, &mut bytes);
        assert!(bytes.len() <= crate::record::ENVELOPE, "{}", bytes.len());
    }
}
