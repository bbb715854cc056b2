//! Where an issuer's keys come from, and how long they are believed.
//!
//! ```text
//! key asked for -- fresh and there --> it
//!              \-- else: one refresh for all who ask (rate limited) --> it, or why not
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use sluice_core::Clock;
use tokio::sync::Mutex;

use super::fetch::{Document, Fetcher, Url};
use super::json;
use super::keys::{self, KeySet};
use super::refusal::{self, Refusal, quoted};

/// What tells one source from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) keys: PlaceOfKeys,
    /// PEM file with roots beside the public ones. Read at each fetch.
    pub(super) bundle: Option<PathBuf>,
}

/// How the keys are found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum PlaceOfKeys {
    /// By the discovery document of this issuer.
    Discovery(String),
    /// At this URL.
    Url(String),
    /// Here.
    Inline(String),
}

/// The keys of one place. Shared by the policies that name it.
#[derive(Debug)]
pub(super) struct Source {
    place: Place,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    /// Written by whoever holds the gate.
    keys: ArcSwapOption<Kept>,
    /// Why the last refresh failed; empty: it did not. Written by whoever holds
    /// the gate.
    problem: ArcSwap<String>,
    /// Refreshes that ended. Written by whoever holds the gate.
    refreshes: AtomicU64,
    gate: Mutex<Gate>,
}

/// Keys that were fetched. Times are monotonic.
#[derive(Debug)]
struct Kept {
    keys: Arc<KeySet>,
    /// From then on they are fetched again before they are used.
    recheck_at: Duration,
    /// From then on they are not used, whatever the provider does.
    ends_at: Duration,
}

impl Source {
    pub(super) fn new(place: Place, fetcher: Fetcher, clock: Arc<dyn Clock>) -> Self {
        let (kept, problem) = match &place.keys {
            PlaceOfKeys::Inline(text) => match KeySet::parse(text.as_bytes()) {
                Ok(keys) => (Some(Kept::forever(keys)), String::new()),
                Err(why) => (None, format!("the key set in the policy: {why}")),
            },
            _ => (None, "no fetch has ended yet".to_owned()),
        };
        let gate = Mutex::new(Gate { room: BURST, filled_at: clock.monotonic() });
        Self {
            place,
            fetcher,
            clock,
            keys: ArcSwapOption::from_pointee(kept),
            problem: ArcSwap::from_pointee(problem),
            refreshes: AtomicU64::new(0),
            gate,
        }
    }

    /// Keys that have one named `id`.
    ///
    /// # Errors
    /// [`refusal::KEY_UNKNOWN`], also when the provider cannot be asked whether
    /// it has a new one; [`refusal::UNAVAILABLE`] without any keys.
    pub(super) async fn keys_with(self: &Arc<Self>, id: &str) -> Result<Arc<KeySet>, Refusal> {
        // Read first: a refresh that ends in between counts as one after us.
        let seen = self.refreshes.load(Ordering::Acquire);
        let at_hand = self.usable().is_some_and(|kept| self.now() < kept.recheck_at && kept.keys.has(id));
        if !at_hand {
            self.refresh_after(seen).await;
        }
        let problem = self.problem.load();
        let Some(kept) = self.usable() else {
            return Err(Refusal::new(
                refusal::UNAVAILABLE,
                format!("the keys of the identity provider are not at hand: {problem}"),
                "check that the gateway can reach the provider, and its issuer URL and caBundleRef in the policy",
            ));
        };
        if kept.keys.has(id) {
            return Ok(kept.keys.clone());
        }
        let why =
            if problem.is_empty() { String::new() } else { format!(" (its keys could not be read again: {problem})") };
        Err(Refusal::new(
            refusal::KEY_UNKNOWN,
            format!("kid {} is no key of the identity provider{why}", quoted(id)),
            "log in again; where the provider has just changed its keys, retry in a few seconds",
        ))
    }

    /// Fetches once, if nothing was fetched yet.
    pub(super) async fn warm(self: Arc<Self>) {
        if self.keys.load().is_none() {
            self.refresh_after(0).await;
        }
    }

    /// One refresh for all who saw `seen` refreshes. It ends even when the one
    /// who asked has gone.
    async fn refresh_after(self: &Arc<Self>, seen: u64) {
        if matches!(self.place.keys, PlaceOfKeys::Inline(_)) {
            return;
        }
        let source = self.clone();
        let refresh = tokio::spawn(async move {
            let mut gate = source.gate.lock().await;
            if source.refreshes.load(Ordering::Acquire) == seen && gate.take(source.now()) {
                source.refresh().await;
                source.refreshes.fetch_add(1, Ordering::Release);
            }
        });
        // It fails only when the runtime ends.
        let _ = refresh.await;
    }

