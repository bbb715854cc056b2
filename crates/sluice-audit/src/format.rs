//! The bytes on disk: file names, the header of a segment, frames.
//! `docs/trail-format.md`, "Folder", "Segment".

use uuid::Uuid;

use crate::commitment::SALT;
use crate::hash::Hash;

/// Begins every segment: `docs/trail-format.md`, "Segment".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) epoch: Uuid,
    /// Place of the epoch in the trail, from 1.
    pub(crate) ordinal: u64,
    /// Place of the segment in the epoch, from 1.
    pub(crate) number: u64,
    /// Sequence of the first leaf that goes in.
    pub(crate) first: u64,
    /// Hash of the leaf before that.
    pub(crate) prev: Hash,
}

impl SegmentHeader {
    pub(crate) const LEN: usize = 128;

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let fields: [(usize, &[u8]); 6] = [
            (0, MAGIC),
            (8, self.epoch.as_bytes()),
            (24, &self.ordinal.to_be_bytes()),
            (32, &self.number.to_be_bytes()),
            (40, &self.first.to_be_bytes()),
            (48, &self.prev.0),
        ];
        for (at, bytes) in fields {
            out[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    pub(crate) fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, &'static str> {
        if bytes[..8] != *MAGIC {
            return Err("this is not a segment of a trail of format 1");
        }
        if crc32fast::hash(&bytes[..CRC_AT]).to_be_bytes() != bytes[CRC_AT..] {
            return Err("the header of the segment does not match its checksum");
        }
        let number = |at: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(field)
        };
        let mut epoch = [0; 16];
        epoch.copy_from_slice(&bytes[8..24]);
        let mut prev = [0; 32];
        prev.copy_from_slice(&bytes[48..80]);
        Ok(Self {
            epoch: Uuid::from_bytes(epoch),
            ordinal: number(24),
            number: number(32),
            first: number(40),
            prev: Hash(prev),
        })
    }
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Leaf,
    Head,
}

/// The eight bytes before a payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// Length of the payload.
    pub(crate) len: usize,
    /// Length of what lies beside the payload, outside the checksum: a salt,
    /// or nothing.
    pub(crate) beside: usize,
    crc: u32,
}

impl FrameHeader {
    pub(crate) const LEN: usize = 8;

    /// `Ok(None)`: no frame was written here.
    pub(crate) fn parse(bytes: &[u8; Self::LEN]) -> Result<Option<Self>, &'static str> {
        let [kind, beside, len @ .., c0, c1, c2, c3] = bytes;
        let kind = match kind {
            0 if bytes.iter().all(|byte| *byte == 0) => return Ok(None),
            1 => FrameKind::Leaf,
            2 => FrameKind::Head,
            _ => return Err("there is no frame of this kind"),
        };
        let beside = usize::from(*beside);
        if beside != 0 && beside != SALT {
            return Err("what lies beside the frame is no salt");
        }
        let len = usize::from(u16::from_be_bytes(*len));
        if len == 0 {
            return Err("the frame is empty");
        }
        Ok(Some(Self { kind, len, beside, crc: u32::from_be_bytes([*c0, *c1, *c2, *c3]) }))
    }

    pub(crate) fn matches(&self, payload: &[u8]) -> bool {
        frame_crc(self.kind, self.beside, payload) == Some(self.crc)
    }
}

/// Appends a frame. The payload must be 1 to 65,535 bytes.
pub(crate) fn encode_frame(kind: FrameKind, payload: &[u8], beside: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let len = u16::try_from(payload.len()).ok().filter(|len| *len > 0)?;
    let crc = frame_crc(kind, beside.len(), payload)?;
    out.push(kind_byte(kind));
    out.push(u8::try_from(beside.len()).ok()?);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(beside);
    Some(())
}

fn frame_crc(kind: FrameKind, beside: usize, payload: &[u8]) -> Option<u32> {
    let len = u16::try_from(payload.len()).ok()?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind_byte(kind), u8::try_from(beside).ok()?]);
    hasher.update(&len.to_be_bytes());
    hasher.update(payload);
    Some(hasher.finalize())
}

