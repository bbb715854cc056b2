use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CaBundleRef;

/// `spec` of an `IdentityProvider`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityProviderSpec {
    /// Values of `iss` that are accepted. For Entra list both
    /// `https://login.microsoftonline.com/TENANT/v2.0` and
    /// `https://sts.windows.net/TENANT/` where both kinds of token occur.
    pub issuers: Vec<String>,
    /// Where the keys are. Where `jwks` is absent too, they are found by discovery
    /// at each issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The keys themselves, for networks without a way to the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<KeySet>,
    /// Values of `tid` that are accepted. Absent: the claim is not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
    /// Signature algorithms that are accepted. Absent: `RS256`. Asymmetric
    /// ones only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
    /// Which claims mean what.
    #[serde(default)]
    pub claims: ClaimsSpec,
    /// Roots that vouch for the provider's own server beside the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_bundle_ref: Option<CaBundleRef>,
}

/// A JSON Web Key Set (RFC 7517).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySet {
    /// The keys, as the provider publishes them.
    pub keys: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// Names of claims; a dot goes one level down (`realm.roles`).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimsSpec {
    /// Who it is. Absent: `sub`. For Entra `oid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Groups. Absent: `groups`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
    /// Application roles. Absent: `roles`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<String>,
    /// The name by which the API server knows the subject, such as `upn`.
    /// Absent: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_user: Option<String>,
}
