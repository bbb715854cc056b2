//! Reads what is to be shipped, and knows what was acknowledged.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::MAX_BATCH;
use crate::format::Named;
use crate::hash::Hash;
use crate::mark::{Freed, Handed};
use crate::scan::{EpochScan, Item, Listing, Mode, Stop, regular_file};

/// A stretch of a segment, as a collector takes it: see
/// [`Piece`](crate::intake::Piece).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Place of the epoch in the trail.
    pub ordinal: u64,
    /// The epoch.
    pub epoch: Uuid,
    /// Number of the segment.
    pub segment: u64,
    /// Where in it the stretch begins.
    pub offset: u64,
    /// Newest record in it, or before it when it has none.
    pub last: u64,
    /// The end of an epoch that nobody can sign any more.
    pub rest: bool,
    /// The bytes: at most [`MAX_BATCH`].
    pub bytes: Arc<[u8]>,
}

/// Why nothing can be shipped. The trail itself may be well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShipError {
    /// The spool cannot be read.
    #[error("trail {file}: {why}; fix: see what `sluice audit verify` says of it")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The collector wants records that it acknowledged, and that were given
    /// back for it.
    #[error(
        "epoch {epoch}: the collector asks for record {expected}, which it acknowledged before and which is not kept here any more; fix: restore the collector's volume"
    )]
    Lost {
        /// The epoch.
        epoch: Uuid,
        /// The record.
        expected: u64,
    },
    /// More than a batch holds stands between two heads.
    #[error("epoch {epoch}: {bytes} bytes without a signed head; fix: restart the gateway")]
    Unsigned {
        /// The epoch.
        epoch: Uuid,
        /// How many.
        bytes: u64,
    },
}

/// What is still to be shipped of a folder.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    own: (u64, Uuid),
    reading: Option<Reading>,
    /// Epochs up to this one are handed over.
    done: Option<(u64, Uuid)>,
    /// Given out, not acknowledged.
    batch: Option<Batch>,
}

/// An epoch that is being handed over.
#[derive(Debug)]
struct Reading {
    name: (u64, Uuid),
    scan: EpochScan,
    /// What was read and not given out.
    piece: Stretch,
    /// The beginning of the segment after it.
    after: Option<Stretch>,
    /// Records up to this one are acknowledged.
    skip: u64,
    /// What is not here any more.
    freed: u64,
    /// Segments that were left behind, oldest first.
    left: Vec<Freed>,
    damaged: bool,
    /// Nothing follows what was read.
    complete: bool,
}

/// Bytes of a segment.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    segment: u64,
    start: u64,
    end: u64,
    /// Newest record in it or before it.
    last: u64,
    /// End of the newest head in it, and the record that it speaks of.
    signed: Option<(u64, u64)>,
}

impl Outbox {
    /// What is to be shipped of `folder`, where `own` is the epoch that is being
    /// written.
    pub(super) fn new(folder: &Path, own: (u64, Uuid)) -> Self {
        Self { folder: folder.to_owned(), own, reading: None, done: None, batch: None }
    }

