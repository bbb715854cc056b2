//! Tokens of the tests' own making, honest and forged.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// An RSA key that signs tokens.
#[derive(Debug)]
pub struct Signer {
    key: KeyPair,
    kid: String,
}

impl Signer {
    /// A fresh key of that id.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(kid: &str) -> Result<Self> {
        let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no RSA key"))?;
        Ok(Self { key, kid: kid.to_owned() })
    }

    /// Its public half as a JSON Web Key.
    ///
    /// # Errors
    /// When the key's own encoding is not understood.
    pub fn jwk(&self) -> Result<Value> {
        // RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER } (RFC 8017, A.1.1)
        let (sequence, _) = der(self.key.public_key().as_ref())?;
        let (modulus, rest) = der(sequence)?;
        let (exponent, _) = der(rest)?;
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes.strip_prefix(&[0]).unwrap_or(bytes));
        Ok(json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid,
            "n": number(modulus), "e": number(exponent),
        }))
    }

    /// A token with the usual header.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, claims: &Value) -> Result<String> {
        self.with_header(&json!({"alg": "RS256", "typ": "JWT", "kid": self.kid}), claims)
    }

    /// A token signed with this key whatever its header says.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn with_header(&self, header: &Value, claims: &Value) -> Result<String> {
        let body = unsigned(header, claims);
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), body.as_bytes(), &mut signature)
            .map_err(|_| anyhow!("not signed"))?;
        Ok(format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Header and claims of a token, without signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Seconds since 1970, as the times in a token.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// One DER value with its length in the long or short form: content and rest.
fn der(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (head, length) = match bytes {
        [_, length, ..] if *length < 0x80 => (2, usize::from(*length)),
        [_, 0x81, length, ..] => (3, usize::from(*length)),
        [_, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => return Err(anyhow!("not DER")),
    };
    let content = bytes.get(head..head + length).context("DER that is cut off")?;
    Ok((content, &bytes[head + length..]))
}

/// HMAC-SHA256, for forgeries.
pub fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
}
