//! Who asks: an OIDC token is believed, or refused with a reason.
//!
//! ```text
//! token -> form (header, algorithm, kid) -> provider by iss -> key -> signature
//!       -> times, audience, tenant, overage -> Subject
//! ```
//!
//! Nothing in a token says how it is to be believed: algorithms, keys, issuers
//! and tenants come from policy, audiences from the target. Where something is
//! in doubt the answer is a [`Refusal`].

mod check;
mod claims;
mod fetch;
mod json;
mod keys;
mod proven;
mod refusal;
mod source;
#[cfg(test)]
mod tests;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::Algorithm;
use lru::LruCache;
use sluice_core::{Clock, Secret, Subject};
use sluice_policy::{Keys, Provider};

use crate::dial::Dialer;

pub use check::ProviderError;
use fetch::Fetcher;
pub use refusal::{CODES, Refusal};
use refusal::{listed, quoted};
use source::{Place, PlaceOfKeys, Source};
use token::{Said, TokenName, Unverified};

/// Checks tokens against the providers of a policy. Shared by all sessions;
/// one for each policy, see [`updated`](Self::updated).
#[derive(Debug)]
pub struct Authenticator {
    providers: Vec<Known>,
    sources: HashMap<Place, Arc<Source>>,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    /// What tokens say that were believed once, so that one that comes with every
    /// request is taken apart once. Whether it is believed now is asked each time.
    believed: Believed,
}

type Believed = Mutex<LruCache<TokenName, Arc<Said>>>;

/// A provider, ready to be asked.
#[derive(Debug)]
struct Known {
    provider: Provider,
    algorithms: Vec<Algorithm>,
    /// One for each of the provider's issuers, in their order.
    sources: Vec<Arc<Source>>,
}

impl Authenticator {
    /// For these providers; nothing is fetched yet.
    ///
    /// # Errors
    /// A provider can never vouch for anything as it is written.
    pub fn new(providers: &[Provider], dialer: Dialer, clock: Arc<dyn Clock>) -> Result<Self, ProviderError> {
        providers.iter().try_for_each(|provider| check::check(provider, dialer.place()))?;
        Ok(Self::with(HashMap::new(), providers, Fetcher::new(dialer), clock))
    }

    /// For the providers of a new policy. Keys at hand stay at hand, so that a
    /// change of policy while a provider is down locks nobody out.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn updated(&self, providers: &[Provider]) -> Result<Self, ProviderError> {
        providers.iter().try_for_each(|provider| check::check(provider, self.fetcher.place()))?;
        Ok(Self::with(self.sources.clone(), providers, self.fetcher.clone(), self.clock.clone()))
    }

    fn with(
        before: HashMap<Place, Arc<Source>>,
        providers: &[Provider],
        fetcher: Fetcher,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut sources = HashMap::new();
        let mut source = |place: Place| {
            let make = || Arc::new(Source::new(place.clone(), fetcher.clone(), clock.clone()));
            let kept = before.get(&place).cloned();
            sources.entry(place.clone()).or_insert_with(|| kept.unwrap_or_else(make)).clone()
        };
        let providers = providers
            .iter()
            .map(|provider| Known {
                algorithms: provider.algorithms.iter().filter_map(|name| token::asymmetric(name)).collect(),
                sources: provider.issuers.iter().map(|issuer| source(place(provider, issuer))).collect(),
                provider: provider.clone(),
            })
            .collect();
        Self { providers, sources, fetcher, clock, believed: Mutex::new(LruCache::new(proven::KEPT)) }
    }

    /// Starts to fetch all keys that are not at hand, in the background, so
    /// that the first request need not wait. Must be called inside a runtime.
    pub fn warm(&self) {
        for source in self.sources.values() {
            tokio::spawn(source.clone().warm());
        }
    }

    /// Who the token says its holder is, for a target that takes `audiences`
    /// and tokens of the named `providers`.
    ///
    /// # Errors
    /// It is not believed. Its own words are shown only in part, and only
    /// those of `alg`, `kid`, `typ`, `iss`, `aud`, `tid` and its times.
    pub async fn identify(
        &self,
        token: &Secret<String>,
        audiences: &[String],
        providers: &[String],
    ) -> Result<Subject, Refusal> {
        let text = token.expose();
        let name = token::name(text).ok_or_else(unnamed)?;
        let known = self.believed.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let token = match known.and_then(|said| Unverified::again(text, said)) {
            Some(token) => token,
            None => Unverified::parse(text)?,
        };
        let allowed = || self.providers.iter().filter(|known| providers.contains(&known.provider.name));
        let mut refused = None;
        for known in allowed() {
            if let Some(source) = known.source_of(&token.said.issuer) {
                match known.identify(source, &token, &name, audiences, &*self.clock).await {
                    Ok(subject) => {
                        self.believed.lock().unwrap_or_else(PoisonError::into_inner).put(name, token.said);
                        return Ok(subject);
                    }
                    Err(refusal) => refused = Some(refusal),
                }
            }
        }
        Err(refused.unwrap_or_else(|| {
            let issuers = allowed().flat_map(|known| known.provider.issuers.iter().map(String::as_str));
            unknown_issuer(&token.said.issuer, &listed(issuers))
        }))
    }
}

impl Known {
    fn source_of(&self, issuer: &str) -> Option<&Arc<Source>> {
        let at = self.provider.issuers.iter().position(|known| known == issuer)?;
        self.sources.get(at)
    }

    async fn identify(
        &self,
        source: &Arc<Source>,
        token: &Unverified<'_>,
        name: &TokenName,
        audiences: &[String],
        clock: &dyn Clock,
    ) -> Result<Subject, Refusal> {
        let said = &*token.said;
        if !self.algorithms.contains(&said.algorithm) {
            return Err(Refusal::new(
                refusal::ALGORITHM,
                format!(
                    "alg is {:?}; identity provider {} has {}",
                    said.algorithm,
                    self.provider.name,
                    listed(self.provider.algorithms.iter().map(String::as_str))
                ),
                "add the algorithm to algorithms of the identity provider, if its tokens are signed so",
            ));
        }
        let keys = source.keys_with(&said.key_id).await?;
        if !keys.verify(token, name) {
            return Err(Refusal::new(
                refusal::SIGNATURE,
                format!(
                    "the signature is not by key {} of identity provider {}",
                    quoted(&said.key_id),
                    self.provider.name
                ),
                "send the token as the provider issued it",
            ));
        }
        claims::subject(&said.issuer, &said.claims, &self.provider, audiences, clock.now())
    }
}

/// Not met: a SHA-256 has 32 bytes.
fn unnamed() -> Refusal {
    Refusal::new(refusal::MALFORMED, "the bearer token cannot be digested", "send it again")
}

fn place(provider: &Provider, issuer: &str) -> Place {
    let keys = match &provider.keys {
        Keys::Discovery => PlaceOfKeys::Discovery(issuer.to_owned()),
        Keys::JwksUri(uri) => PlaceOfKeys::Url(uri.clone()),
        Keys::Inline(set) => PlaceOfKeys::Inline(set.clone()),
    };
    Place { keys, bundle: provider.ca_bundle.clone() }
}

fn unknown_issuer(issuer: &str, known: &str) -> Refusal {
    let known = if known.is_empty() { "none".to_owned() } else { known.to_owned() };
    Refusal::new(
        refusal::ISSUER,
        format!("iss is {}; the policy of this target takes {known}", quoted(issuer)),
        "log in with a provider of the policy, or add the issuer to an identity provider that the policy names",
    )
}
