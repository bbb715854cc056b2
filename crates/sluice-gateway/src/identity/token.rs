//! A JWT in compact form, taken apart and not yet believed (RFC 7515, 7519).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::json;
use super::refusal::{self, Refusal, quoted};

/// A token whose form is sound. Nothing in it is true yet.
pub(super) struct Unverified<'t> {
    pub(super) said: Arc<Said>,
    /// What is signed.
    pub(super) message: &'t str,
    /// The signature, still in base64url.
    pub(super) signature: &'t str,
}

/// What a token says: depends on its text alone.
pub(super) struct Said {
    /// What the header says signed it; an asymmetric algorithm.
    pub(super) algorithm: Algorithm,
    /// Which key the header says signed it.
    pub(super) key_id: String,
    /// `iss`: by whose keys to find out.
    pub(super) issuer: String,
    /// To be believed after the signature was checked.
    pub(super) claims: Map<String, Value>,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Said(***)")
    }
}

/// Names a token without being it: the SHA-256 of its text.
pub(super) type TokenName = [u8; 32];

pub(super) fn name(token: &str) -> Option<TokenName> {
    digest(&SHA256, token.as_bytes()).as_ref().try_into().ok()
}

impl<'t> Unverified<'t> {
    /// Takes the token apart.
    ///
    /// # Errors
    /// [`refusal::TOO_LARGE`], [`refusal::MALFORMED`], [`refusal::ALGORITHM`],
    /// [`refusal::HEADER`], [`refusal::KEY_UNKNOWN`] when it names no key.
    pub(super) fn parse(token: &'t str) -> Result<Self, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::new(
                refusal::TOO_LARGE,
                format!("the token has {} bytes, at most {MAX_TOKEN} are read", token.len()),
                "ask the provider for a token with fewer claims, for instance with groups assigned to the application only",
            ));
        }
        let Some((message, signature)) = token.rsplit_once('.') else { return Err(malformed("it has no dots")) };
        let Some((header, payload)) = message.split_once('.') else { return Err(malformed("it has one dot")) };
        if payload.contains('.') {
            return Err(malformed("it has more than two dots (an encrypted token cannot be read here)"));
        }
        let header = part("header", header)?;
        let claims = part("payload", payload)?;
        let algorithm = algorithm(&header)?;
        check_header(&header)?;
        let said = Said {
            algorithm,
            key_id: key_id(&header)?,
            issuer: text(&claims, "iss").ok_or_else(|| malformed("the claim iss is absent or no text"))?.to_owned(),
            claims,
        };
        Ok(Self { said: Arc::new(said), message, signature })
    }

    /// The same for a token that was taken apart before.
    pub(super) fn again(token: &'t str, said: Arc<Said>) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        Some(Self { said, message, signature })
    }
}

/// A token with a few hundred groups is smaller; HTTP servers take no larger
/// header.
pub(super) const MAX_TOKEN: usize = 16 * 1024;
/// Bytes of a `kid`.
const MAX_KEY_ID: usize = 256;

/// Members of a header that would have the token say by which key it is to be
/// believed, or that change what is signed.
const REFUSED_MEMBERS: [&str; 8] = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "enc", "zip"];

fn part(name: &str, text: &str) -> Result<Map<String, Value>, Refusal> {
    let bytes =
        URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed(&format!("its {name} is not base64url without padding")))?;
    json::object(&bytes).map_err(|why| malformed(&format!("its {name} is not sound JSON: {why}")))
}

/// The names of RFC 7518 3.1 that take a public key to check. `none` and the
/// HMAC family are not among them, whatever a provider's list says.
pub(super) fn asymmetric(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, Refusal> {
    let name = text(header, "alg").ok_or_else(|| malformed("its header has no alg, or one that is no text"))?;
    asymmetric(name).ok_or_else(|| {
        Refusal::new(
            refusal::ALGORITHM,
            format!("alg is {}, which proves nothing without the provider's private key", quoted(name)),
            "use a token that the provider signed with an asymmetric algorithm, such as RS256",
        )
    })
}

fn check_header(header: &Map<String, Value>) -> Result<(), Refusal> {
    let refused = |message: String| {
        Refusal::new(refusal::HEADER, message, "use an access token as the provider issues it, unaltered")
    };
    if let Some(member) = REFUSED_MEMBERS.into_iter().find(|member| header.contains_key(*member)) {
        return Err(refused(format!("its header has {member}; keys come from the provider alone")));
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) if TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known)) => {}
        Some(other) => return Err(refused(format!("its typ is {}, not JWT", quoted(&other.to_string())))),
    }
    if header.contains_key("cty") {
        return Err(refused("its header has cty: a token inside a token".to_owned()));
    }
    Ok(())
}

/// RFC 7519 5.1 and RFC 9068 2.1.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

fn key_id(header: &Map<String, Value>) -> Result<String, Refusal> {
    let unknown = |message: String| {
        Refusal::new(refusal::KEY_UNKNOWN, message, "use a token whose header names one of the provider's keys")
    };
    match header.get("kid") {
        None => Err(unknown("its header names no key (kid is absent)".to_owned())),
        Some(Value::String(id)) if (1..=MAX_KEY_ID).contains(&id.len()) => Ok(id.clone()),
        Some(_) => Err(unknown(format!("its kid is not a text of 1 to {MAX_KEY_ID} bytes"))),
    }
}

fn text<'m>(object: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    object.get(name).and_then(Value::as_str)
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(
        refusal::MALFORMED,
        format!("the bearer token is no JWT that can be read: {what}"),
        "send an OIDC access token in compact form: Authorization: Bearer HEADER.PAYLOAD.SIGNATURE",
    )
}
