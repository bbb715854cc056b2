//! What gives a record its place and writes it: one at a time, the task that has
//! the record where nobody else is writing, else a thread of its own for all that
//! waits together.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_core::Clock;
use tokio::sync::{mpsc, oneshot};

use crate::commitment::SALT;
use crate::error::TrailError;
use crate::failpoint;
use crate::format::{FrameKind, encode_frame, frame_len};
use crate::hash::Hash;
use crate::head::Head;
use crate::key::SigningKey;
use crate::leaf::{self, Of, Place};
use crate::mark::{Handed, Mark};
use crate::record::{ENVELOPE, Kind, OUTCOME_LEAF, Prepared, Record, RecordId};
use crate::spool::Spool;
use crate::sync::{self, SyncJob};
use crate::trail::{Durability, Receipt, Shared, unknown_outcome};

mod message;

pub(crate) use message::{Acknowledgement, Append, Message, Room};

/// Gives places, frames, hashes, signs.
#[derive(Debug)]
pub(crate) struct Writer {
    spool: Spool,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    heads_every: u64,
    /// Of the newest leaf, also those still in `buffer`.
    sequence: u64,
    prev: Hash,
    since_head: u64,
    /// The same in bytes of frames.
    bytes_since_head: u64,
    /// Newest leaf that a head speaks of.
    signed: u64,
    /// Whether the trail is shipped: then a head ends every segment, and is
    /// never further away than a batch is long.
    shipped: bool,
    mark: Mark,
    /// Intents without an outcome; each has `RESERVE` bytes of the segment.
    open: BTreeMap<u64, RecordId>,
    /// Whole frames that are not yet written, and who waits for them.
    buffer: Vec<u8>,
    waiting: Vec<(Acknowledgement, Durability)>,
    scratch: Vec<u8>,
    blocked: Option<Blocked>,
    sync: Option<(Sender<SyncJob>, JoinHandle<()>)>,
    /// Holds the lock of the folder.
    lock: Arc<File>,
}

/// No new segment can be made.
#[derive(Debug)]
struct Blocked {
    error: TrailError,
    /// Monotonic time from which it is tried again.
    retry: Duration,
    /// Records that were not taken.
    refused: u64,
}

/// What a writer is made of.
#[derive(Debug)]
pub(crate) struct WriterParts {
    pub(crate) spool: Spool,
    pub(crate) key: SigningKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) heads_every: u64,
    pub(crate) shipped: bool,
    pub(crate) mark: Mark,
    pub(crate) lock: Arc<File>,
}

impl Writer {
    /// A writer of an epoch that has no leaf yet, with its first segment.
    pub(crate) fn new(parts: WriterParts) -> Result<Self, TrailError> {
        let mut writer = Self {
            spool: parts.spool,
            key: parts.key,
            clock: parts.clock,
            shared: parts.shared,
            heads_every: parts.heads_every,
            sequence: 0,
            prev: Hash::ZERO,
            since_head: 0,
            bytes_since_head: 0,
            signed: 0,
            shipped: parts.shipped,
            mark: parts.mark,
            open: BTreeMap::new(),
            buffer: Vec::new(),
            waiting: Vec::new(),
            scratch: Vec::new(),
            blocked: None,
            sync: None,
            lock: parts.lock,
        };
        writer.spool.rotate(1, Hash::ZERO)?;
        Ok(writer)
    }

    /// Writes a record of the trail itself, at once.
    pub(crate) fn write(&mut self, record: Record) -> Result<(), TrailError> {
        let record = record.prepare();
        self.admit(&record, Room::General)?;
        self.push(&record, Room::General, Durability::Process, None);
        self.flush();
        self.shared.failure().map_or(Ok(()), Err)
    }