    async fn refresh(&self) {
        match self.fetch().await {
            Ok((keys, max_age)) => {
                let max_age = max_age.unwrap_or(DEFAULT_AGE).clamp(LEAST_AGE, MOST_AGE);
                let now = self.now();
                let kept = Kept { keys: Arc::new(keys), recheck_at: now + max_age, ends_at: now + MOST_AGE };
                self.keys.store(Some(Arc::new(kept)));
                self.problem.store(Arc::default());
            }
            Err(why) => {
                tracing::warn!(problem = %why, "the identity provider's keys cannot be read");
                if let Some(kept) = self.keys.load_full() {
                    let recheck_at = kept.recheck_at.max(self.now() + RETRY_STALE);
                    self.keys.store(Some(Arc::new(Kept {
                        keys: kept.keys.clone(),
                        recheck_at,
                        ends_at: kept.ends_at,
                    })));
                }
                self.problem.store(Arc::new(why));
            }
        }
    }

    async fn fetch(&self) -> Result<(KeySet, Option<Duration>), String> {
        let uri = match &self.place.keys {
            PlaceOfKeys::Discovery(issuer) => self.discover(issuer).await?,
            PlaceOfKeys::Url(uri) => uri.clone(),
            PlaceOfKeys::Inline(_) => return Err("the keys are in the policy".to_owned()),
        };
        let document = self.get(&uri, keys::MAX_BYTES).await?;
        let keys = KeySet::parse(&document.body).map_err(|why| format!("the key set at {uri}: {why}"))?;
        Ok((keys, document.max_age))
    }

    /// OpenID Connect Discovery 1.0, 4: whose document it is and where its keys
    /// are.
    async fn discover(&self, issuer: &str) -> Result<String, String> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = self.get(&url, MAX_DISCOVERY).await?;
        let members = json::object(&document.body).map_err(|why| format!("the document at {url}: {why}"))?;
        let text = |name: &str| members.get(name).and_then(serde_json::Value::as_str);
        match text("issuer") {
            Some(found) if found == issuer => {}
            found => {
                let found = found.map_or("absent".to_owned(), quoted);
                return Err(format!(
                    "the document at {url} is of another issuer: issuer is {found}, policy has {issuer:?}"
                ));
            }
        }
        text("jwks_uri").map(str::to_owned).ok_or_else(|| format!("the document at {url} has no jwks_uri"))
    }

    async fn get(&self, url: &str, limit: usize) -> Result<Document, String> {
        self.fetcher.get(self.place.bundle.as_deref(), &Url::parse(url)?, limit).await
    }

    fn usable(&self) -> Option<Arc<Kept>> {
        self.keys.load_full().filter(|kept| self.now() < kept.ends_at)
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }
}

impl Kept {
    fn forever(keys: KeySet) -> Self {
        Self { keys: Arc::new(keys), recheck_at: Duration::MAX, ends_at: Duration::MAX }
    }
}

/// How long keys are believed where the server does not say.
pub(super) const DEFAULT_AGE: Duration = Duration::from_secs(3600);
/// What a server can ask for at least; less would be a fetch for each request.
const LEAST_AGE: Duration = Duration::from_secs(60);
/// What a server can ask for at most, and how long keys serve while it is down.
pub(super) const MOST_AGE: Duration = Duration::from_secs(24 * 3600);
/// How long old keys serve before a provider that is down is asked again.
pub(super) const RETRY_STALE: Duration = Duration::from_secs(60);
/// Bytes of a discovery document.
const MAX_DISCOVERY: usize = 256 * 1024;

/// Refreshes that may follow each other at once.
pub(super) const BURST: u32 = 3;
/// How often there is room for one more.
pub(super) const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// How many refreshes may still begin. Held over a refresh, so that there is
/// one at a time.
#[derive(Debug)]
struct Gate {
    room: u32,
    /// Monotonic time up to which room was added.
    filled_at: Duration,
}

impl Gate {
    fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.filled_at).as_nanos() / REFRESH_EVERY.as_nanos();
        let added = u32::try_from(passed).unwrap_or(u32::MAX);
        self.room = self.room.saturating_add(added).min(BURST);
        self.filled_at = self.filled_at.saturating_add(REFRESH_EVERY.saturating_mul(added));
        let some = self.room > 0;
        self.room = self.room.saturating_sub(1);
        some
    }
}
