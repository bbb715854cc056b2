//! What a collector checks before it takes bytes of a spool.
//!
//! A piece is a stretch of one segment, byte for byte, that ends with a signed
//! head. Pieces are taken in their order, each once, so that the collector's
//! files are the spool's. This module judges bytes and does no I/O but
//! [`Intake::resume`].

use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use sluice_core::Workload;
use uuid::Uuid;

use crate::format::{FrameHeader, FrameKind, Named, SegmentHeader};
use crate::hash::Hash;
use crate::head::Head;
use crate::key::PublicKey;
use crate::leaf::{self, Envelope, Leaf};
use crate::record::Kind;
use crate::recovery::Enrol;
use crate::scan::{EpochScan, Listing, Stop};

/// A stretch of a segment.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Number of the segment.
    pub segment: u64,
    /// Where in it the stretch begins; 0 means with the segment's header.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
    /// Last of an epoch whose gateway was killed: its key is gone, so that no
    /// head covers its end. The next epoch does.
    pub rest: bool,
}

/// How far an epoch was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// Place of the epoch in the trail.
    pub ordinal: u64,
    /// The epoch.
    pub epoch: Uuid,
    /// Its key; `None` before its first record.
    pub key: Option<PublicKey>,
    /// Segment that was taken last; 0 before the first.
    pub segment: u64,
    /// Bytes of it that were taken.
    pub offset: u64,
    /// Newest record.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
    /// Whether the epoch has its end.
    pub ended: bool,
}

/// A piece that is right.
#[derive(Debug, Clone)]
pub struct Taken {
    /// How far the epoch is taken with it.
    pub next: Intake,
    /// What the epoch says of itself, when the piece has its first record.
    pub enrolled: Option<Enrolled>,
    /// Records in it.
    pub leaves: u64,
    /// Their kinds, each once.
    pub kinds: Vec<Kind>,
}

/// The first record of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The public half of the epoch's key.
    pub key: PublicKey,
    /// Whose traffic it is about, by its own word.
    pub workload: Workload,
    /// The record that it follows; `None`: it is the first of its trail.
    pub follows: Option<Follows>,
}

/// Names the last record of an earlier epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follows {
    /// The epoch.
    pub epoch: Uuid,
    /// Its place in the trail.
    pub ordinal: u64,
    /// The record's place in it.
    pub sequence: u64,
    /// The record's hash.
    pub hash: Hash,
}

/// Why a piece is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Records before it are missing.
    #[error("records from {expected} on are missing before it")]
    Gap {
        /// The record that must come next.
        expected: u64,
    },
    /// It contradicts what was taken before.
    #[error("it is another history: {0}")]
    Fork(String),
    /// A head is missing or its signature is wrong.
    #[error("{0}")]
    BadSignature(String),
    /// It is no piece of a trail.
    #[error("byte {at}: {why}")]
    Malformed {
        /// Where in the segment.
        at: u64,
        /// What is wrong.
        why: String,
    },
}

impl Intake {
    /// An epoch of which nothing was taken.
    pub fn new(ordinal: u64, epoch: Uuid) -> Self {
        Self { ordinal, epoch, key: None, segment: 0, offset: 0, sequence: 0, hash: Hash::ZERO, ended: false }
    }

