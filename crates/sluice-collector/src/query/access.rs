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
use tokio::sync::Semaphore;

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
    /// Questions under way. Anybody can send tokens that nobody believes.
    asking: Semaphore,
}

impl Cached {
    /// Nothing is remembered yet.
    pub fn new(access: Arc<dyn Access>, clock: Arc<dyn Clock>) -> Self {
        Self { access, clock, persons: Mutex::default(), rights: Mutex::default(), asking: Semaphore::new(QUESTIONS) }
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
        let person = self.answered(self.access.who(token)).await?;
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
        let may = self.answered(self.access.may(person, verb, namespace)).await?;
        lock(&self.rights).put(key, may, self.clock.monotonic());
        Ok(may)
    }

    /// One question, in its turn.
    async fn answered<T>(&self, asking: Asking<'_, T>) -> Result<T, Refusal> {
        let asked = async {
            let _turn = self.asking.acquire().await;
            asking.await
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
            let message = format!("the API server did not answer in {} s", PATIENCE.as_secs());
            Err(Refusal::new(Code::Unavailable, message, "try again; see whether the API server is well"))
        })
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
/// Questions to the API server at a time.
const QUESTIONS: usize = 16;
/// For one, its turn included.
const PATIENCE: Duration = Duration::from_secs(15);
const MAX_TOKEN: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use sluice_core::SystemClock;
    use tokio::sync::watch;

    use super::*;

    /// Answers nobody until it is opened; counts those who wait, and the most.
    #[derive(Debug)]
    struct Gate {
        waiting: watch::Sender<(usize, usize)>,
        open: watch::Receiver<bool>,
    }

    impl Access for Gate {
        fn who<'a>(&'a self, _token: &'a str) -> Asking<'a, Person> {
            Box::pin(async move {
                self.waiting.send_modify(|(now, most)| {
                    *now += 1;
                    *most = (*most).max(*now);
                });
                let _ = self.open.clone().wait_for(|open| *open).await;
                self.waiting.send_modify(|(now, _)| *now -= 1);
                Err(Refusal::new(Code::BadToken, "no", "fix"))
            })
        }

        fn may<'a>(&'a self, _: &'a Person, _: Verb, _: &'a str) -> Asking<'a, bool> {
            Box::pin(std::future::ready(Ok(false)))
        }
    }

    #[tokio::test]
    async fn many_tokens_are_few_questions_at_a_time_and_each_is_answered() {
        let (open, opened) = watch::channel(false);
        let gate = Arc::new(Gate { waiting: watch::Sender::new((0, 0)), open: opened });
        let cached = Arc::new(Cached::new(gate.clone(), Arc::new(SystemClock::new())));
        let ask = |number: usize| {
            let cached = cached.clone();
            tokio::spawn(async move { cached.who(&format!("token-{number}")).await.unwrap_err().code })
        };
        let asked: Vec<_> = (0..100).map(ask).collect();
        let _ = gate.waiting.subscribe().wait_for(|(now, _)| *now >= QUESTIONS).await;
        open.send_replace(true);
        for answer in asked {
            assert_eq!(answer.await.unwrap(), Code::BadToken);
        }
        assert_eq!(*gate.waiting.borrow(), (0, QUESTIONS));
    }
}
