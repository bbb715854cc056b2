//! One pod's trail: its folder, and how far each epoch was taken.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use sluice_audit::intake::{self, Enrolled, Intake, Piece, Refusal, Taken};
use sluice_wire::{BatchStart, EpochSummary, IngestRefusal, MAX_BATCH_BYTES, TrailSummary};
use tracing::{error, warn};
use uuid::Uuid;

use super::disk::{self, WriteError};
use super::mark::Mark;
use super::meta::{Meta, Owner};
use super::room::Room;

/// A trail that is stored.
#[derive(Debug)]
pub struct StoredTrail {
    /// Whose it is.
    pub meta: Meta,
    /// Where it lies.
    pub folder: PathBuf,
    /// Held while a batch is stored: one at a time.
    state: Mutex<State>,
    /// Never held while the disk is waited for: probes and metrics ask.
    broken: Mutex<Option<Broken>>,
    /// Whether what was acknowledged was found damaged or gone.
    damaged: AtomicBool,
    /// Nor is this.
    voice: Mutex<Voice>,
    /// Batches that brought something.
    grown: AtomicU64,
}

/// What is stored of a trail. Read from the folder when it is first needed.
#[derive(Debug, Default)]
struct State {
    loaded: bool,
    epochs: BTreeMap<(u64, Uuid), Epoch>,
    /// Bytes on the disk, about.
    bytes: u64,
    damaged: bool,
}

#[derive(Debug)]
struct Epoch {
    intake: Intake,
    segments: Vec<u64>,
    has_key: bool,
    last_heard: Timestamp,
}

/// Why a trail takes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// In words.
    pub why: String,
    /// Whether reading the folder again, which only a start does, may help.
    pub restart_helps: bool,
}

/// When a trail was heard.
#[derive(Debug, Default)]
struct Voice {
    /// Monotonic; `None`: not since the start.
    heard: Option<Duration>,
    /// `None`: not read yet.
    ended: Option<bool>,
    silent: bool,
}

/// A batch that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Newest record that is stored of its epoch.
    pub acknowledged: u64,
    /// Records that are new.
    pub leaves: u64,
    /// Bytes that are new.
    pub bytes: u64,
    /// What should be stored before it and is not.
    pub missing: Option<String>,
}

/// Whether a trail fell silent, or was heard again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// No `end`, and nothing heard for too long.
    Silent,
    /// It was silent.
    Speaks,
}

impl StoredTrail {
    /// A trail whose folder has about `bytes`; it is read when it is needed.
    pub(super) fn new(meta: Meta, folder: PathBuf, bytes: u64) -> Self {
        let state = Mutex::new(State { bytes, ..State::default() });
        Self {
            meta,
            folder,
            state,
            broken: Mutex::default(),
            damaged: AtomicBool::default(),
            voice: Mutex::default(),
            grown: AtomicU64::new(0),
        }
    }

