//! HTTP/2 frames, written by hand so that they can be wrong (RFC 9113).

use anyhow::Result;

use crate::Raw;

/// What a client must send first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame type DATA.
pub const DATA: u8 = 0;
/// Frame type HEADERS.
pub const HEADERS: u8 = 1;
/// Frame type RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// Frame type SETTINGS.
pub const SETTINGS: u8 = 4;
/// Frame type PING.
pub const PING: u8 = 6;
/// Frame type GOAWAY.
pub const GOAWAY: u8 = 7;
/// Frame type CONTINUATION.
pub const CONTINUATION: u8 = 9;

/// Flag END_STREAM (and ACK of SETTINGS).
pub const END_STREAM: u8 = 1;
/// Flag END_HEADERS.
pub const END_HEADERS: u8 = 4;

/// A frame that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream; 0 is the connection.
    pub stream: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block of literals without indexing and without Huffman coding
/// (RFC 7541, 6.2.2): any name, any value.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

/// Reads one frame.
///
/// # Errors
/// When the connection ends.
pub fn read(raw: &mut Raw) -> Result<Frame> {
    let mut head = [0; 9];
    raw.exactly(&mut head)?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    raw.exactly(&mut payload)?;
    Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff, payload })
}

/// The status in a header block that an HTTP/2 server wrote, where it is one
/// of the static table (RFC 7541, appendix A) or a plain or Huffman-coded
/// literal of digits.
pub fn status(block: &[u8]) -> Option<u16> {
    let mut bytes = block;
    // Size updates of the dynamic table come first.
    while let [first, rest @ ..] = bytes {
        if first & 0xe0 != 0x20 {
            break;
        }
        bytes = rest;
    }
    match bytes {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500].get(usize::from(indexed - 0x88)).copied(),
        [_, length, value @ ..] if length & 0x80 == 0 => {
            std::str::from_utf8(value.get(..usize::from(*length))?).ok()?.parse().ok()
        }
        [_, length, value @ ..] => huffman_digits(value.get(..usize::from(length & 0x7f))?),
        _ => None,
    }
}

/// Digits have 5-bit codes for 0 to 2 and 6-bit codes for 3 to 9.
fn huffman_digits(bytes: &[u8]) -> Option<u16> {
    let bit = |index: usize| bytes.get(index / 8).map(|byte| (byte >> (7 - index % 8)) & 1);
    let take = |start: usize, count: usize| -> Option<u8> {
        (start..start + count).try_fold(0, |code, index| Some((code << 1) | bit(index)?))
    };
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let short = take(at, 5)?;
        let digit = if short <= 2 {
            at += 5;
            short
        } else {
            let code = take(at, 6)?;
            at += 6;
            (0x19..=0x1f).contains(&code).then(|| code - 0x19 + 3)?
        };
        number = number * 10 + u16::from(digit);
    }
    Some(number)
}

/// Length with a 7-bit prefix (RFC 7541, 5.1), then the bytes.
fn text(bytes: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        bytes.push(length as u8);
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push((length % 128) as u8 | 0x80);
            length /= 128;
        }
        bytes.push(length as u8);
    }
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_each_spelling() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(b"\x08\x03403"), Some(403));
        // 4 = 011010, 0 = 00000, 3 = 011001, padded with ones.
        assert_eq!(status(&[0x48, 0x83, 0b0110_1000, 0b0000_1100, 0b1111_1111]), Some(403));
    }

    #[test]
    fn a_long_value_has_a_long_length() {
        let block = block(&[("a", &"x".repeat(200))]);
        assert_eq!(&block[..5], &[0, 1, b'a', 127, 73]);
    }
}