    /// How far the epoch lies in `folder`, by its last segment and its public
    /// key. `None`: nothing of it is there. What stands in that segment behind
    /// [`Intake::offset`] was never taken and can be cut off.
    ///
    /// # Errors
    /// The folder or its files cannot be read, or hold something else.
    pub fn resume(folder: &Path, ordinal: u64, epoch: Uuid) -> io::Result<Option<Self>> {
        let listing = Listing::read(folder)?;
        let Some(files) = listing.epochs.get(&(ordinal, epoch)) else { return Ok(None) };
        if files.segments.is_empty() {
            return Ok(None);
        }
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("epoch {ordinal} ({epoch}): {why}"));
        let path = files.public_key.as_ref().ok_or_else(|| wrong("its public key is missing"))?;
        let keys = PublicKey::parse_pem(&std::fs::read_to_string(path)?).map_err(|why| wrong(&why))?;
        let mut scan = EpochScan::last_segment(ordinal, epoch, files)
            .ok_or_else(|| wrong("the header of its last segment cannot be read"))?;
        loop {
            match scan.next() {
                Ok(Some(_)) => {}
                Ok(None) | Err(Stop::Damage(_)) => break,
                Err(Stop::Unreadable(_, error)) => return Err(error),
            }
        }
        Ok(Some(Self {
            ordinal,
            epoch,
            key: keys.first().copied(),
            segment: scan.end.0,
            offset: scan.end.1,
            sequence: scan.sequence,
            hash: scan.hash,
            ended: scan.ended,
        }))
    }

    /// Judges the piece that follows what was taken.
    ///
    /// # Errors
    /// Why it is not taken. Nothing of it is, then.
    pub fn take(&self, piece: Piece<'_>) -> Result<Taken, Refusal> {
        let follows = piece.segment == self.segment && piece.offset == self.offset && self.segment > 0;
        let begins = Some(piece.segment) == self.segment.checked_add(1) && piece.offset == 0;
        if !follows && !begins {
            return Err(Refusal::Gap { expected: self.sequence + 1 });
        }
        let mut walk = Walk {
            taken: Taken { next: self.clone(), enrolled: None, leaves: 0, kinds: Vec::new() },
            base: piece.offset,
            at: 0,
            bytes: piece.bytes,
        };
        walk.taken.next.segment = piece.segment;
        if begins {
            walk.header()?;
        }
        let mut signed = false;
        while walk.at < piece.bytes.len() {
            signed = walk.frame()? == FrameKind::Head;
        }
        if !signed && !piece.rest {
            return Err(Refusal::BadSignature("it does not end with a signed head".into()));
        }
        walk.taken.next.offset = piece.offset + piece.bytes.len() as u64;
        Ok(walk.taken)
    }
}

/// Goes through a piece.
struct Walk<'a> {
    taken: Taken,
    base: u64,
    at: usize,
    bytes: &'a [u8],
}

impl<'a> Walk<'a> {
    fn bad<T>(&self, why: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal::Malformed { at: self.base + self.at as u64, why: why.into() })
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Refusal> {
        let end = self.at.saturating_add(len);
        let Some(bytes) = self.bytes.get(self.at..end) else { return self.bad("it ends too early") };
        self.at = end;
        Ok(bytes)
    }

    fn header(&mut self) -> Result<(), Refusal> {
        let bytes = self.bytes(SegmentHeader::LEN)?;
        let bytes = <[u8; SegmentHeader::LEN]>::try_from(bytes).unwrap_or([0; SegmentHeader::LEN]);
        let next = &self.taken.next;
        let expected = SegmentHeader {
            epoch: next.epoch,
            ordinal: next.ordinal,
            number: next.segment,
            first: next.sequence + 1,
            prev: next.hash,
        };
        match SegmentHeader::parse(&bytes) {
            Err(why) => self.bad(why),
            Ok(header) if header == expected => Ok(()),
            Ok(header) if header.first > expected.first => Err(Refusal::Gap { expected: expected.first }),
            Ok(_) => Err(Refusal::Fork(format!("segment {} goes on from other records", next.segment))),
        }
    }

    fn frame(&mut self) -> Result<FrameKind, Refusal> {
        let start = self.at;
        let header = self.bytes(FrameHeader::LEN)?;
        let header = <[u8; FrameHeader::LEN]>::try_from(header).unwrap_or_default();
        let header = match FrameHeader::parse(&header) {
            Ok(Some(header)) => header,
            Ok(None) => return self.bad("there is no record"),
            Err(why) => return self.bad(why),
        };
        let payload = self.bytes(header.len)?;
        let beside = self.bytes(header.beside)?;
        let end = std::mem::replace(&mut self.at, start);
        if !header.matches(payload) {
            return self.bad("the record does not match its checksum");
        }
        match header.kind {
            FrameKind::Leaf => self.leaf(payload, beside)?,
            FrameKind::Head => self.head(payload, beside)?,
        }
        self.at = end;
        Ok(header.kind)
    }

