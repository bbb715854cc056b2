//! What is stored: a folder for each pod, named by its UID.
//!
//! What an answer acknowledges is on the disk. A batch is there whole or not at
//! all; the files alone say how far each trail was taken, so that a start after
//! any end goes on from them. One process at a time: it holds a lock on the
//! folder. Calls block: they are for threads that may.

mod disk;
mod mark;
mod meta;
mod room;
mod trail;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use sluice_audit::intake::{Enrolled, Intake, Piece};
use sluice_core::{Clock, Workload};
use sluice_wire::{BatchStart, Identity, IngestRefusal, TrailSummary};
use tokio::sync::watch;
use tracing::{error, warn};

use disk::WriteError;

pub use meta::{Meta, Owner};
pub use room::Room;
pub use trail::{Accepted, Broken, Change, StoredTrail};

/// Where and how much is stored.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The folder.
    pub folder: PathBuf,
    /// Bytes that a pod's trail may have; in no case more than a quarter of
    /// all.
    pub bytes_per_pod: u64,
    /// Bytes that all may have; `None`: 90 % of the volume.
    pub bytes: Option<u64>,
    /// How many trails there may be.
    pub trails: usize,
    /// After how much silence a trail without an end is said to be silent.
    pub patience: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// All trails.
#[derive(Debug)]
pub struct Store {
    options: StoreOptions,
    room: Room,
    trails: RwLock<BTreeMap<String, Arc<StoredTrail>>>,
    /// Folders that do not say whose trail they hold.
    left_out: usize,
    /// Held while a trail is made.
    making: Mutex<()>,
    /// Counts batches that brought something.
    changes: watch::Sender<u64>,
    /// When it was opened, monotonic.
    since: Duration,
    _lock: File,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process writes it.
    #[error("--storage {0}: another collector holds it; fix: wait for it to end")]
    Locked(PathBuf),
    /// The folder cannot be used.
    #[error("--storage {0}: {1}; fix: mount a volume there that this process may write")]
    Folder(PathBuf, io::Error),
}

/// A trail whose silence began or ended.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The trail.
    pub trail: Arc<StoredTrail>,
    /// What it did.
    pub change: Change,
}

/// Figures for operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Trails.
    pub trails: usize,
    /// Of them: silent.
    pub silent: usize,
    /// Of them: taking nothing.
    pub broken: usize,
    /// Of them: where what was acknowledged was found damaged or gone; and
    /// folders that do not say whose they are.
    pub damaged: usize,
}