    /// Signs the newest leaf, and waits until all is on the disk.
    pub(crate) fn seal(&mut self) -> Result<(), TrailError> {
        self.head();
        if let Some(error) = self.shared.failure() {
            return Err(error);
        }
        let Some(file) = self.spool.file() else { return Ok(()) };
        rustix::fs::fdatasync(&*file).map_err(|error| {
            let error = TrailError::failed(&self.shared.folder, "syncing the segment", &error.into());
            self.shared.fail(&error);
            error
        })
    }

    /// Writes a record in the caller's thread, where that cannot take long. Else
    /// gives it back.
    fn write_at_once(&mut self, append: Append) -> Option<Append> {
        if self.shared.failure().is_some() || !self.has_room(&append.record, append.room) {
            return Some(append);
        }
        self.take(append);
        self.say_unknown();
        self.flush();
        None
    }

    /// Takes what waits, as long as it does, and writes it in one go. Gives back
    /// who is to be told of the end, if the end was asked for.
    fn batch(&mut self, first: Message, receiver: &mut mpsc::Receiver<Message>) -> Option<EndAnswer> {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(message) = next.take() {
            match message {
                Message::Append(append) => self.take(*append),
                Message::Wake => {}
                Message::Sign(answer) => {
                    self.sign();
                    let _ = answer.send(self.signed);
                }
                Message::HandedOver(handed) => self.handed_over(*handed),
                Message::End(answer) => return Some(answer),
            }
            taken += 1;
            if taken < BATCH {
                next = receiver.try_recv().ok();
            }
        }
        self.say_unknown();
        self.flush();
        None
    }

    fn take(&mut self, append: Append) {
        let Append { record, durability, room, acknowledgement } = append;
        match self.admit(&record, room) {
            Ok(()) => self.push(&record, room, durability, Some(acknowledgement)),
            Err(error) => acknowledgement.give(&Err(error)),
        }
    }

    /// Whether there is room; makes some by a new segment.
    fn admit(&mut self, record: &Prepared, room: Room) -> Result<(), TrailError> {
        if let Some(error) = self.shared.failure() {
            return Err(error);
        }
        let need = self.need(record, room);
        if need <= self.free() {
            return Ok(());
        }
        if need > self.spool.empty_room() {
            return Err(TrailError::Full {
                folder: self.shared.folder.clone(),
                cause: format!("{} commands are open at once, each with room for its outcome", self.open.len()),
                fix: "raise the size of a segment, or open fewer commands at a time".into(),
            });
        }
        self.rotate()
    }

    fn has_room(&self, record: &Prepared, room: Room) -> bool {
        self.need(record, room) <= self.free()
    }

    /// Room that there must be for a record, with what is kept for others.
    fn need(&self, record: &Prepared, room: Room) -> u64 {
        let need = frame_len(ENVELOPE + record.body.len(), SALT) + HEAD;
        let reserved = self.open.len() as u64 * RESERVE;
        match room {
            // An outcome is never larger than what was reserved for it.
            Room::Reserved(sequence) if self.open.contains_key(&sequence) => 0,
            Room::Reserved(_) | Room::General => need + reserved + END,
            Room::Reserving => need + reserved + END + RESERVE,
        }
    }

    /// Room of the current segment that nothing was written to.
    fn free(&self) -> u64 {
        self.spool.room().saturating_sub(self.buffer.len() as u64)
    }

    fn rotate(&mut self) -> Result<(), TrailError> {
        let now = self.clock.monotonic();
        if let Some(blocked) = self.blocked.as_mut().filter(|blocked| now < blocked.retry) {
            blocked.refused += 1;
            return Err(blocked.error.clone());
        }
        if self.shipped && self.since_head > 0 {
            // Its room is part of `END`, or was reserved with an outcome.
            self.head();
        }
        self.flush();
        if let Some(error) = self.shared.failure() {
            return Err(error);
        }
        let rotated = self.spool.rotate(self.sequence + 1, self.prev);
        self.shared.bytes.store(self.spool.bytes(), Ordering::Relaxed);
        match rotated {
            Ok(()) => {
                if let Some(blocked) = self.blocked.take() {
                    self.shared.set_full(None);
                    self.say_resumed(&blocked);
                }
                Ok(())
            }
            Err(error) => Err(self.block(error, now)),
        }
    }