    fn leaf(&mut self, bytes: &[u8], beside: &[u8]) -> Result<(), Refusal> {
        // The whole of it: what is taken must be readable by all who ask for it.
        let leaf: Leaf = match leaf::read(bytes) {
            Ok(leaf) => leaf,
            Err(why) => return self.bad(why),
        };
        let next = &self.taken.next;
        if leaf.v != leaf::VERSION || leaf.epoch != next.epoch {
            return self.bad("the record belongs to another format or epoch");
        }
        if leaf.sequence != next.sequence + 1 {
            return self.bad(format!("record {} stands where {} should", leaf.sequence, next.sequence + 1));
        }
        if leaf.prev != next.hash {
            let why = format!("record {} does not carry the hash of the record before it", leaf.sequence);
            return Err(Refusal::Fork(why));
        }
        if (leaf.kind == Kind::Enrol) != (leaf.sequence == 1) {
            return self.bad("the first record of an epoch, and no other, is of kind enrol");
        }
        if next.ended {
            return self.bad("the record stands after the end of its epoch");
        }
        if let Err(why) = leaf::salt_is_right(leaf.response.as_ref(), beside) {
            return self.bad(why);
        }
        let (sequence, ended) = (leaf.sequence, leaf.kind == Kind::End);
        if !self.taken.kinds.contains(&leaf.kind) {
            self.taken.kinds.push(leaf.kind);
        }
        if leaf.kind == Kind::Enrol {
            self.enrol(leaf.body)?;
        }
        let next = &mut self.taken.next;
        next.sequence = sequence;
        next.hash = Hash::of_leaf(bytes);
        next.ended = ended;
        self.taken.leaves += 1;
        Ok(())
    }

    fn enrol(&mut self, body: Map<String, Value>) -> Result<(), Refusal> {
        let enrol = match Enrol::deserialize(Value::Object(body)) {
            Ok(enrol) => enrol,
            Err(error) => return self.bad(format!("the first record cannot be read: {error}")),
        };
        if enrol.ordinal != self.taken.next.ordinal {
            return self.bad(format!("the epoch says that it is the {}th", enrol.ordinal));
        }
        let Some(key) = PublicKey::from_base64(&enrol.key) else {
            return self.bad("the epoch's public key cannot be read");
        };
        self.taken.next.key = Some(key);
        let follows = enrol.predecessor.map(|named| Follows {
            epoch: named.epoch,
            ordinal: named.ordinal,
            sequence: named.sequence,
            hash: named.hash,
        });
        self.taken.enrolled = Some(Enrolled { key, workload: enrol.workload, follows });
        Ok(())
    }

    fn head(&mut self, bytes: &[u8], beside: &[u8]) -> Result<(), Refusal> {
        let Some((head, signature)) = Head::parse(bytes).filter(|_| beside.is_empty()) else {
            return self.bad("the head cannot be read");
        };
        let next = &self.taken.next;
        if (head.epoch, head.sequence, head.hash) != (next.epoch, next.sequence, next.hash) {
            return self.bad("the head does not speak of the record before it");
        }
        if !next.key.is_some_and(|key| head.verifies(&signature, &key)) {
            let why = format!("the signature of the head over record {} is wrong", head.sequence);
            return Err(Refusal::BadSignature(why));
        }
        Ok(())
    }
}

/// Whether a stretch that was sent again says what was stored: see
/// [`difference`].
pub fn says_the_same(stored: &[u8], sent: &[u8], header: bool) -> bool {
    difference(stored, sent, header).is_none()
}

/// Where a stretch that was sent again first says something else than what was
/// stored, salts aside: one side may have erased them meanwhile. Both begin
/// where a frame, or with `header` the segment, begins.
pub fn difference(stored: &[u8], sent: &[u8], header: bool) -> Option<Difference> {
    let differs = |at: usize, end: usize| stored.get(at..end) != sent.get(at..end);
    let mut at = 0;
    if header {
        if differs(0, SegmentHeader::LEN) {
            return Some(Difference { at, sequence: None });
        }
        at = SegmentHeader::LEN;
    }
    while let Some(first) = stored.get(at..).and_then(|rest| rest.first_chunk::<{ FrameHeader::LEN }>()) {
        let Ok(Some(frame)) = FrameHeader::parse(first) else { break };
        let payload = at + FrameHeader::LEN;
        let end = payload + frame.len;
        if end + frame.beside > stored.len() {
            break;
        }
        if differs(at, end) {
            let leaf = stored.get(payload..end).and_then(|leaf| serde_json::from_slice::<Envelope>(leaf).ok());
            return Some(Difference { at, sequence: leaf.map(|leaf| leaf.sequence) });
        }
        at = end + frame.beside;
    }
    let differs = stored.len() != sent.len() || stored.get(at..) != sent.get(at..);
    differs.then_some(Difference { at, sequence: None })
}