    /// Judges a batch and stores what is new of it. Returns when it is on the
    /// disk.
    ///
    /// # Errors
    /// Why it is not stored. Nothing of it is, then.
    pub(super) fn accept(
        &self,
        start: &BatchStart,
        bytes: &[u8],
        room: &Room,
        now: Timestamp,
    ) -> Result<Accepted, IngestRefusal> {
        let mut state = self.state(room);
        if let Some(broken) = self.broken() {
            return Err(IngestRefusal::Full { message: broken.why });
        }
        if bytes.is_empty() {
            return Err(IngestRefusal::Malformed { message: "there is nothing in it".to_owned() });
        }
        let known = state.epoch(start)?;
        let stored = self.stored(&known, start, bytes)?;
        let new = bytes.get(stored..).unwrap_or_default();
        if new.is_empty() {
            state.heard(start, now);
            return Ok(Accepted { acknowledged: known.sequence, leaves: 0, bytes: 0, missing: None });
        }
        state.is_open(start, &known)?;
        let offset = start.offset + stored as u64;
        let piece = Piece { segment: start.segment, offset, bytes: new, rest: start.rest };
        let taken = known.take(piece).map_err(|refusal| refused(refusal, known.sequence))?;
        if let Some(kind) = taken.kinds.iter().find(|kind| !self.meta.owner.may_write(**kind)) {
            let message = format!("records of kind {kind} are no sidecar's; fix: run an unaltered gateway");
            return Err(IngestRefusal::NotYours { message });
        }
        let missing = match &taken.enrolled {
            Some(enrolled) => {
                self.meta.admits(&enrolled.workload)?;
                state.follows(enrolled)?
            }
            None => None,
        };
        let growth = growth(offset, new.len(), taken.enrolled.is_some());
        let reserved = room.reserve(state.bytes, growth, state.epochs.len())?;
        match self.write(start, offset, new, &taken) {
            Ok(()) => reserved.keep(),
            Err(error) => return Err(self.not_written(error)),
        }
        state.bytes += growth;
        let accepted =
            Accepted { acknowledged: taken.next.sequence, leaves: taken.leaves, bytes: new.len() as u64, missing };
        let Intake { ordinal, epoch, segment, offset, .. } = taken.next;
        if let Err(error) = (Mark { ordinal, epoch, segment, offset }).write(&self.folder) {
            // The batch is stored all the same.
            warn!(folder = %self.folder.display(), %error, "how far a trail is acknowledged is not noted");
        }
        state.take(start, taken, now);
        self.grown.fetch_add(1, Ordering::AcqRel);
        self.voice().ended = Some(state.ended());
        Ok(accepted)
    }