    /// The next batch; the same again until it is acknowledged. `None`: there
    /// is nothing that can be shipped yet.
    ///
    /// # Errors
    /// Why not. It can be tried again.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, ShipError> {
        loop {
            if let Some(batch) = &self.batch {
                return Ok(Some(batch.clone()));
            }
            let listing = Listing::read(&self.folder).map_err(|error| unreadable(&self.folder, &error))?;
            let Some(reading) = &mut self.reading else {
                let Some(reading) = self.open(&listing) else { return Ok(None) };
                self.reading = Some(reading);
                continue;
            };
            if let Some(files) = listing.epochs.get(&reading.name) {
                reading.scan.refresh(files.clone());
            }
            let own = reading.name == self.own;
            match reading.read(own)? {
                Some((stretch, end, last, rest)) => {
                    self.batch = Some(batch(&self.folder, reading.name, stretch, end, last, rest)?);
                }
                // The end of an older epoch is told by `acknowledged`.
                None => return Ok(None),
            }
        }
    }

    /// Takes note that the collector has all up to `sequence` of the epoch of
    /// the batch that was given out last. Says what can be given back.
    pub(crate) fn acknowledged(&mut self, sequence: u64) -> Option<Handed> {
        let batch = self.batch.take()?;
        let reading = self.reading.as_mut()?;
        if sequence < batch.last {
            // The collector has less than it was sent: it is sent again.
            self.batch = Some(batch);
            return None;
        }
        // Nor is it believed to have more: what is left is sent, and what of it
        // was stored before is acknowledged again.
        let sequence = batch.last;
        let freed = reading.left.iter().rfind(|freed| freed.sequence <= sequence).copied();
        reading.left.retain(|known| freed.is_none_or(|freed| known.segments > freed.segments));
        let (ordinal, epoch) = reading.name;
        Some(Handed { ordinal, epoch, acknowledged: sequence, freed, open: Vec::new(), gone: false })
    }

    /// An older epoch that is wholly acknowledged, once.
    pub(crate) fn finished(&mut self) -> Option<Handed> {
        let reading = self.reading.as_ref()?;
        if self.batch.is_some() || !reading.complete || reading.piece.end > reading.piece.start {
            return None;
        }
        let (ordinal, epoch) = reading.name;
        let (segments, sequence, hash) = (reading.scan.end.0, reading.scan.sequence, reading.scan.hash);
        let is_own = reading.name == self.own;
        let gone = !is_own && !reading.damaged && sequence > 0;
        let handed = Handed {
            ordinal,
            epoch,
            acknowledged: sequence,
            freed: gone.then_some(Freed { segments, sequence, hash }),
            open: Vec::new(),
            gone,
        };
        self.done = Some(reading.name);
        self.reading = None;
        (!is_own).then_some(handed)
    }

    /// Whether the epoch that is being written has ended and is handed over.
    pub(crate) fn is_done(&self) -> bool {
        self.done == Some(self.own)
    }

    /// Whether the next epoch can be looked at at once.
    pub(crate) fn is_reading_another(&self) -> bool {
        self.reading.is_none() && self.done.is_some_and(|done| done < self.own)
    }

    /// The collector's next record is `expected`: goes back, or on, to it.
    pub(crate) fn seek(&mut self, expected: u64) -> Result<(), ShipError> {
        self.batch = None;
        let Some(reading) = self.reading.take() else { return Ok(()) };
        if expected <= reading.freed {
            let epoch = reading.name.1;
            self.reading = Some(reading);
            return Err(ShipError::Lost { epoch, expected });
        }
        let listing = Listing::read(&self.folder).map_err(|error| unreadable(&self.folder, &error))?;
        self.reading = Reading::new(&listing, reading.name, Some(expected.saturating_sub(1)));
        Ok(())
    }

    fn open(&self, listing: &Listing) -> Option<Reading> {
        let name = listing
            .epochs
            .iter()
            .filter(|(_, files)| !files.segments.is_empty())
            .map(|(name, _)| *name)
            .find(|name| self.done.is_none_or(|done| *name > done) && *name <= self.own)?;
        Reading::new(listing, name, None)
    }
}

impl Reading {
    fn new(listing: &Listing, name: (u64, Uuid), skip: Option<u64>) -> Option<Self> {
        let files = listing.epochs.get(&name)?;
        let freed = files.freed.map_or(0, |freed| freed.sequence);
        let known = listing.mark.of(name.0, name.1).map_or(0, |handed| handed.acknowledged);
        Some(Self {
            name,
            scan: EpochScan::new(name.0, name.1, files.clone(), Mode::Live),
            piece: Stretch { last: freed, ..Stretch::default() },
            after: None,
            skip: skip.unwrap_or(known).max(freed),
            freed,
            left: Vec::new(),
            damaged: false,
            complete: false,
        })
    }

    /// The next stretch that can be given out: it, its end, its last record,
    /// and whether it is the unsigned rest of an epoch.
    #[allow(clippy::type_complexity, reason = "used in one place")]
    fn read(&mut self, own: bool) -> Result<Option<(Stretch, u64, u64, bool)>, ShipError> {
        loop {
            if let Some(after) = self.after.take() {
                if self.piece.end > self.piece.start {
                    self.after = Some(after);
                    return Ok(Some(self.cut_all()));
                }
                self.piece = after;
            }
            let bytes = self.piece.end - self.piece.start;
            match self.piece.signed {
                Some((end, last)) if end - self.piece.start >= ENOUGH => return Ok(Some(self.cut(end, last))),
                // An epoch that was written before there was a collector.
                None if !own && bytes >= ENOUGH => return Ok(Some(self.cut_all())),
                _ if bytes > MAX_BATCH as u64 => {
                    return Err(ShipError::Unsigned { epoch: self.name.1, bytes });
                }
                _ => {}
            }
            if !self.step(own)? {
                break;
            }
        }
        if let Some((end, last)) = self.piece.signed {
            return Ok(Some(self.cut(end, last)));
        }
        self.complete = !own || self.scan.ended;
        if self.complete && self.piece.end > self.piece.start {
            return Ok(Some(self.cut_all()));
        }
        Ok(None)
    }