/// Two stretches that do not say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Where the first frame begins that is another.
    pub at: usize,
    /// Its sequence in what was stored, where it is a leaf.
    pub sequence: Option<u64>,
}

/// Name of a segment's file.
pub fn segment_name(ordinal: u64, epoch: Uuid, number: u64) -> String {
    Named::Segment { ordinal, epoch, number }.name().unwrap_or_default()
}

/// Name of the file with an epoch's public key.
pub fn key_name(ordinal: u64, epoch: Uuid) -> String {
    Named::PublicKey { ordinal, epoch }.name().unwrap_or_default()
}

/// Which files of a trail a folder holds.
///
/// # Errors
/// It cannot be listed.
pub fn files(folder: &Path) -> io::Result<Vec<EpochListing>> {
    let listing = Listing::read(folder)?;
    Ok(listing
        .epochs
        .into_iter()
        .map(|((ordinal, epoch), files)| EpochListing {
            ordinal,
            epoch,
            segments: files.segments.into_keys().collect(),
            has_key: files.public_key.is_some(),
        })
        .collect())
}

/// The files of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochListing {
    /// Place of the epoch in the trail.
    pub ordinal: u64,
    /// The epoch.
    pub epoch: Uuid,
    /// Numbers of its segments.
    pub segments: Vec<u64>,
    /// Whether its public key is there.
    pub has_key: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::encode_frame;

    fn stretch(payloads: [&[u8]; 2], salt: u8) -> Vec<u8> {
        let mut out = Vec::new();
        for payload in payloads {
            encode_frame(FrameKind::Leaf, payload, &[salt; 32], &mut out).unwrap();
        }
        out
    }

    /// A heartbeat with this body, behind a first record.
    fn heartbeat(body: &str) -> Result<Taken, Refusal> {
        let (epoch, before) = (Uuid::from_u128(7), Hash([1; 32]));
        let leaf = format!(
            "{{\"at\":\"2026-12-01T04:00:00Z\",\"body\":{body},\"epoch\":\"{epoch}\",\"id\":\"{}\",\
             \"kind\":\"heartbeat\",\"mono\":1,\"prev\":\"{before}\",\"sequence\":2,\"v\":1}}",
            Uuid::from_u128(8)
        );
        let known = Intake { segment: 1, offset: 900, sequence: 1, hash: before, ..Intake::new(1, epoch) };
        let mut bytes = Vec::new();
        encode_frame(FrameKind::Leaf, leaf.as_bytes(), &[], &mut bytes).unwrap();
        known.take(Piece { segment: 1, offset: 900, bytes: &bytes, rest: true })
    }

    #[test]
    fn a_record_that_reads_as_several_lines_or_not_at_all_is_not_taken() {
        assert_eq!(heartbeat("{}").unwrap().leaves, 1);
        let other = "{\"podUid\":\"b2\",\"namespace\":\"others\",\"record\":{}}";
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        for body in [format!("{{\"a\":\n{other}\n}}"), "{\r}".into(), "{\t}".into(), "5".into(), deep] {
            assert!(matches!(heartbeat(&body), Err(Refusal::Malformed { .. })), "{body}");
        }
    }

    #[test]
    fn only_salts_may_differ() {
        let stored = stretch([b"one", b"two"], 1);
        assert!(says_the_same(&stored, &stored, false));
        assert!(says_the_same(&stored, &stretch([b"one", b"two"], 0), false));
        let second = FrameHeader::LEN + 3 + 32;
        let other = difference(&stored, &stretch([b"one", b"owt"], 1), false);
        assert_eq!(other, Some(Difference { at: second, sequence: None }));
        for len in 0..stored.len() {
            assert!(!says_the_same(&stored, &stored[..len], false), "{len}");
            // The same start of a frame is the same; any other byte is not.
            assert!(says_the_same(&stored[..len], &stored[..len], false), "{len}");
            let Some(last) = len.checked_sub(1) else { continue };
            let mut changed = stored[..len].to_vec();
            changed[last] ^= 1;
            let in_salt = [second, 2 * second].iter().any(|end| (end - 32..*end).contains(&last) && len == *end);
            assert_eq!(says_the_same(&stored[..len], &changed, false), in_salt, "{len}");
        }
    }
}
