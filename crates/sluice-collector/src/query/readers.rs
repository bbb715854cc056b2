use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_wire::{Code, Refusal};

use super::access::Person;

/// Answers that are read from files, at a time.
#[derive(Debug, Clone, Default)]
pub struct Readers {
    /// Who has how many, by name.
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// A place among them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Mutex<HashMap<String, usize>>>,
    username: String,
}

impl Readers {
    /// A place for one more answer.
    ///
    /// # Errors
    /// `Unavailable`: there is none, or this reader has half of them.
    pub(super) fn place(&self, person: &Person) -> Result<Place, Refusal> {
        let mut taken = lock(&self.taken);
        let own = taken.get(&person.username).copied().unwrap_or(0);
        let full = |message| Refusal::new(Code::Unavailable, message, "end one of them, or try again in a moment");
        if taken.values().sum::<usize>() >= MOST {
            return Err(full(format!("{MOST} answers are under way")));
        }
        if own >= OF_ONE {
            return Err(full(format!("{own} answers to {} are under way", person.username)));
        }
        taken.insert(person.username.clone(), own + 1);
        Ok(Place { taken: self.taken.clone(), username: person.username.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        match taken.get_mut(&self.username) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.username)),
        }
    }
}

fn lock(taken: &Mutex<HashMap<String, usize>>) -> MutexGuard<'_, HashMap<String, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each takes a thread and some megabytes.
const MOST: usize = 16;
/// Of one reader: who may read little keeps nobody from reading.
const OF_ONE: usize = MOST / 2;
