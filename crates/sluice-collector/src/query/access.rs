use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use sluice_core::Clock;
use sluice_wire::{Code, Refusal};

/// Who reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Person {
    /// Name at the API server.
    pub username: String,
    /// UID there.
    pub uid: String,
    /// Groups there.
    pub groups: Vec<String>,
    /// What else the API server knows, which its authorizers may ask for.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What is to be done with `trails.sluice.dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// One trail and its files.
    Get,
    /// Which trails there are, and their records.
    List,
}

impl Verb {
    /// As RBAC spells it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
        }
    }
}

/// An answer under way.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// Says who holds a token, and what they may do. In a cluster: the API server.
pub trait Access: fmt::Debug + Send + Sync + 'static {
    /// Who holds it.
    fn who<'a>(&'a self, token: &'a str) -> Asking<'a, Person>;
    /// Whether they may; the namespace is empty for all of them.
    fn may<'a>(&'a self, person: &'a Person, verb: Verb, namespace: &'a str) -> Asking<'a, bool>;
}

/// Remembers answers for a few seconds, so that one command of a reader is not
/// a dozen questions to the API server.
#[derive(Debug)]
pub struct Cached {
    access: Arc<dyn Access>,
    clock: Arc<dyn Clock>,
    /// By SHA-256 of the token.
    persons: Mutex<Memory<Vec<u8>, Person>>,
    rights: Mutex<Memory<(Person, Verb, String), bool>>,
}

impl Cached {
    /// Nothing is remembered yet.
    pub fn new(access: Arc<dyn Access>, clock: Arc<dyn Clock>) -> Self {
        Self { access, clock, persons: Mutex::default(), rights: Mutex::default() }
    }

    /// Who holds a token.
    ///
    /// # Errors
    /// `BadToken`; `Unavailable`.
    pub async fn who(&self, token: &str) -> Result<Person, Refusal> {
        if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let fix = "send `Authorization: Bearer TOKEN`, such as of `kubectl create token`";
            return Err(Refusal::new(Code::BadToken, "there is no token, or it cannot be one", fix));
        }
        let key = digest(&SHA256, token.as_bytes()).as_ref().to_vec();
        if let Some(known) = lock(&self.persons).get(&key, self.clock.monotonic()) {
            return Ok(known);
        }
        let person = self.access.who(token).await?;
        lock(&self.persons).put(key, person.clone(), self.clock.monotonic());
        Ok(person)
    }

    /// Whether they may.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn may(&self, person: &Person, verb: Verb, namespace: &str) -> Result<bool, Refusal> {
        let key = (person.clone(), verb, namespace.to_owned());
        if let Some(known) = lock(&self.rights).get(&key, self.clock.monotonic()) {
            return Ok(known);
        }
        let may = self.access.may(person, verb, namespace).await?;
        lock(&self.rights).put(key, may, self.clock.monotonic());
        Ok(may)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Memory<K, V>(HashMap<K, (V, Duration)>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    fn get(&self, key: &K, now: Duration) -> Option<V> {
        let (value, until) = self.0.get(key)?;
        (now < *until).then(|| value.clone())
    }

    fn put(&mut self, key: K, value: V, now: Duration) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (_, until)| now < *until);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(key, (value, now + REMEMBERED));
    }
}

/// How long an answer is believed.
pub const REMEMBERED: Duration = Duration::from_secs(5);
const MOST: usize = 2000;
const MAX_TOKEN: usize = 16 * 1024;