    fn cut_all(&mut self) -> (Stretch, u64, u64, bool) {
        let (piece, signed) = (self.piece, self.piece.signed.map(|(end, _)| end));
        self.piece.start = piece.end;
        self.piece.signed = None;
        (piece, piece.end, piece.last, signed != Some(piece.end))
    }

    fn cut(&mut self, end: u64, last: u64) -> (Stretch, u64, u64, bool) {
        let piece = self.piece;
        self.piece.start = end;
        self.piece.signed = None;
        (piece, end, last, false)
    }

    /// Reads one frame; `false` at the end of what is there.
    fn step(&mut self, own: bool) -> Result<bool, ShipError> {
        let before = (self.scan.sequence, self.scan.hash);
        let (at, is_head) = match self.scan.next() {
            Ok(None) => return Ok(false),
            Ok(Some(Item::Leaf { at, .. })) => (at, false),
            Ok(Some(Item::Head { at, .. })) => (at, true),
            Err(Stop::Unreadable(path, error)) => return Err(unreadable(&path, &error)),
            // A later epoch has said so in a gap; what is behind is no record.
            Err(Stop::Damage(_)) if !own => {
                self.damaged = true;
                return Ok(false);
            }
            Err(Stop::Damage(damage)) => {
                return Err(ShipError::Unreadable { file: damage.at.path, why: damage.why });
            }
        };
        let end = self.scan.end.1;
        let sequence = self.scan.sequence;
        // Heads after the last acknowledged leaf are sent again: they may not
        // have been taken with it.
        let skipped = if is_head { sequence < self.skip } else { sequence <= self.skip };
        let begins = at.segment != self.piece.segment;
        if begins && self.piece.segment > 0 {
            self.left.push(freed(self.piece.segment, before.0, before.1));
        }
        let mut stretch = if begins {
            Stretch { segment: at.segment, start: 0, end: 0, last: before.0, signed: None }
        } else {
            self.piece
        };
        (stretch.end, stretch.last) = (end, sequence);
        if skipped {
            (stretch.start, stretch.signed) = (end, None);
        } else if is_head {
            stretch.signed = Some((end, sequence));
        }
        if begins && self.piece.end > self.piece.start {
            self.after = Some(stretch);
        } else {
            self.piece = stretch;
        }
        Ok(true)
    }
}

fn freed(segments: u64, sequence: u64, hash: Hash) -> Freed {
    Freed { segments, sequence, hash }
}

/// Reads the bytes of a batch, and sees to it that they are on the disk: the
/// collector must never know more of a trail than its folder after a crash.
fn batch(
    folder: &Path,
    (ordinal, epoch): (u64, Uuid),
    stretch: Stretch,
    end: u64,
    last: u64,
    rest: bool,
) -> Result<Batch, ShipError> {
    let named = Named::Segment { ordinal, epoch, number: stretch.segment };
    let path = folder.join(named.name().unwrap_or_default());
    let len = usize::try_from(end - stretch.start).unwrap_or(usize::MAX);
    if len > MAX_BATCH {
        return Err(ShipError::Unsigned { epoch, bytes: end - stretch.start });
    }
    let mut bytes = vec![0; len];
    let mut read = || -> io::Result<()> {
        let file = regular_file(&path)?;
        rustix::fs::fdatasync(&file)?;
        file.read_exact_at(&mut bytes, stretch.start)
    };
    read().map_err(|error| unreadable(&path, &error))?;
    Ok(Batch { ordinal, epoch, segment: stretch.segment, offset: stretch.start, last, rest, bytes: bytes.into() })
}

fn unreadable(file: &Path, error: &io::Error) -> ShipError {
    ShipError::Unreadable { file: file.to_owned(), why: error.to_string() }
}

/// Bytes of a batch from which on it is not made larger. What follows up to the
/// next head is less than what is left.
const ENOUGH: u64 = 256 * 1024;
