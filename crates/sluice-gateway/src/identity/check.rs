//! What can be said about a provider before anybody presents a token.

use sluice_policy::{Keys, Provider};

use super::fetch::Url;
use super::keys::KeySet;
use super::token;
use crate::dial::{Place, Roots};

/// A provider that can never vouch for anything as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("IdentityProvider {provider}: spec.{field}: {what}")]
pub struct ProviderError {
    provider: String,
    field: &'static str,
    what: String,
}

/// Looks for what no fetch can put right.
pub(super) fn check(provider: &Provider, place: Place) -> Result<(), ProviderError> {
    let wrong = |field: &'static str, what: String| ProviderError { provider: provider.name.clone(), field, what };
    if let Some(name) = provider.algorithms.iter().find(|name| token::asymmetric(name).is_none()) {
        return Err(wrong("algorithms", format!("{name:?} cannot be accepted; use {}", SUPPORTED.join(", "))));
    }
    match &provider.keys {
        Keys::Discovery => {
            let issuers = provider.issuers.iter().map(|issuer| Url::parse(issuer)).collect::<Result<Vec<_>, _>>();
            issuers.map_err(|what| {
                wrong("issuers", format!("{what}; keys are discovered at https URLs, else set jwksUri or jwks"))
            })?;
        }
        Keys::JwksUri(uri) => {
            Url::parse(uri).map_err(|what| wrong("jwksUri", format!("{what}; name the https URL of the key set")))?;
        }
        Keys::Inline(set) => {
            KeySet::parse(set.as_bytes()).map_err(|what| {
                wrong("jwks", format!("{what}; put in the document that the provider publishes at its jwks_uri"))
            })?;
        }
    }
    Roots::with_bundle(provider.ca_bundle.as_deref()).map_err(|error| {
        let (field, what) = place.bundle(&error);
        wrong(field, what)
    })?;
    Ok(())
}

const SUPPORTED: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