    fn block(&mut self, error: TrailError, now: Duration) -> TrailError {
        let error = self.spool.is_there().err().unwrap_or(error);
        if !error.is_temporary() {
            self.shared.fail(&error);
            return error;
        }
        let refused = self.blocked.as_ref().map_or(0, |blocked| blocked.refused) + 1;
        let is_new = self.blocked.is_none();
        self.blocked = Some(Blocked { error: error.clone(), retry: now + RETRY, refused });
        self.shared.set_full(Some(error.clone()));
        if is_new {
            let reason = crate::body::Reason {
                code: "AuditFull".into(),
                message: error.to_string(),
                fix: "nothing is recorded or forwarded until there is room".into(),
            };
            let marker = Record::new(Kind::Refused).with("reason", reason).prepare();
            // Its room is part of `END`.
            self.push(&marker, Room::General, Durability::Process, None);
            if self.shipped {
                self.head();
            }
            self.flush();
        }
        error
    }

    fn say_resumed(&mut self, blocked: &Blocked) {
        let reason = crate::body::Reason {
            code: "AuditFull".into(),
            message: format!("{} records were not taken meanwhile; there is room again", blocked.refused),
            fix: String::new(),
        };
        let record = Record::new(Kind::Refused).with("reason", reason).with("count", blocked.refused).prepare();
        self.push(&record, Room::General, Durability::Process, None);
    }

    /// Gives the next place to a record for which there is room.
    fn push(&mut self, record: &Prepared, room: Room, durability: Durability, waits: Option<Acknowledgement>) {
        let place = Place {
            at: self.clock.now(),
            epoch: self.shared.epoch,
            mono: u64::try_from(self.clock.monotonic().as_micros()).unwrap_or(u64::MAX),
            prev: self.prev,
            sequence: self.sequence + 1,
        };
        self.scratch.clear();
        leaf::encode(record, &place, &mut self.scratch);
        let beside = record.response.as_ref().map_or(&[][..], |response| &response.salt);
        let mut waits = waits.unwrap_or_else(Acknowledgement::nobody);
        self.bytes_since_head += frame_len(self.scratch.len(), beside.len());
        if encode_frame(FrameKind::Leaf, &self.scratch, beside, &mut self.buffer).is_none() {
            // Not met: a body is cut so that its leaf fits.
            waits.give(&Err(TrailError::Option {
                option: "record",
                value: format!("{} bytes", self.scratch.len()),
                cause: "too long for a leaf".into(),
                fix: "record less".into(),
            }));
            return;
        }
        self.prev = Hash::of_leaf(&self.scratch);
        self.sequence = place.sequence;
        match room {
            Room::Reserving => drop(self.open.insert(self.sequence, record.id)),
            Room::Reserved(intent) => drop(self.open.remove(&intent)),
            Room::General => {}
        }
        waits.placed(Receipt { id: record.id, sequence: self.sequence, leaf_hash: self.prev.0 });
        self.waiting.push((waits, durability));
        self.since_head += 1;
        if self.since_head >= self.heads_every || (self.shipped && self.bytes_since_head >= SIGN_BYTES) {
            self.head();
        } else if self.buffer.len() >= FLUSH {
            self.flush();
        }
    }

    /// Signs the newest leaf.
    fn head(&mut self) {
        self.flush();
        if self.shared.failure().is_some() {
            return;
        }
        failpoint::hit("before_head");
        let head = Head { epoch: self.shared.epoch, sequence: self.sequence, hash: self.prev, at: self.clock.now() };
        let _ = encode_frame(FrameKind::Head, &head.sign(&self.key), &[], &mut self.buffer);
        self.flush();
        (self.since_head, self.bytes_since_head) = (0, 0);
        self.signed = self.sequence;
        failpoint::hit("after_head");
    }

