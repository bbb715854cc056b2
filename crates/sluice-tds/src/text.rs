use std::fmt;

use zeroize::Zeroize;

/// UTF-16 as it stands on the wire, unpaired surrogates included: SQL Server
/// allows them in names and values, and what was read must be written again as
/// it was.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Vec<u16>);

impl Text {
    /// From code units.
    pub fn from_units(units: Vec<u16>) -> Self {
        Self(units)
    }

    /// Code units, as the wire counts characters.
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a string, unless a surrogate is unpaired. For decisions: what cannot
    /// be read in one way is not read.
    pub fn to_exact(&self) -> Option<String> {
        String::from_utf16(&self.0).ok()
    }

    /// From little-endian bytes; `None` if their number is odd.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (pairs, rest) = bytes.as_chunks::<2>();
        rest.is_empty().then(|| Self(pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()))
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.0.iter().flat_map(|unit| unit.to_le_bytes()));
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.encode_utf16().collect())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0.iter().copied().eq(other.encode_utf16())
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// For people: unpaired surrogates become U+FFFD.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        char::decode_utf16(self.0.iter().copied())
            .try_for_each(|unit| fmt::Write::write_char(f, unit.unwrap_or(char::REPLACEMENT_CHARACTER)))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Zeroize for Text {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}