    /// How many bytes of the batch are stored already; they must be the same.
    fn stored(&self, known: &Intake, start: &BatchStart, bytes: &[u8]) -> Result<usize, IngestRefusal> {
        let unreadable = |error: io::Error| IngestRefusal::Full {
            message: format!("what is stored cannot be read: {error}; fix: see to the collector's volume"),
        };
        let path = self.folder.join(intake::segment_name(start.ordinal, start.epoch, start.segment));
        let end = match start.segment.cmp(&known.segment) {
            std::cmp::Ordering::Less => match std::fs::metadata(&path) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(unreadable(error)),
            },
            std::cmp::Ordering::Equal => known.offset,
            std::cmp::Ordering::Greater => 0,
        };
        let overlap = usize::try_from(end.saturating_sub(start.offset)).unwrap_or(usize::MAX).min(bytes.len());
        if overlap == 0 {
            return Ok(0);
        }
        let mut stored = vec![0; overlap];
        File::open(&path).and_then(|file| file.read_exact_at(&mut stored, start.offset)).map_err(unreadable)?;
        let sent = bytes.get(..overlap).unwrap_or_default();
        match intake::difference(&stored, sent, start.offset == 0) {
            None => Ok(overlap),
            Some(other) => Err(IngestRefusal::Fork { sequence: other.sequence.unwrap_or(known.sequence) }),
        }
    }

    fn write(&self, start: &BatchStart, offset: u64, bytes: &[u8], taken: &Taken) -> Result<(), WriteError> {
        // Whoever reads meanwhile knows that the end may be half.
        let _writing = disk::lock_to_write(&self.folder).map_err(WriteError::Undone)?;
        if let Some(enrolled) = &taken.enrolled {
            let name = intake::key_name(start.ordinal, start.epoch);
            disk::create(&self.folder, &name, enrolled.key.to_pem().as_bytes())?;
        }
        let name = intake::segment_name(start.ordinal, start.epoch, start.segment);
        let written = match offset {
            0 => disk::create(&self.folder, &name, bytes),
            _ => disk::append(&self.folder.join(name), offset, bytes),
        };
        if let (Err(WriteError::Undone(_)), Some(_)) = (&written, &taken.enrolled) {
            let name = intake::key_name(start.ordinal, start.epoch);
            std::fs::remove_file(self.folder.join(name)).map_err(WriteError::Unknown)?;
        }
        written
    }

    /// The state, read from the folder if it was not yet.
    fn state(&self, room: &Room) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The collector's own is written by its `Trail`, not by us.
        if !state.loaded || self.meta.owner == Owner::Collector {
            let before = state.bytes;
            match State::load(&self.folder, self.meta.owner) {
                Ok(loaded) => {
                    *state = loaded;
                    self.damaged.store(state.damaged, Ordering::Release);
                    self.breaks(None);
                }
                Err(error) => {
                    let why = format!("{}: {error}; fix: restore the collector's volume", self.folder.display());
                    warn!(pod = %self.meta.uid, why, "a stored trail cannot be read");
                    self.breaks(Some(Broken { why, restart_helps: false }));
                }
            }
            state.loaded = true;
            room.recount(before, state.bytes);
            self.voice().ended = Some(state.ended());
        }
        state
    }

    /// Reads the folder, if it was not read yet.
    pub(super) fn load(&self, room: &Room) {
        drop(self.state(room));
    }

    /// Whether it holds an epoch.
    pub(super) fn holds(&self, room: &Room, ordinal: u64, epoch: Uuid) -> bool {
        self.state(room).epochs.contains_key(&(ordinal, epoch))
    }

    /// Why it takes nothing.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether what was acknowledged was found damaged or gone.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    fn breaks(&self, broken: Option<Broken>) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = broken;
    }

    fn not_written(&self, error: WriteError) -> IngestRefusal {
        let (error, known) = match error {
            WriteError::Undone(error) => (error, true),
            WriteError::Unknown(error) => (error, false),
        };
        let message = format!("{}: {error}; fix: see to the collector's volume", self.folder.display());
        warn!(message, known, "a batch could not be stored");
        if !known {
            self.breaks(Some(Broken { why: message.clone(), restart_helps: true }));
        }
        IngestRefusal::Full { message }
    }

    pub(super) fn summary(&self, room: &Room) -> TrailSummary {
        let state = self.state(room);
        let epochs = state.epochs.iter().map(|(&(ordinal, epoch), known)| EpochSummary {
            epoch,
            ordinal,
            leaves: known.intake.sequence,
            last_heard: known.last_heard,
            ended: known.intake.ended,
            files: known.files(ordinal, epoch),
        });
        let Meta { uid, namespace, service_account, pod, .. } = &self.meta;
        TrailSummary {
            pod_uid: uid.clone(),
            namespace: namespace.clone(),
            service_account: service_account.clone(),
            pod: pod.clone(),
            epochs: epochs.collect(),
            silent: self.is_silent(),
            damaged: self.is_damaged(),
        }
    }

    /// A file of it, and how many of its bytes are acknowledged.
    pub(super) fn file(&self, room: &Room, name: &str) -> Option<(PathBuf, u64)> {
        let state = self.state(room);
        let is_there = state
            .epochs
            .iter()
            .any(|(&(ordinal, epoch), known)| known.files(ordinal, epoch).iter().any(|file| file == name));
        let path = self.folder.join(name);
        // Nothing is being written: the state is held.
        is_there.then(|| std::fs::metadata(&path).ok().map(|metadata| (path, metadata.len())))?
    }

    /// Counts what came. `None`: it grows by itself, uncounted.
    pub fn grown(&self) -> Option<u64> {
        (self.meta.owner != Owner::Collector).then(|| self.grown.load(Ordering::Acquire))
    }

    /// Takes note that the owner was heard; says whether it was silent.
    pub(super) fn heard(&self, now: Duration) -> Option<Change> {
        let mut voice = self.voice();
        voice.heard = Some(now);
        std::mem::take(&mut voice.silent).then_some(Change::Speaks)
    }

    /// Says whether it fell silent. `since`: nothing was listened to before.
    pub(super) fn judge(&self, now: Duration, since: Duration, patience: Duration) -> Option<Change> {
        let mut voice = self.voice();
        if voice.ended != Some(false) || voice.silent {
            return None;
        }
        let last = voice.heard.unwrap_or(since).max(since);
        voice.silent = now.saturating_sub(last) > patience;
        voice.silent.then_some(Change::Silent)
    }

    /// No `end`, and nothing heard for too long.
    pub fn is_silent(&self) -> bool {
        let voice = self.voice();
        voice.silent && voice.ended == Some(false)
    }

    fn voice(&self) -> MutexGuard<'_, Voice> {
        self.voice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads a folder, and takes away what was being written when the process
    /// died: nobody was told that it is stored. What stays must be on the disk,
    /// since it is acknowledged when it is sent again.
    fn load(folder: &Path, owner: Owner) -> io::Result<Self> {
        let ours = owner != Owner::Collector;
        if ours {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().ends_with(disk::UNFINISHED) {
                    std::fs::remove_file(entry.path())?;
                }
            }
        }
        let listing = intake::files(folder)?;
        let newest = listing.iter().rfind(|files| !files.segments.is_empty()).map(|files| files.epoch);
        let mark = Mark::read(folder).filter(|_| ours);
        let mut state = Self { loaded: true, ..Self::default() };
        for files in listing {
            let (ordinal, epoch) = (files.ordinal, files.epoch);
            let Some(last) = files.segments.last() else {
                // Its first segment never came to be, or is gone.
                if ours && mark.is_none_or(|mark| mark.ordinal < ordinal) {
                    std::fs::remove_file(folder.join(intake::key_name(ordinal, epoch)))?;
                }
                continue;
            };
            let path = folder.join(intake::segment_name(ordinal, epoch, *last));
            if ours {
                disk::forget(&path)?;
            }
            let Some(intake) = Intake::resume(folder, ordinal, epoch)? else { continue };
            let metadata = std::fs::metadata(&path)?;
            let tail = metadata.len().saturating_sub(intake.offset);
            if tail > 0 && ours {
                if newest != Some(epoch) || tail > MAX_BATCH_BYTES as u64 {
                    let why = format!("{} bytes of {} are no records", tail, path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                // A write that a kill cut short; or damage, and then the mark
                // says so below.
                let aside = disk::set_aside(&path, intake.offset)?;
                warn!(file = %path.display(), tail, aside = %aside.display(), "what stands behind the last whole record is set aside");
            }
            for number in &files.segments {
                let path = folder.join(intake::segment_name(ordinal, epoch, *number));
                state.bytes += disk::taken(std::fs::metadata(path)?.len());
            }
            state.bytes += disk::taken(1);
            let last_heard = metadata.modified().ok().and_then(|at| Timestamp::try_from(at).ok()).unwrap_or_default();
            let (segments, has_key) = (files.segments, files.has_key);
            state.epochs.insert((ordinal, epoch), Epoch { intake, segments, has_key, last_heard });
        }
        if let Some(mark) = mark {
            state.damage(folder, mark)?;
        }
        state.damaged = ours && disk::has_damage(folder)?;
        Ok(state)
    }

    /// Says, once and for good, what was acknowledged and is not there any more.
    /// The sidecar is asked for it again, and may have it still.
    fn damage(&self, folder: &Path, mark: Mark) -> io::Result<()> {
        let known = self.epochs.get(&(mark.ordinal, mark.epoch)).map(|known| &known.intake);
        let (segment, offset) = known.map_or((0, 0), |intake| (intake.segment, intake.offset));
        if (segment, offset) >= (mark.segment, mark.offset) {
            return Ok(());
        }
        let there = Mark { segment, offset, ..mark };
        let note = disk::note_damage(folder, &json!({ "acknowledged": mark, "there": there }))?;
        there.write(folder)?;
        error!(
            note = %note.display(),
            file = intake::segment_name(mark.ordinal, mark.epoch, mark.segment),
            "ALARM: records that were acknowledged are damaged or gone; fix: see what `sluice audit verify` says of the trail, and restore the collector's volume"
        );
        Ok(())
    }

    /// How far the epoch of a batch was taken.
    fn epoch(&self, start: &BatchStart) -> Result<Intake, IngestRefusal> {
        if let Some(known) = self.epochs.get(&(start.ordinal, start.epoch)) {
            return Ok(known.intake.clone());
        }
        let twice = self.epochs.keys().any(|(_, epoch)| *epoch == start.epoch);
        let newest = self.epochs.last_key_value().map_or(0, |((ordinal, _), _)| *ordinal);
        if twice || start.ordinal <= newest {
            return Err(IngestRefusal::Fork { sequence: 1 });
        }
        Ok(Intake::new(start.ordinal, start.epoch))
    }

    /// An epoch to which a later one was added is closed.
    fn is_open(&self, start: &BatchStart, known: &Intake) -> Result<(), IngestRefusal> {
        let newest = self.epochs.last_key_value().map_or(0, |((ordinal, _), _)| *ordinal);
        if start.ordinal < newest { Err(IngestRefusal::Fork { sequence: known.sequence + 1 }) } else { Ok(()) }
    }

    /// Whether a new epoch goes on from what is stored. `Some`: what lies
    /// between the two is not here, and `verify` will say so; refusing it would
    /// only lose more.
    fn follows(&self, enrolled: &Enrolled) -> Result<Option<String>, IngestRefusal> {
        let fork = Err(IngestRefusal::Fork { sequence: 1 });
        let Some((&newest, last)) = self.epochs.last_key_value() else {
            return Ok(enrolled.follows.map(|named| format!("epoch {} ({})", named.ordinal, named.epoch)));
        };
        let Some(named) = enrolled.follows else { return fork };
        if !self.epochs.contains_key(&(named.ordinal, named.epoch)) {
            return Ok(Some(format!("epoch {} ({})", named.ordinal, named.epoch)));
        }
        if newest != (named.ordinal, named.epoch) || last.intake.sequence > named.sequence {
            return fork;
        }
        if last.intake.sequence < named.sequence {
            let from = last.intake.sequence + 1;
            return Ok(Some(format!("records {from} to {} of epoch {}", named.sequence, named.ordinal)));
        }
        if last.intake.hash == named.hash { Ok(None) } else { fork }
    }

    fn take(&mut self, start: &BatchStart, taken: Taken, now: Timestamp) {
        let epoch = self.epochs.entry((start.ordinal, start.epoch)).or_insert_with(|| Epoch {
            intake: taken.next.clone(),
            segments: Vec::new(),
            has_key: true,
            last_heard: now,
        });
        epoch.intake = taken.next;
        epoch.last_heard = now;
        if epoch.segments.last() != Some(&start.segment) {
            epoch.segments.push(start.segment);
        }
    }

    fn heard(&mut self, start: &BatchStart, now: Timestamp) {
        if let Some(epoch) = self.epochs.get_mut(&(start.ordinal, start.epoch)) {
            epoch.last_heard = now;
        }
    }

    fn ended(&self) -> bool {
        self.epochs.last_key_value().is_some_and(|(_, epoch)| epoch.intake.ended)
    }
}