    /// Signs the newest leaf because somebody wants to ship it.
    fn sign(&mut self) {
        self.say_unknown();
        self.flush();
        let kept = self.open.len() as u64 * RESERVE + END / 2 + HEAD;
        if self.since_head > 0 && self.free() >= kept {
            self.head();
        }
    }

    /// Notes what a collector has, and gives whole segments back. When the note
    /// cannot be written, nothing is given back, and it is tried with the next
    /// one.
    fn handed_over(&mut self, mut handed: Handed) {
        self.flush();
        if self.shared.failure().is_some() {
            return;
        }
        let own = handed.epoch == self.shared.epoch;
        if own {
            handed.gone = false;
            let newest = self.spool.number().saturating_sub(1);
            handed.freed = handed.freed.filter(|freed| freed.segments > 0 && freed.segments <= newest);
            let freed = handed.freed.map_or(0, |freed| freed.sequence);
            handed.open = self.open.range(..=freed).map(|(sequence, id)| (*sequence, *id)).collect();
        }
        let (ordinal, epoch) = (handed.ordinal, handed.epoch);
        let before = self.mark.of(ordinal, epoch).and_then(|known| known.freed).map_or(0, |freed| freed.segments);
        let freed = handed.freed.map_or(before, |freed| freed.segments);
        let is_gone = handed.gone;
        let mut mark = self.mark.clone();
        mark.take(handed);
        let frees = freed > before || is_gone;
        if mark.write(&self.shared.folder, &self.lock, frees).is_err() {
            return;
        }
        self.mark = mark;
        if !frees {
            return;
        }
        failpoint::hit("free.after_mark");
        self.spool.free(ordinal, epoch, before + 1..=freed, is_gone);
        self.shared.bytes.store(self.spool.bytes(), Ordering::Relaxed);
        if let Some(blocked) = &mut self.blocked {
            blocked.retry = Duration::ZERO;
        }
    }

