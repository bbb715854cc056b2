use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The public half of an epoch's key (Ed25519).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// As PEM (`SubjectPublicKeyInfo`, RFC 8410); what `epoch-….pub` holds.
    pub fn to_pem(&self) -> String {
        let mut der = SPKI.to_vec();
        der.extend_from_slice(&self.0);
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der))
    }

    /// Reads all public keys of a PEM text.
    ///
    /// # Errors
    /// Says what is not an Ed25519 public key in it.
    pub fn parse_pem(text: &str) -> Result<Vec<Self>, String> {
        let mut keys = Vec::new();
        let mut rest = text;
        while let Some((_, after)) = rest.split_once(BEGIN) {
            let Some((body, after)) = after.split_once(END) else {
                return Err(format!("key {}: {END:?} is missing", keys.len() + 1));
            };
            let encoded: String = body.split_ascii_whitespace().collect();
            let der = STANDARD.decode(encoded).map_err(|error| format!("key {}: {error}", keys.len() + 1))?;
            let key = der.strip_prefix(SPKI).and_then(|key| <[u8; 32]>::try_from(key).ok());
            keys.push(Self(key.ok_or_else(|| format!("key {} is not an Ed25519 public key", keys.len() + 1))?));
            rest = after;
        }
        if keys.is_empty() {
            return Err(format!("there is no {BEGIN:?} in it"));
        }
        Ok(keys)
    }

    pub(crate) fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    pub(crate) fn from_base64(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let key = Self(bytes.try_into().ok()?);
        (key.to_base64() == text).then_some(key)
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_base64())
    }
}

/// An epoch's key. The private half never leaves this memory: who restarts,
/// begins a new epoch with a new key.
pub(crate) struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// `None` when the system gives no random bytes.
    pub(crate) fn generate() -> Option<Self> {
        let pair = Ed25519KeyPair::generate().ok()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public })
    }

    #[cfg(test)]
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
        let public = PublicKey(pair.public_key().as_ref().try_into().unwrap());
        Self { pair, public }
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(***, {:?})", self.public)
    }
}

/// RFC 8410: SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING of 32 bytes }.
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_comes_back() {
        let (a, b) = (SigningKey::from_seed(&[1; 32]).public(), SigningKey::from_seed(&[2; 32]).public());
        let text = format!("first\n{}second\n{}", a.to_pem(), b.to_pem());
        assert_eq!(PublicKey::parse_pem(&text), Ok(vec![a, b]));
        assert!(PublicKey::parse_pem("nothing").is_err());
        assert!(PublicKey::parse_pem(&a.to_pem().replace("MCow", "MCox")).is_err());
    }

    #[test]
    fn only_its_own_signature_verifies() {
        let key = SigningKey::from_seed(&[3; 32]);
        let signature = key.sign(b"message");
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"massage", &signature));
        assert!(!SigningKey::from_seed(&[4; 32]).public().verifies(b"message", &signature));
    }
}