impl Epoch {
    fn files(&self, ordinal: u64, epoch: Uuid) -> Vec<String> {
        let key = self.has_key.then(|| intake::key_name(ordinal, epoch));
        let segments = self.segments.iter().map(|number| intake::segment_name(ordinal, epoch, *number));
        key.into_iter().chain(segments).collect()
    }
}

/// How much more of the disk a batch takes.
fn growth(offset: u64, len: usize, first: bool) -> u64 {
    let key = if first { disk::taken(1) } else { 0 };
    key + disk::taken(offset + len as u64) - disk::taken(offset)
}

/// `sequence`: the newest record that is stored.
pub(super) fn refused(refusal: Refusal, sequence: u64) -> IngestRefusal {
    match refusal {
        Refusal::Gap { expected } => IngestRefusal::Gap { expected },
        Refusal::Fork(_) => IngestRefusal::Fork { sequence: sequence + 1 },
        Refusal::BadSignature(message) => IngestRefusal::BadSignature { message },
        other @ Refusal::Malformed { .. } => IngestRefusal::Malformed { message: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use sluice_core::Workload;

    use super::*;

    #[test]
    fn probes_do_not_wait_for_a_batch_that_is_being_stored() {
        let workload = Workload { uid: "a1".into(), ..Workload::default() };
        let meta = Meta::of(Owner::Pod, &workload, Timestamp::UNIX_EPOCH);
        let trail = Arc::new(StoredTrail::new(meta, PathBuf::from("/nowhere"), 0));
        let _storing = trail.state.lock().unwrap();
        let (told, tells) = channel();
        let probed = trail.clone();
        std::thread::spawn(move || told.send((probed.broken(), probed.is_silent())));
        assert_eq!(tells.recv_timeout(Duration::from_secs(60)), Ok((None, false)));
    }
}