    /// Writes what is in the buffer, and acknowledges what that is enough for.
    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let written = match self.shared.failure() {
            Some(error) => Err(error),
            None => self.spool.write(&self.buffer),
        };
        self.buffer.clear();
        self.buffer.shrink_to(FLUSH);
        if let Err(error) = &written {
            self.shared.fail(error);
        }
        self.shared.records.store(self.sequence, Ordering::Relaxed);
        self.shared.bytes.store(self.spool.bytes(), Ordering::Relaxed);
        self.shared.open.store(self.open.len() as u64, Ordering::Relaxed);
        self.shared.written.notify_one();
        let mut to_sync = Vec::new();
        for (waits, durability) in self.waiting.drain(..) {
            match (durability, &written) {
                (Durability::Disk, Ok(())) => to_sync.push(waits),
                _ => waits.give(&written),
            }
        }
        if to_sync.is_empty() {
            return;
        }
        // When either is missing the answers are dropped: whoever waits gets
        // the failure of the trail.
        if let (Some((sender, _)), Some(file)) = (&self.sync, self.spool.file()) {
            let _ = sender.send(SyncJob { file, acknowledgements: to_sync });
        }
    }

    /// The outcome of intents that were dropped.
    fn say_unknown(&mut self) {
        for sequence in self.shared.take_dropped() {
            self.say_unknown_of(sequence, "the gateway dropped the command before its outcome was known");
        }
    }

    fn say_unknown_of(&mut self, sequence: u64, why: &str) {
        let Some(id) = self.open.get(&sequence).copied() else { return };
        if self.shared.failure().is_some() {
            return;
        }
        let of = Of { epoch: self.shared.epoch, id, sequence };
        let record = unknown_outcome(of, why).prepare();
        self.push(&record, Room::Reserved(sequence), Durability::Process, None);
    }

    fn end(&mut self) -> Result<(), TrailError> {
        self.say_unknown();
        let open: Vec<u64> = self.open.keys().copied().collect();
        for sequence in open {
            self.say_unknown_of(sequence, "the trail ended before its outcome was known");
        }
        self.flush();
        failpoint::hit("end.before_leaf");
        if let Some(error) = self.shared.failure() {
            return Err(error);
        }
        let end = Record::new(Kind::End).with("records", self.sequence + 1).prepare();
        // Its room, and that of the last head, is part of `END`.
        self.push(&end, Room::General, Durability::Process, None);
        self.flush();
        failpoint::hit("end.after_leaf");
        self.head();
        self.stop_sync();
        if let Some(error) = self.shared.failure() {
            return Err(error);
        }
        self.spool.close()?;
        failpoint::hit("end.after_trim");
        Ok(())
    }

    /// Waits until all that was handed over is synced.
    fn stop_sync(&mut self) {
        if let Some((sender, thread)) = self.sync.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// The writer, until the trail ends. Who holds it writes.
#[derive(Debug, Clone)]
pub(crate) struct Seat(Arc<Mutex<Option<Writer>>>);

type EndAnswer = oneshot::Sender<Result<(), TrailError>>;

impl Seat {
    /// Writes a record here and now if nobody else is writing and it needs no new
    /// segment: it is then on its way to whoever waits for it. Else gives it back,
    /// to be sent to the thread.
    pub(crate) fn write_at_once(&self, append: Append) -> Option<Append> {
        match self.0.try_lock() {
            Ok(mut writer) => match writer.as_mut() {
                Some(writer) => writer.write_at_once(append),
                None => Some(append),
            },
            Err(_) => Some(append),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Writer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut receiver: mpsc::Receiver<Message>) {
        while let Some(first) = receiver.blocking_recv() {
            let mut held = self.held();
            let Some(writer) = held.as_mut() else { return };
            if let Some(answer) = writer.batch(first, &mut receiver) {
                let result = writer.end();
                receiver.close();
                // Free the lock before anybody is told of the end.
                drop(held.take());
                drop(held);
                let _ = answer.send(result);
                return;
            }
        }
        // All handles are gone, so all tokens too.
        if let Some(mut writer) = self.held().take() {
            writer.say_unknown();
            writer.flush();
            writer.stop_sync();
        }
    }
}

/// Starts the threads of a trail.
pub(crate) fn spawn(mut writer: Writer, receiver: mpsc::Receiver<Message>) -> std::io::Result<(Seat, JoinHandle<()>)> {
    writer.sync = Some(sync::spawn(writer.shared.clone())?);
    let seat = Seat(Arc::new(Mutex::new(Some(writer))));
    let own = seat.clone();
    let thread = std::thread::Builder::new().name("trail-writer".into()).spawn(move || {
        mark_own_thread();
        own.run(receiver);
    })?;
    Ok((seat, thread))
}

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Says that this is a thread of a trail.
pub(crate) fn mark_own_thread() {
    OWN.set(true);
}

/// Whether this is a thread of a trail, which must not wait for one.
pub(crate) fn is_own_thread() -> bool {
    OWN.get()
}

/// Most bytes that a head takes.
const HEAD: u64 = 512;
/// What an intent reserves: the frame of an outcome, and a head after it.
const RESERVE: u64 = OUTCOME_LEAF as u64 + 8 + SALT as u64 + HEAD;
/// What is never given to records: room for "audit is full", `end` and heads.
const END: u64 = 16 * 1024;
/// Smallest segment that takes any one leaf.
pub(crate) const SMALLEST_SEGMENT: u64 = 256 * 1024;
/// Records taken before they are written, at most.
const BATCH: usize = 1_024;
/// Bytes of frames after which a trail that is shipped is signed. With the
/// largest leaf behind it this is less than a batch.
const SIGN_BYTES: u64 = 512 * 1024;
/// Bytes in the buffer from which they are written.
const FLUSH: usize = 512 * 1024;
/// How long a full disk is left alone.
const RETRY: Duration = Duration::from_secs(1);
