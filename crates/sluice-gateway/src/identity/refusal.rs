/// Why a token is not believed: a value, not a breakage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable word; one of [`CODES`] where this module refuses.
    pub code: &'static str,
    /// Names the field and its value. Claims are quoted in part; the token
    /// itself never is.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, message: message.into(), fix: fix.into() }
    }
}

/// Longer than 16 KiB.
pub(super) const TOO_LARGE: &str = "TokenTooLarge";
/// No JWT in compact form (RFC 7515 3.1), or its JSON is not sound.
pub(super) const MALFORMED: &str = "TokenMalformed";
/// `alg` is not one of the provider's.
pub(super) const ALGORITHM: &str = "AlgorithmRefused";
/// The header asks for something that is never granted.
pub(super) const HEADER: &str = "HeaderRefused";
/// No `kid`, or one that the provider does not have.
pub(super) const KEY_UNKNOWN: &str = "KeyUnknown";
/// The signature is not by the key.
pub(super) const SIGNATURE: &str = "SignatureInvalid";
/// No provider of the policy vouches for this issuer.
pub(super) const ISSUER: &str = "IssuerUnknown";
/// The token is for another resource.
pub(super) const AUDIENCE: &str = "AudienceMismatch";
/// The token is of another tenant.
pub(super) const TENANT: &str = "TenantMismatch";
/// `exp` is over.
pub(super) const EXPIRED: &str = "TokenExpired";
/// `nbf` or `iat` is to come.
pub(super) const NOT_YET: &str = "TokenNotYetValid";
/// A claim that is needed is not there.
pub(super) const CLAIM_MISSING: &str = "ClaimMissing";
/// A claim is of another shape than it must be.
pub(super) const CLAIM_MALFORMED: &str = "ClaimMalformed";
/// The groups are somewhere else (overage).
pub(super) const OVERAGE: &str = "GroupsOverage";
/// The provider's keys cannot be fetched, and none are at hand.
pub(super) const UNAVAILABLE: &str = "ProviderUnavailable";

/// Every code that this module refuses with.
pub const CODES: [&str; 15] = [
    TOO_LARGE,
    MALFORMED,
    ALGORITHM,
    HEADER,
    KEY_UNKNOWN,
    SIGNATURE,
    ISSUER,
    AUDIENCE,
    TENANT,
    EXPIRED,
    NOT_YET,
    CLAIM_MISSING,
    CLAIM_MALFORMED,
    OVERAGE,
    UNAVAILABLE,
];

/// A value as messages show it: quoted, escaped, at most 120 characters.
pub(super) fn quoted(value: &str) -> String {
    const SHOWN: usize = 120;
    if value.chars().nth(SHOWN).is_none() {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(SHOWN).collect();
    format!("{start:?}…")
}

/// Several values, at most five.
pub(super) fn listed<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let mut values = values.into_iter();
    let shown: Vec<String> = values.by_ref().take(SHOWN).map(quoted).collect();
    let more = values.count();
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
