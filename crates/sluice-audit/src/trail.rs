use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_core::{Clock, Workload};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use uuid::Uuid;

use crate::error::TrailError;
use crate::key::PublicKey;
use crate::leaf::Of;
use crate::mark::Handed;
use crate::record::{Kind, Record, RecordId};
use crate::recovery::{self, Recovery};
use crate::writer::{self, Acknowledgement, Append, Message, Room, SMALLEST_SEGMENT, Seat};

/// A trail that is open for writing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trail {
    inner: Arc<Inner>,
}

/// How a trail is written.
#[derive(Debug, Clone)]
pub struct TrailOptions {
    /// Whose traffic it is about; stands in the first leaf.
    pub workload: Workload,
    /// Which gateway writes it: a name for people.
    pub instance: String,
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// Bytes of a segment, 256 KiB to 1 GiB. Taken from the file system at
    /// once. Limits how many commands can be open at a time: each reserves
    /// about 4.5 KiB of it.
    pub segment_bytes: u64,
    /// Bytes that all segments of the folder may take together.
    pub capacity_bytes: u64,
    /// After how many leaves the newest is signed, 1 to 1,000,000.
    pub heads_every: u64,
    /// Whether the trail is shipped to a collector, and how long a record with
    /// [`Durability::Collector`] waits to be acknowledged by it.
    pub collector_wait: Option<Duration>,
    /// Where the public half of the epoch's key goes besides the trail's own
    /// folder: a place that who can write the trail cannot write. `verify`
    /// takes this folder as its keys.
    pub key_folder: Option<PathBuf>,
}

impl TrailOptions {
    /// Segments of 16 MiB, 1 GiB in all, a signature every 1,000 leaves.
    pub fn new(workload: Workload, instance: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            workload,
            instance: instance.into(),
            clock,
            segment_bytes: 16 << 20,
            capacity_bytes: 1 << 30,
            heads_every: 1_000,
            collector_wait: None,
            key_folder: None,
        }
    }

    /// All segments take at most so many bytes: where that is little, each is
    /// smaller, so that the space of those that were shipped is free again.
    #[must_use]
    pub fn within(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self.segment_bytes = self.segment_bytes.min(bytes / 8).max(SMALLEST_SEGMENT);
        self
    }
}

/// What must have happened to a record before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Durability {
    /// The kernel has it: it survives `kill -9` of every process.
    Process,
    /// The disk has it: it survives a crash of the node.
    Disk,
    /// The collector has it on its disk: it survives the loss of the node.
    Collector,
}

/// A record that is in the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its name.
    pub id: RecordId,
    /// Its place in the epoch.
    pub sequence: u64,
    /// Its hash: `SHA-256(0x00 || leaf)`.
    pub leaf_hash: [u8; 32],
}

/// How the trail is doing.
#[derive(Debug, Clone)]
pub struct TrailStatus {
    /// No room for more records, or no new segment can be made; goes away by
    /// itself.
    pub full: Option<TrailError>,
    /// No record is taken until the trail is opened again.
    pub failed: Option<TrailError>,
    /// Leaves written by this process.
    pub records: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Intents without an outcome at this moment.
    pub open_intents: u64,
    /// Intents that were dropped without an outcome, since the start.
    pub abandoned: u64,
}

impl Trail {
    /// Opens the folder for writing, alone; makes it where it is missing.
    ///
    /// Begins a new epoch. What the epochs before left open is said first: an
    /// outcome `unknown` for each intent without one, a gap for what is
    /// damaged. Nothing that is there is changed.
    ///
    /// # Errors
    /// [`TrailError`] with the folder, the cause and the fix.
    pub fn open(folder: &Path, options: TrailOptions) -> Result<(Self, Recovery), TrailError> {
        let opened = recovery::open(folder, options)?;
        let shared = opened.shared.clone();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (seat, thread) = writer::spawn(opened.writer, receiver)
            .map_err(|error| TrailError::folder(folder, "starting the writer", &error))?;
        let inner = Inner { sender: Some(sender), seat, shared, thread: Mutex::new(Some(thread)) };
        Ok((Self { inner: Arc::new(inner) }, opened.recovery))
    }

