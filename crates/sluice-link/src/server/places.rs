use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at a time, at one listener.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    most: usize,
    /// Who has how many.
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    address: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _free: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(most)), most, taken: Arc::default() }
    }

    /// Waits until one is free.
    pub(super) async fn free(&self) -> OwnedSemaphorePermit {
        match self.all.clone().acquire_owned().await {
            Ok(free) => free,
            // Not met: nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives a free one to `address`. `None`: it has a quarter of all, and the
    /// rest is for others.
    pub(super) fn give(&self, free: OwnedSemaphorePermit, address: IpAddr) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let own = taken.entry(address).or_default();
        if *own >= (self.most / 4).max(1) {
            return None;
        }
        *own += 1;
        Some(Place { address, taken: self.taken.clone(), _free: free })
    }

    /// Waits until all are free.
    pub(super) async fn all_free(&self) {
        let most = u32::try_from(self.most).unwrap_or(u32::MAX);
        let _ = self.all.acquire_many(most).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(own) = taken.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

fn lock(taken: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_keeps_nobody_out() {
        let places = Places::new(8);
        let (one, other) = ("10.0.0.1".parse().unwrap(), "fd00::2".parse().unwrap());
        let first = places.give(places.free().await, one);
        let second = places.give(places.free().await, one);
        assert!(first.is_some() && second.is_some());
        assert!(places.give(places.free().await, one).is_none());
        let others = places.give(places.free().await, other);
        assert!(others.is_some());
        drop(first);
        assert!(places.give(places.free().await, one).is_some());
        drop((second, others));
        places.all_free().await;
        assert!(lock(&places.taken).is_empty());
    }
}
