use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice_wire::IngestRefusal;

use super::disk;

/// How much may be stored, and how much is.
#[derive(Debug)]
pub struct Room {
    folder: PathBuf,
    per_pod: u64,
    limit: u64,
    trails: usize,
    taken: AtomicU64,
}

/// Room that was taken for a batch; given back unless it is kept.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    /// `per_pod`: at most a quarter of all, so that one pod never fills it.
    pub(super) fn new(folder: PathBuf, per_pod: u64, limit: u64, trails: usize) -> Self {
        Self { folder, per_pod: per_pod.min(limit / 4), limit, trails, taken: AtomicU64::new(0) }
    }

    /// Takes room for `growth` more bytes of a trail that has `bytes` of them.
    pub(super) fn reserve(&self, bytes: u64, growth: u64, epochs: usize) -> Result<Reserved<'_>, IngestRefusal> {
        let full = |message: String| Err(IngestRefusal::Full { message });
        if bytes.saturating_add(growth) > self.per_pod {
            return full(format!(
                "the trail of this pod has {bytes} bytes, of {} that a pod may have; fix: replace the pod, or raise the collector's --bytes-per-pod",
                self.per_pod
            ));
        }
        if epochs > MAX_EPOCHS {
            return full(format!("the trail of this pod has {epochs} epochs; fix: replace the pod"));
        }
        match disk::volume(&self.folder) {
            Ok((_, free)) if free < growth.saturating_add(KEPT_FREE) => {
                return full(format!("the collector's volume has {free} bytes left; fix: give it a larger one"));
            }
            Err(error) => return full(format!("the collector's volume cannot be asked: {error}")),
            Ok(_) => {}
        }
        let taken = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
            taken.checked_add(growth).filter(|taken| *taken <= self.limit)
        });
        match taken {
            Ok(_) => Ok(Reserved { room: self, bytes: growth }),
            Err(taken) => full(format!(
                "the collector holds {taken} bytes, of {} that it may; fix: move old trails away, or raise its --bytes",
                self.limit
            )),
        }
    }

    /// Whether there can be one more trail.
    pub(super) fn one_more(&self, trails: usize) -> Result<(), IngestRefusal> {
        if trails < self.trails {
            return Ok(());
        }
        let message = format!(
            "the collector holds {trails} trails, of {} that it may; fix: move old trails away, or raise its --trails",
            self.trails
        );
        Err(IngestRefusal::Full { message })
    }

    /// A trail was read: it has `after` bytes, not `before`.
    pub(super) fn recount(&self, before: u64, after: u64) {
        self.taken.fetch_add(after, Ordering::AcqRel);
        self.taken.fetch_sub(before, Ordering::AcqRel);
    }

    /// Bytes that are stored.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// Bytes that may be.
    pub fn limit(&self) -> u64 {
        self.limit
    }
}

impl Reserved<'_> {
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Most epochs of a trail: starts of one pod's gateway.
const MAX_EPOCHS: usize = 1000;
/// Bytes of the volume that batches never take: the collector's own trail needs
/// them.
const KEPT_FREE: u64 = 8 << 20;