    /// Writes a record. What one caller waited for stands before what it writes
    /// next; of what is written at the same time any may be first.
    ///
    /// For a command that is forwarded use [`Trail::intent`]: intents and
    /// outcomes are refused here.
    ///
    /// # Errors
    /// The record is not in the trail, or it is not known whether it is.
    pub async fn append(&self, record: Record, durability: Durability) -> Result<Receipt, TrailError> {
        if let Kind::Intent | Kind::Outcome | Kind::Enrol | Kind::Gap | Kind::Recovered | Kind::End = record.kind() {
            return Err(TrailError::Option {
                option: "record",
                value: record.kind().to_string(),
                cause: "a kind that cannot be appended by itself".into(),
                fix: "use Trail::intent and Intent::outcome; the others are written by the trail".into(),
            });
        }
        self.inner.append(record, durability, Room::General).await
    }

    /// Whether the trail is shipped, so that [`Durability::Collector`] can be
    /// asked for.
    pub fn is_shipped(&self) -> bool {
        self.inner.shared.wait.is_some()
    }

    /// Writes an intent, and keeps room for its outcome: whatever happens to
    /// the disk meanwhile, the outcome can be written.
    ///
    /// # Errors
    /// The command must not be forwarded.
    ///
    /// With [`Durability::Collector`] an intent that is not acknowledged in time
    /// gets the outcome `abandoned`.
    pub async fn intent(&self, record: Record, durability: Durability) -> Result<Intent, TrailError> {
        self.inner.shared.can(durability)?;
        let of = Of { epoch: self.inner.shared.epoch, id: record.id(), sequence: 0 };
        let token = Intent {
            inner: self.inner.clone(),
            receipt: Receipt { id: of.id, sequence: 0, leaf_hash: [0; 32] },
            armed: false,
        };
        let (answer, answered) = oneshot::channel();
        let acknowledgement = Acknowledgement::intent(answer, token);
        self.inner.send(record, durability, Room::Reserving, acknowledgement).await?;
        let intent = answered.await.map_err(|_| self.inner.gone())??;
        match self.inner.shared.shipped(intent.receipt.sequence, durability).await {
            Ok(()) => Ok(intent),
            Err(error) => {
                let record = Record::new(Kind::Outcome)
                    .with("outcome", "abandoned")
                    .with("error", format!("not forwarded: {error}"));
                intent.outcome(record, Durability::Process).await?;
                Err(error)
            }
        }
    }

    /// How it is doing.
    pub fn status(&self) -> TrailStatus {
        self.inner.shared.status()
    }

    /// The folder it lies in.
    pub fn folder(&self) -> &Path {
        &self.inner.shared.folder
    }