impl Store {
    /// Opens the folder; makes it where it is missing.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let folder = options.folder.clone();
        let wrong = |error| StoreError::Folder(folder.clone(), error);
        disk::make_folder(&folder).map_err(wrong)?;
        let lock = disk::lock(&folder).map_err(wrong)?.ok_or_else(|| StoreError::Locked(folder.clone()))?;
        disk::sync_all(&lock).map_err(wrong)?;
        let limit = match options.bytes {
            Some(bytes) => bytes,
            None => disk::volume(&folder).map_err(wrong)?.0 / 10 * 9,
        };
        let room = Room::new(folder.clone(), options.bytes_per_pod, limit, options.trails);
        let (trails, left_out) = find(&folder, &room).map_err(wrong)?;
        let since = options.clock.monotonic();
        Ok(Self {
            options,
            room,
            trails: RwLock::new(trails),
            left_out,
            making: Mutex::default(),
            changes: watch::Sender::new(0),
            since,
            _lock: lock,
        })
    }

    /// Stores a batch of `peer`'s trail; returns when it is on the disk. What is
    /// stored already is compared and acknowledged again.
    ///
    /// # Errors
    /// Why it is not stored. Nothing of it is, then.
    pub fn accept(&self, peer: &Identity, start: &BatchStart, bytes: &[u8]) -> Result<Accepted, IngestRefusal> {
        let trail = self.trail_of(peer, start, bytes)?;
        let stored = trail.accept(start, bytes, &self.room, self.options.clock.now());
        if matches!(stored, Ok(_) | Err(IngestRefusal::Full { .. })) {
            self.tell(&trail, trail.heard(self.options.clock.monotonic()));
        }
        let accepted = stored?;
        if let Some(missing) = &accepted.missing {
            warn!(pod = %trail.meta.uid, namespace = %trail.meta.namespace, missing, "a trail goes on from what is not stored");
        }
        if accepted.bytes > 0 {
            self.changes.send_modify(|changes| *changes += 1);
        }
        Ok(accepted)
    }

    /// The trail that a batch belongs to; made for the first one.
    fn trail_of(&self, peer: &Identity, start: &BatchStart, bytes: &[u8]) -> Result<Arc<StoredTrail>, IngestRefusal> {
        let not_yours = |message: String| Err(IngestRefusal::NotYours { message });
        let owner = match peer {
            Identity::Pod { uid, .. } => {
                if let Some(known) = self.get(uid) {
                    return self.owned(known, Owner::Pod);
                }
                Owner::Pod
            }
            Identity::Control { .. } => {
                let holds = |trail: &Arc<StoredTrail>| {
                    trail.meta.owner == Owner::Control && trail.holds(&self.room, start.ordinal, start.epoch)
                };
                if let Some(known) = self.all().into_iter().find(holds) {
                    return Ok(known);
                }
                Owner::Control
            }
            Identity::Collector { .. } => {
                return not_yours("the collector's own trail is not sent to it".to_owned());
            }
        };
        let enrolled = first(start, bytes)?;
        let workload = self.claimed(peer, &enrolled.workload)?;
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        match self.get(&workload.uid) {
            Some(known) => self.owned(known, owner),
            None => self.make(Meta::of(owner, &workload, self.options.clock.now())),
        }
    }

    fn owned(&self, trail: Arc<StoredTrail>, owner: Owner) -> Result<Arc<StoredTrail>, IngestRefusal> {
        if trail.meta.owner == owner {
            return Ok(trail);
        }
        let message = format!("the trail of pod {} belongs to somebody else", trail.meta.uid);
        Err(IngestRefusal::NotYours { message })
    }

    /// The pod that a first record is about, as the certificate confirms it.
    fn claimed(&self, peer: &Identity, said: &Workload) -> Result<Workload, IngestRefusal> {
        let mut workload = said.clone();
        if let Identity::Pod { namespace, service_account, uid, .. } = peer {
            let meta = Meta {
                owner: Owner::Pod,
                uid: uid.clone(),
                namespace: namespace.clone(),
                service_account: service_account.clone(),
                pod: said.pod.clone(),
                since: self.options.clock.now(),
            };
            meta.admits(said)?;
            workload.service_account.clone_from(service_account);
        }
        if !meta::is_name(&workload.pod) {
            let message = format!(
                "the first record says pod {:?}, which is no name of a pod; fix: let the gateway record the pod that it runs in",
                workload.pod.chars().take(64).collect::<String>()
            );
            return Err(IngestRefusal::NotYours { message });
        }
        if !meta::is_uid(&workload.uid) {
            let message = format!(
                "{:?} is no UID of a pod; fix: let the first record name the pod that it is about",
                workload.uid.chars().take(64).collect::<String>()
            );
            return Err(IngestRefusal::NotYours { message });
        }
        Ok(workload)
    }

    /// Makes the folder of a trail: whole, or not at all.
    fn make(&self, meta: Meta) -> Result<Arc<StoredTrail>, IngestRefusal> {
        self.room.one_more(self.trails.read().unwrap_or_else(PoisonError::into_inner).len())?;
        self.room.reserve(0, disk::taken(1), 0)?;
        let folder = self.options.folder.join(&meta.uid);
        let write = || -> io::Result<()> {
            let making = self.options.folder.join(format!("{MAKING}{}", meta.uid));
            disk::make_folder(&making)?;
            disk::create(&making, meta::FILE, &serde_json::to_vec_pretty(&meta)?).map_err(|error| match error {
                WriteError::Undone(error) | WriteError::Unknown(error) => error,
            })?;
            std::fs::rename(&making, &folder)?;
            disk::sync_folder(&self.options.folder)
        };
        write().map_err(|error| IngestRefusal::Full {
            message: format!("{}: {error}; fix: see to the collector's volume", folder.display()),
        })?;
        let trail = Arc::new(StoredTrail::new(meta, folder, 0));
        let mut trails = self.trails.write().unwrap_or_else(PoisonError::into_inner);
        trails.insert(trail.meta.uid.clone(), trail.clone());
        Ok(trail)
    }

    /// The folder of the collector's own trail, which lies beside the others.
    ///
    /// # Errors
    /// It cannot be made, or is another's.
    pub fn own(&self, workload: &Workload) -> Result<PathBuf, IngestRefusal> {
        if let Some(known) = self.get(&workload.uid) {
            return self.owned(known, Owner::Collector).map(|trail| trail.folder.clone());
        }
        if !meta::is_uid(&workload.uid) {
            let message = format!("--pod-uid {:?} is no UID of a pod", workload.uid);
            return Err(IngestRefusal::NotYours { message });
        }
        let meta = Meta::of(Owner::Collector, workload, self.options.clock.now());
        self.make(meta).map(|trail| trail.folder.clone())
    }

    /// Reads all folders, so that silence can be judged and listing is quick.
    pub fn load(&self) {
        self.load_while(|| true);
    }

    /// The same, until there is no point in it any more.
    pub fn load_while(&self, go_on: impl Fn() -> bool) {
        for trail in self.all().into_iter().take_while(|_| go_on()) {
            trail.load(&self.room);
        }
    }

    /// The trail of a pod.
    pub fn get(&self, uid: &str) -> Option<Arc<StoredTrail>> {
        self.trails.read().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// All trails, by UID.
    pub fn all(&self) -> Vec<Arc<StoredTrail>> {
        self.trails.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What there is of a trail.
    pub fn summary(&self, trail: &StoredTrail) -> TrailSummary {
        trail.summary(&self.room)
    }

    /// A file of a trail by its exact name, and how long it is at this moment.
    pub fn file(&self, trail: &StoredTrail, name: &str) -> Option<(PathBuf, u64)> {
        trail.file(&self.room, name)
    }

    /// Changes when something was stored.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says that something was stored by somebody else: the own trail.
    pub fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Which trails fell silent since the last call. `except`: the UID of the
    /// own pod, which is not listened to.
    pub fn judge_silence(&self, except: &str) -> Vec<Changed> {
        let now = self.options.clock.monotonic();
        let judge = |trail: Arc<StoredTrail>| {
            let change = trail.judge(now, self.since, self.options.patience)?;
            Some(Changed { trail, change })
        };
        self.all().into_iter().filter(|trail| trail.meta.uid != except).filter_map(judge).collect()
    }

    fn tell(&self, trail: &StoredTrail, change: Option<Change>) {
        if change == Some(Change::Speaks) {
            let Meta { uid, namespace, pod, .. } = &trail.meta;
            tracing::info!(namespace, pod, uid, "a silent trail is heard again");
        }
    }

    /// Figures.
    pub fn totals(&self) -> Totals {
        let trails = self.all();
        Totals {
            trails: trails.len(),
            silent: trails.iter().filter(|trail| trail.is_silent()).count(),
            broken: trails.iter().filter(|trail| trail.broken().is_some()).count(),
            damaged: trails.iter().filter(|trail| trail.is_damaged()).count() + self.left_out,
        }
    }

    /// How much is stored.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Why a restart is needed.
    pub fn needs_restart(&self) -> Option<String> {
        self.all()
            .iter()
            .filter_map(|trail| trail.broken())
            .find(|broken| broken.restart_helps)
            .map(|broken| broken.why)
    }
}

/// The first record of the epoch that a batch begins.
fn first(start: &BatchStart, bytes: &[u8]) -> Result<Enrolled, IngestRefusal> {
    let piece = Piece { segment: start.segment, offset: start.offset, bytes, rest: start.rest };
    let taken = Intake::new(start.ordinal, start.epoch).take(piece).map_err(|refusal| trail::refused(refusal, 0))?;
    taken.enrolled.ok_or(IngestRefusal::Gap { expected: 1 })
}

/// Folders that are there, and how many more say not whose they are.
fn find(folder: &Path, room: &Room) -> io::Result<(BTreeMap<String, Arc<StoredTrail>>, usize)> {
    let (mut trails, mut left_out) = (BTreeMap::new(), 0);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let Some(name) = name.to_str().filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir())) else { continue };
        if name.starts_with(MAKING) {
            std::fs::remove_dir_all(&path)?;
            continue;
        }
        if !meta::is_uid(name) {
            continue;
        }
        let Some(meta) = Meta::read(&path, name) else {
            let fix = "restore its meta.json and its first segment";
            error!(folder = %path.display(), fix, "ALARM: this folder says not whose trail it holds; it is left out");
            left_out += 1;
            continue;
        };
        let bytes = bytes_in(&path)?;
        room.recount(0, bytes);
        trails.insert(name.to_owned(), Arc::new(StoredTrail::new(meta, path, bytes)));
    }
    Ok((trails, left_out))
}

fn bytes_in(folder: &Path) -> io::Result<u64> {
    std::fs::read_dir(folder)?.try_fold(0, |bytes, entry| Ok(bytes + disk::taken(entry?.metadata()?.len())))
}

/// Begins the name of a folder that is being made; no UID begins so.
const MAKING: &str = ".making-";
