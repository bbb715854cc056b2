use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use uuid::Uuid;

use crate::hash::Hash;
use crate::key::{PublicKey, SigningKey};

/// A signed statement: "this is my newest leaf". `docs/trail-format.md`, "Head".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epoch: Uuid,
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
    pub(crate) at: Timestamp,
}

impl Head {
    /// The text with its signature.
    pub(crate) fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let mut text = self.text().into_bytes();
        let signature = STANDARD.encode(key.sign(&text));
        text.extend_from_slice(signature.as_bytes());
        text.push(b'\n');
        text
    }

    /// Reads the text, and the signature that it ends with.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, Vec<u8>)> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split('\n');
        if lines.next()? != TITLE {
            return None;
        }
        let head = Self {
            epoch: Uuid::try_parse(lines.next()?).ok()?,
            sequence: lines.next()?.parse().ok()?,
            hash: Hash::parse(lines.next()?)?,
            at: lines.next()?.parse().ok()?,
        };
        let signature = STANDARD.decode(lines.next()?).ok()?;
        // One head has one spelling.
        let whole = head.text() + &STANDARD.encode(&signature) + "\n";
        (whole == text).then_some((head, signature))
    }

    pub(crate) fn verifies(&self, signature: &[u8], key: &PublicKey) -> bool {
        key.verifies(self.text().as_bytes(), signature)
    }

    /// What is signed.
    fn text(&self) -> String {
        format!("{TITLE}\n{}\n{}\n{}\n{}\n", self.epoch, self.sequence, self.hash, self.at)
    }
}

const TITLE: &str = "sluice-head-1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_and_no_other_spelling_does() {
        let key = SigningKey::from_seed(&[5; 32]);
        let head = Head {
            epoch: Uuid::from_u128(1),
            sequence: 9,
            hash: Hash([3; 32]),
            at: "2026-12-01T00:00:00Z".parse().unwrap(),
        };
        let bytes = head.sign(&key);
        let (read, signature) = Head::parse(&bytes).unwrap();
        assert_eq!(read, head);
        assert!(read.verifies(&signature, &key.public()));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            let whole = Head::parse(&flipped).is_some_and(|(head, signature)| head.verifies(&signature, &key.public()));
            assert!(!whole, "byte {at}");
        }
    }
}