    /// What the trail's parts share, for the shipper.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Signs the newest leaf if it is not signed yet; says which leaf the
    /// newest head speaks of. `None`: the trail has ended.
    pub(crate) async fn sign(&self) -> Option<u64> {
        let (answer, answered) = oneshot::channel();
        self.inner.sender.as_ref()?.send(Message::Sign(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Says what a collector has. Lost when the trail has ended: it is then
    /// asked again after the next start.
    pub(crate) async fn hand_over(&self, handed: Handed) {
        if let Some(sender) = &self.inner.sender {
            let _ = sender.send(Message::HandedOver(Box::new(handed))).await;
        }
    }

    /// The epoch of this process.
    pub fn epoch(&self) -> Uuid {
        self.inner.shared.epoch
    }

    /// The public half of the epoch's key.
    pub fn public_key(&self) -> PublicKey {
        self.inner.shared.key
    }

    /// Ends the epoch: writes what is queued, an outcome `unknown` for each
    /// intent that is still open, the `end` leaf and the last head. Other
    /// handles write nothing any more.
    ///
    /// # Errors
    /// The end is not in the trail.
    pub async fn end(self) -> Result<(), TrailError> {
        let (answer, answered) = oneshot::channel();
        let sender = self.inner.sender.as_ref().ok_or_else(|| self.inner.gone())?;
        sender.send(Message::End(answer)).await.map_err(|_| self.inner.gone())?;
        answered.await.map_err(|_| self.inner.gone())?
    }
}

/// An intent that is in the trail and waits for its outcome. Dropped without
/// one, it gets the outcome `unknown`, and is counted.
#[derive(Debug)]
pub struct Intent {
    inner: Arc<Inner>,
    receipt: Receipt,
    /// Whether it is in the trail and has no outcome.
    armed: bool,
}

impl Intent {
    /// The intent's place in the trail.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// Names the intent, for records that belong to it.
    pub fn of(&self) -> Of {
        Of { epoch: self.inner.shared.epoch, id: self.receipt.id, sequence: self.receipt.sequence }
    }

    /// Writes how far a stream has come.
    ///
    /// # Errors
    /// As [`Trail::append`]; the outcome can still be written.
    pub async fn progress(&self, record: Record, durability: Durability) -> Result<Receipt, TrailError> {
        self.inner.append(record.of(self.of()), durability, Room::General).await
    }

    /// Writes the outcome, into the room that was kept for it.
    ///
    /// # Errors
    /// The outcome is not in the trail, or it is not known whether it is.
    pub async fn outcome(mut self, record: Record, durability: Durability) -> Result<Receipt, TrailError> {
        let inner = self.inner.clone();
        inner.shared.can(durability)?;
        let (answer, answered) = oneshot::channel();
        let append = Append {
            record: record.of(self.of()).prepare(),
            durability,
            room: Room::Reserved(self.receipt.sequence),
            acknowledgement: Acknowledgement::receipt(answer),
        };
        if let Some(append) = inner.seat.write_at_once(append) {
            let sender = inner.sender.as_ref().ok_or_else(|| inner.gone())?;
            // Dropped while it waits for a place in the queue, it is still armed.
            let place = sender.reserve().await.map_err(|_| inner.gone())?;
            self.armed = false;
            place.send(Message::Append(Box::new(append)));
        }
        self.armed = false;
        let receipt = answered.await.map_err(|_| inner.gone())??;
        inner.shared.shipped(receipt.sequence, durability).await?;
        Ok(receipt)
    }

    /// Called by the writer, once the intent is in the trail.
    pub(crate) fn arm(&mut self, receipt: Receipt) {
        self.receipt = receipt;
        self.armed = true;
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if self.armed {
            self.inner.shared.abandon(self.receipt.sequence);
            if let Some(sender) = &self.inner.sender {
                // A full queue wakes the writer just as well.
                let _ = sender.try_send(Message::Wake);
            }
        }
    }
}

#[derive(Debug)]
struct Inner {
    /// Taken by `drop` alone.
    sender: Option<mpsc::Sender<Message>>,
    seat: Seat,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Inner {
    async fn append(&self, record: Record, durability: Durability, room: Room) -> Result<Receipt, TrailError> {
        self.shared.can(durability)?;
        let (answer, answered) = oneshot::channel();
        self.send(record, durability, room, Acknowledgement::receipt(answer)).await?;
        let receipt = answered.await.map_err(|_| self.gone())??;
        self.shared.shipped(receipt.sequence, durability).await?;
        Ok(receipt)
    }

    async fn send(
        &self,
        record: Record,
        durability: Durability,
        room: Room,
        acknowledgement: Acknowledgement,
    ) -> Result<(), TrailError> {
        let append = Append { record: record.prepare(), durability, room, acknowledgement };
        let Some(append) = self.seat.write_at_once(append) else { return Ok(()) };
        let sender = self.sender.as_ref().ok_or_else(|| self.gone())?;
        sender.send(Message::Append(Box::new(append))).await.map_err(|_| self.gone())
    }

    /// Why nobody answers.
    fn gone(&self) -> TrailError {
        self.shared.failure().unwrap_or_else(|| TrailError::Ended { folder: self.shared.folder.clone() })
    }
}

impl Drop for Inner {
    /// Waits for the writer, so that the folder's lock is free afterwards.
    fn drop(&mut self) {
        self.sender = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The writer itself may hold the last handle, inside an answer that
        // nobody waits for.
        if let Some(thread) = thread.filter(|_| !writer::is_own_thread()) {
            let _ = thread.join();
        }
    }
}

/// What the handles and the threads of a trail share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    pub(crate) ordinal: u64,
    pub(crate) epoch: Uuid,
    pub(crate) key: PublicKey,
    /// How long a record waits for the collector; `None`: there is none.
    wait: Option<Duration>,
    /// Newest leaf of this epoch that the collector has. Written by the
    /// shipper.
    pub(crate) acknowledged: watch::Sender<u64>,
    /// Told when leaves were written; and when somebody waits for them to be
    /// shipped.
    pub(crate) written: Notify,
    pub(crate) urgent: Notify,
    /// Written by the writer.
    pub(crate) records: AtomicU64,
    /// Written by the writer.
    pub(crate) bytes: AtomicU64,
    /// Written by the writer.
    pub(crate) open: AtomicU64,
    abandoned: AtomicU64,
    /// Sequences of intents that were dropped and not yet said to be unknown.
    dropped: Mutex<Vec<u64>>,
    /// Written by the writer.
    full: Mutex<Option<TrailError>>,
    /// Set once.
    failed: Mutex<Option<TrailError>>,
}

impl Shared {
    pub(crate) fn new(folder: PathBuf, (ordinal, epoch): (u64, Uuid), key: PublicKey, wait: Option<Duration>) -> Self {
        Self {
            folder,
            ordinal,
            epoch,
            key,
            wait,
            acknowledged: watch::Sender::new(0),
            written: Notify::new(),
            urgent: Notify::new(),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            open: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            dropped: Mutex::default(),
            full: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    fn status(&self) -> TrailStatus {
        TrailStatus {
            full: self.full.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            failed: self.failure(),
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            open_intents: self.open.load(Ordering::Relaxed),
            abandoned: self.abandoned.load(Ordering::Relaxed),
        }
    }

    /// Whether this durability can be had.
    fn can(&self, durability: Durability) -> Result<(), TrailError> {
        if durability == Durability::Collector && self.wait.is_none() {
            return Err(TrailError::NoCollector { folder: self.folder.clone() });
        }
        Ok(())
    }

    /// Waits until the collector has the leaf, where that is asked for.
    async fn shipped(&self, sequence: u64, durability: Durability) -> Result<(), TrailError> {
        let (Durability::Collector, Some(wait)) = (durability, self.wait) else { return Ok(()) };
        let mut acknowledged = self.acknowledged.subscribe();
        self.urgent.notify_one();
        let waited = tokio::time::timeout(wait, acknowledged.wait_for(|newest| *newest >= sequence)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(TrailError::Unacknowledged { folder: self.folder.clone(), sequence, wait }),
        }
    }

    pub(crate) fn failure(&self) -> Option<TrailError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first failure stays.
    pub(crate) fn fail(&self, error: &TrailError) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
    }

    pub(crate) fn set_full(&self, full: Option<TrailError>) {
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = full;
    }

    fn abandon(&self, sequence: u64) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(sequence);
    }

    /// Intents that were dropped since the last call.
    pub(crate) fn take_dropped(&self) -> Vec<u64> {
        std::mem::take(&mut *self.dropped.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The record of an intent whose outcome nobody can tell.
pub(crate) fn unknown_outcome(of: Of, why: &str) -> Record {
    Record::new(Kind::Outcome).of(of).with("outcome", "unknown").with("why", why)
}

/// Records that wait for the writer. Each is at most one leaf, so the queue is
/// bounded in bytes too.
const QUEUE: usize = 512;