fn kind_byte(kind: FrameKind) -> u8 {
    match kind {
        FrameKind::Leaf => 1,
        FrameKind::Head => 2,
    }
}

/// Length of a frame in bytes.
pub(crate) fn frame_len(payload: usize, beside: usize) -> u64 {
    (FrameHeader::LEN + payload + beside) as u64
}

/// What a file of the folder is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Segment {
        ordinal: u64,
        epoch: Uuid,
        number: u64,
    },
    PublicKey {
        ordinal: u64,
        epoch: Uuid,
    },
    /// A file that was being made.
    Unfinished,
    /// Not ours.
    Other,
}

impl Named {
    pub(crate) fn parse(name: &str) -> Self {
        if name.starts_with("epoch-") && (name.ends_with(".seg.new") || name.ends_with(".pub.new")) {
            return Self::Unfinished;
        }
        Self::strict(name).unwrap_or(Self::Other)
    }

    fn strict(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("epoch-")?;
        let (ordinal, rest) = rest.split_once('-')?;
        let ordinal = digits(ordinal)?;
        let epoch = Uuid::try_parse(rest.get(..36)?).ok()?;
        let named = match rest.get(36..)? {
            ".pub" => Self::PublicKey { ordinal, epoch },
            rest => Self::Segment { ordinal, epoch, number: digits(rest.strip_prefix('-')?.strip_suffix(".seg")?)? },
        };
        // One file has one spelling.
        (named.name().as_deref() == Some(name)).then_some(named)
    }

    /// The name of the file.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::Segment { ordinal, epoch, number } => Some(format!("epoch-{ordinal:08}-{epoch}-{number:08}.seg")),
            Self::PublicKey { ordinal, epoch } => Some(format!("epoch-{ordinal:08}-{epoch}.pub")),
            Self::Unfinished | Self::Other => None,
        }
    }
}

fn digits(text: &str) -> Option<u64> {
    (text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

const MAGIC: &[u8; 8] = b"sluice-1";
const CRC_AT: usize = SegmentHeader::LEN - 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        let epoch = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001);
        let segment = Named::Segment { ordinal: 3, epoch, number: 12 };
        let name = segment.name().unwrap();
        assert_eq!(name, "epoch-00000003-01990000-0000-7000-8000-000000000001-00000012.seg");
        assert_eq!(Named::parse(&name), segment);
        let key = Named::PublicKey { ordinal: 3, epoch };
        assert_eq!(Named::parse(&key.name().unwrap()), key);
        assert_eq!(Named::parse(&name.to_uppercase()), Named::Other);
        assert_eq!(Named::parse("epoch-3-01990000-0000-7000-8000-000000000001.pub"), Named::Other);
        assert_eq!(Named::parse(&format!("{name}.new")), Named::Unfinished);
        assert_eq!(Named::parse("epoch-00000001-é"), Named::Other);
    }

    #[test]
    fn headers_come_back_and_every_flip_is_found() {
        let header = SegmentHeader { epoch: Uuid::from_u128(7), ordinal: 1, number: 2, first: 3, prev: Hash([9; 32]) };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::parse(&bytes), Ok(header));
        for at in 0..bytes.len() {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            assert!(SegmentHeader::parse(&flipped).is_err(), "byte {at}");
        }
    }

    /// If these change, so does the format: the magic and the documentation
    /// too.
    #[test]
    fn the_bytes_of_a_header_and_of_a_frame_are_these() {
        let header = SegmentHeader { epoch: Uuid::from_u128(7), ordinal: 1, number: 2, first: 3, prev: Hash([9; 32]) };
        let expected = "736c756963652d3100000000000000000000000000000007000000000000000100000000000000020000000000000003090909090909090909090909090909090909090909090909090909090909090900000000000000000000000000000000000000000000000000000000000000000000000000000000000000007b02453f";
        assert_eq!(hex::encode(header.encode()), expected);
        let mut frame = Vec::new();
        encode_frame(FrameKind::Leaf, b"{}", &[], &mut frame).unwrap();
        assert_eq!(hex::encode(frame), "010000029b650bd47b7d");
    }
}
