//! A JSON Web Key Set (RFC 7517), read into keys that can check signatures.

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::json;
use super::proven::Proven;
use super::token::{TokenName, Unverified};

/// The keys of one provider, by `kid`.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: HashMap<String, Vec<Key>>,
    proven: Proven,
}

/// A public key and the algorithms that it may be used with.
#[derive(Debug)]
pub(super) struct Key {
    decoding: DecodingKey,
    kind: Kind,
    /// `alg` of the key, where it says one.
    only: Option<Algorithm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeySet {
    /// Reads a set. Keys that cannot be used here (other kinds, encryption
    /// keys, keys without `kid`) are left out.
    ///
    /// # Errors
    /// It is no key set, is too large, or has no key that can be used.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_BYTES {
            return Err(format!("it has {} bytes, at most {MAX_BYTES} are read", bytes.len()));
        }
        let set = json::object(bytes)?;
        let Some(Value::Array(listed)) = set.get("keys") else { return Err("it has no list \"keys\"".to_owned()) };
        if listed.len() > MAX_KEYS {
            return Err(format!("it has {} keys, at most {MAX_KEYS} are read", listed.len()));
        }
        let mut keys: HashMap<String, Vec<Key>> = HashMap::new();
        for (id, key) in listed.iter().filter_map(Value::as_object).filter_map(usable) {
            keys.entry(id).or_default().push(key);
        }
        if keys.is_empty() {
            return Err("it has no RSA, P-256, P-384 or Ed25519 signature key with a kid".to_owned());
        }
        Ok(Self { keys, proven: Proven::default() })
    }

    /// Whether there is a key of this name.
    pub(super) fn has(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// Whether a key of the name that the token gives made its signature with the
    /// algorithm that it gives. `name` is the token's.
    pub(super) fn verify(&self, token: &Unverified<'_>, name: &TokenName) -> bool {
        let check =
            |keys: &Vec<Key>| keys.iter().any(|key| key.verify(token.said.algorithm, token.message, token.signature));
        self.keys.get(&token.said.key_id).is_some_and(|keys| self.proven.or_check(name, || check(keys)))
    }
}

impl Key {
    fn verify(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        self.kind.fits(algorithm)
            && self.only.is_none_or(|only| only == algorithm)
            && jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, algorithm).unwrap_or(false)
    }
}

impl Kind {
    fn fits(self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Rsa => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Self::P256 => algorithm == ES256,
            Self::P384 => algorithm == ES384,
            Self::Ed25519 => algorithm == EdDSA,
        }
    }
}

/// Bytes of a key set.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// Keys of a set.
const MAX_KEYS: usize = 100;

fn usable(key: &Map<String, Value>) -> Option<(String, Key)> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let id = text("kid").filter(|id| !id.is_empty())?;
    if key.contains_key("use") && text("use") != Some("sig") {
        return None;
    }
    if let Some(operations) = key.get("key_ops") {
        operations.as_array()?.iter().find(|operation| operation.as_str() == Some("verify"))?;
    }
    let only = match key.get("alg") {
        Some(name) => Some(super::token::asymmetric(name.as_str()?)?),
        None => None,
    };
    let (kind, decoding) = match (text("kty")?, text("crv")) {
        ("RSA", _) => (Kind::Rsa, DecodingKey::from_rsa_components(text("n")?, text("e")?)),
        ("EC", Some("P-256")) => (Kind::P256, DecodingKey::from_ec_components(text("x")?, text("y")?)),
        ("EC", Some("P-384")) => (Kind::P384, DecodingKey::from_ec_components(text("x")?, text("y")?)),
        ("OKP", Some("Ed25519")) => (Kind::Ed25519, DecodingKey::from_ed_components(text("x")?)),
        _ => return None,
    };
    Some((id.to_owned(), Key { decoding: decoding.ok()?, kind, only }))
}
