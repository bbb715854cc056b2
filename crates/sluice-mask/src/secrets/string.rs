/// Where inside a JSON string (RFC 8259, section 7) the last byte was, and what
/// it decodes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Text {
    escape: Escape,
    /// A high surrogate whose low one has not come yet.
    high: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Escape {
    #[default]
    None,
    Backslash,
    Hex {
        digits: u8,
        value: u16,
    },
}

/// What a byte of a string meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    More,
    End,
    Malformed,
}

impl Text {
    /// Whether the next byte is no part of an escape.
    pub(super) fn plain(self) -> bool {
        self == Self::default()
    }

    /// Takes one byte after the opening quote; decoded bytes go to `decoded`.
    pub(super) fn step(&mut self, byte: u8, decoded: &mut impl FnMut(&[u8])) -> Step {
        match self.escape {
            Escape::None => match byte {
                b'"' => {
                    self.lone(decoded);
                    return Step::End;
                }
                b'\\' => self.escape = Escape::Backslash,
                0..0x20 => return Step::Malformed,
                byte => {
                    self.lone(decoded);
                    decoded(&[byte]);
                }
            },
            Escape::Backslash => {
                let plain = match byte {
                    b'u' => {
                        self.escape = Escape::Hex { digits: 0, value: 0 };
                        return Step::More;
                    }
                    b'"' | b'\\' | b'/' => byte,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return Step::Malformed,
                };
                self.escape = Escape::None;
                self.lone(decoded);
                decoded(&[plain]);
            }
            Escape::Hex { digits, value } => {
                let Some(digit) = char::from(byte).to_digit(16) else { return Step::Malformed };
                // Four digits at most, each below 16: fits.
                let value = value << 4 | digit as u16;
                if digits < 3 {
                    self.escape = Escape::Hex { digits: digits + 1, value };
                } else {
                    self.escape = Escape::None;
                    self.unit(value, decoded);
                }
            }
        }
        Step::More
    }

    fn unit(&mut self, unit: u16, decoded: &mut impl FnMut(&[u8])) {
        if let (Some(high), 0xdc00..0xe000) = (self.high, unit) {
            self.high = None;
            let code = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00);
            return emit(code, decoded);
        }
        self.lone(decoded);
        match unit {
            0xd800..0xdc00 => self.high = Some(unit),
            unit => emit(u32::from(unit), decoded),
        }
    }

    /// A high surrogate that stayed alone decodes to U+FFFD.
    fn lone(&mut self, decoded: &mut impl FnMut(&[u8])) {
        if self.high.take().is_some() {
            emit(0xfffd, decoded);
        }
    }
}

fn emit(code: u32, decoded: &mut impl FnMut(&[u8])) {
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    decoded(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Appends `bytes` as they stand inside a JSON string, escaped as Go's encoder
/// does (`<`, `>` and `&` too), so that text which it wrote comes out the same.
pub(super) fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 | b'<' | b'>' | b'&' => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
            }
            byte => out.push(byte),
        }
    }
}
