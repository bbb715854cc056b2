use std::fmt;

use zeroize::Zeroizing;

/// Bytes of a password or a token: never printed, wiped when they go.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes in.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The text as UTF-16, as passwords and tokens travel.
    pub fn from_text(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() * 2);
        bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        Self::new(bytes)
    }

    /// The bytes, for the one place that must use them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes read as UTF-16; `None` if they are not.
    pub fn expose_text(&self) -> Option<Zeroizing<String>> {
        let (pairs, rest) = self.0.as_chunks::<2>();
        let units: Zeroizing<Vec<u16>> = Zeroizing::new(pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect());
        let mut text = Zeroizing::new(String::with_capacity(units.len() * 3));
        for unit in char::decode_utf16(units.iter().copied()) {
            text.push(unit.ok()?);
        }
        rest.is_empty().then_some(text)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "***" })
    }
}

/// Grows without leaving a copy behind: a plain vector's old allocation is not
/// wiped when it moves.
#[derive(Default)]
pub(crate) struct SecretBuffer(Zeroizing<Vec<u8>>);

impl SecretBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::from_text("hunter2")), "***");
        assert_eq!(Secret::from_text("hunter2").expose_text().as_deref().map(String::as_str), Some("hunter2"));
        assert_eq!(Secret::new(vec![0, 0xD8]).expose_text(), None);
    }
}
