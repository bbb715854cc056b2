//! Opens a folder: reads what earlier epochs left, begins a new one, and says
//! in it what they left open. Earlier epochs are read, never rewritten: a crash
//! in here only means that the next start says it.

use std::collections::{BTreeMap, HashSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use uuid::Uuid;

use crate::error::TrailError;
use crate::failpoint;
use crate::format::Named;
use crate::key::SigningKey;
use crate::leaf::{Leaf, Of};
use crate::record::{Kind, Record, RecordId};
use crate::scan::{self, Damage, DamageKind, EpochFiles, EpochScan, Item, Listing, Mode, Stop};
use crate::spool::{Spool, SpoolOptions};
use crate::trail::{Shared, TrailOptions, unknown_outcome};
use crate::writer::{SMALLEST_SEGMENT, Writer, WriterParts};

mod body;

pub(crate) use body::{Enrol, Gap, GapPlace, Predecessor};

/// What opening a trail found.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Place of the new epoch in the trail, from 1.
    pub ordinal: u64,
    /// Whether there was an epoch before that did not end.
    pub crashed: bool,
    /// Intents whose outcome is not known, and now said to be.
    pub unknown: Vec<Of>,
    /// What is missing or damaged, one line for people each.
    pub gaps: Vec<String>,
}

/// A folder that is ready for its writer's thread.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) writer: Writer,
    pub(crate) shared: Arc<Shared>,
    pub(crate) recovery: Recovery,
}

pub(crate) fn open(folder: &Path, options: TrailOptions) -> Result<Opened, TrailError> {
    check(&options)?;
    let directory = Arc::new(lock(folder)?);
    let listing = Listing::read(folder).map_err(|error| TrailError::folder(folder, "listing it", &error))?;
    for path in listing.unfinished.iter().chain(&listing.stale) {
        std::fs::remove_file(path)
            .map_err(|error| TrailError::folder(folder, &format!("removing {}", path.display()), &error))?;
    }
    let enrolled = enrolled(folder, options.key_folder.as_deref())?;
    let past = Past::read(folder, &listing, &enrolled)?;
    failpoint::hit("recovery.scanned");
    trim_all(folder, &past.trims)?;

    let key = SigningKey::generate().ok_or_else(|| no_random(folder))?;
    let epoch = Uuid::now_v7();
    let newest = listing.epochs.keys().chain(&enrolled).map(|(ordinal, _)| *ordinal).max();
    let ordinal = newest.unwrap_or(0) + 1;
    let public = key.public();
    let shared = Arc::new(Shared::new(folder.to_owned(), (ordinal, epoch), public, options.collector_wait));
    let spool = Spool::new(SpoolOptions {
        folder: folder.to_owned(),
        directory: directory.clone(),
        epoch,
        ordinal,
        segment_bytes: options.segment_bytes,
        capacity_bytes: options.capacity_bytes,
        others: past.bytes(&listing, folder)?,
    });
    let mut writer = Writer::new(WriterParts {
        spool,
        key,
        clock: options.clock.clone(),
        shared: shared.clone(),
        heads_every: options.heads_every,
        shipped: options.collector_wait.is_some(),
        mark: listing.mark.clone(),
        lock: directory.clone(),
    })?;
    writer.write(Record::new(Kind::Enrol).with_all(Enrol {
        boot: boot_id(),
        format: u64::from(crate::leaf::VERSION),
        instance: options.instance,
        key: public.to_base64(),
        ordinal,
        predecessor: past.predecessor,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        workload: options.workload,
    }))?;
    failpoint::hit("recovery.after_enrol");
    let name = Named::PublicKey { ordinal, epoch }.name().unwrap_or_default();
    for place in [Some(folder), options.key_folder.as_deref()].into_iter().flatten() {
        publish(place, &name, &public.to_pem())
            .map_err(|error| TrailError::folder(place, &format!("writing the public key {name}"), &error))?;
    }
    failpoint::hit("recovery.after_key");
    let mut recovery = Recovery {
        ordinal,
        crashed: past.crashed,
        unknown: past.open.clone(),
        gaps: Vec::with_capacity(past.gaps.len()),
    };
    for gap in past.gaps {
        recovery.gaps.push(gap.why.clone());
        writer.write(Record::new(Kind::Gap).with_all(gap))?;
        failpoint::hit("recovery.after_gap");
    }
    for of in past.open {
        writer.write(unknown_outcome(of, "the gateway ended before the outcome was recorded"))?;
        failpoint::hit("recovery.after_outcome");
    }
    writer.write(
        Record::new(Kind::Recovered).with("unknown", recovery.unknown.len()).with("gaps", recovery.gaps.len()),
    )?;
    failpoint::hit("recovery.after_recovered");
    writer.seal()?;
    trim_all(folder, &past.late_trims)?;
    directory.sync_all().map_err(|error| TrailError::folder(folder, "syncing the folder", &error))?;
    Ok(Opened { writer, shared, recovery })
}

/// What earlier epochs left.
#[derive(Debug, Default)]
struct Past {
    predecessor: Option<Predecessor>,
    crashed: bool,
    open: Vec<Of>,
    gaps: Vec<Gap>,
    /// Files with room that is not needed any more, and where it begins.
    trims: Vec<(PathBuf, u64)>,
    /// The same of damaged files. They are left as they are until the gap that
    /// names them is written: by their zeros a torn end is known.
    late_trims: Vec<(PathBuf, u64)>,
}

impl Past {
    /// Reads epochs from the newest back to the first one after which nothing
    /// was left open.
    fn read(folder: &Path, listing: &Listing, enrolled: &[(u64, Uuid)]) -> Result<Self, TrailError> {
        let mut past = Self::default();
        let mut seen = Seen::default();
        for (&(ordinal, epoch), files) in listing.epochs.iter().rev().filter(|(_, files)| !files.segments.is_empty()) {
            let is_newest = past.predecessor.is_none();
            if is_newest && let Some(newest) = ended(ordinal, epoch, files) {
                past.predecessor = Some(newest);
                break;
            }
            past.crashed = true;
            let (newest, recovered) = past.epoch(folder, ordinal, epoch, listing, &mut seen)?;
            // An epoch without one good leaf holds nothing to go on from.
            if newest.sequence > 0 {
                past.predecessor.get_or_insert(newest);
            }
            if recovered {
                break;
            }
        }
        past.open.reverse();
        if past.predecessor.is_none() {
            past.predecessor = listing.mark.newest_gone().and_then(|gone| {
                let freed = gone.freed?;
                Some(Predecessor {
                    epoch: gone.epoch,
                    hash: freed.hash,
                    ordinal: gone.ordinal,
                    sequence: freed.sequence,
                })
            });
        }
        let newest = past.predecessor.map_or(0, |predecessor| predecessor.ordinal);
        for &(ordinal, epoch) in enrolled.iter().filter(|(ordinal, _)| *ordinal > newest) {
            past.gaps.push(Gap {
                epoch,
                ordinal,
                place: None,
                what: "missing".into(),
                why: format!("epoch {ordinal} ({epoch}) has a public key but no segment"),
            });
        }
        Ok(past)
    }

    /// Reads one epoch; says whether all before it is settled.
    fn epoch(
        &mut self,
        folder: &Path,
        ordinal: u64,
        epoch: Uuid,
        listing: &Listing,
        seen: &mut Seen,
    ) -> Result<(Predecessor, bool), TrailError> {
        let none = EpochFiles::default();
        let files = listing.epochs.get(&(ordinal, epoch)).unwrap_or(&none);
        let unreadable = |path: &Path, error: &std::io::Error| {
            TrailError::folder(folder, &format!("reading {}", path.display()), error)
        };
        let mut scan = EpochScan::new(ordinal, epoch, files.clone(), Mode::Still);
        // Nothing is given back before a start has said all that it found.
        let mut recovered = files.freed.is_some();
        let handed = listing.mark.of(ordinal, epoch).filter(|_| recovered);
        let mut open: BTreeMap<u64, RecordId> =
            handed.map(|handed| handed.open.iter().copied().collect()).unwrap_or_default();
        let damage = loop {
            match scan.next() {
                Ok(None) => break None,
                Ok(Some(Item::Head { .. })) => {}
                Ok(Some(Item::Leaf { envelope, bytes, .. })) => match envelope.kind {
                    Kind::Intent => drop(open.insert(envelope.sequence, envelope.id)),
                    Kind::Outcome => {
                        if let Some(of) = envelope.of {
                            seen.outcomes.insert((of.epoch, of.sequence));
                        }
                    }
                    Kind::Gap => seen.gaps.extend(gap(bytes)),
                    Kind::Recovered => recovered = true,
                    _ => {}
                },
                Err(Stop::Unreadable(path, error)) => return Err(unreadable(&path, &error)),
                Err(Stop::Damage(damage)) => break Some(damage),
            }
        };
        let newest = Predecessor { epoch, hash: scan.hash, ordinal, sequence: scan.sequence };
        let end = scan.end;
        self.open.extend(
            open.into_iter()
                .rev()
                .filter(|(sequence, _)| !seen.outcomes.contains(&(epoch, *sequence)))
                .map(|(sequence, id)| Of { epoch, id, sequence }),
        );
        if let Some(damage) = &damage {
            let rest = scan::rest(files, damage.at.segment, damage.at.offset)
                .map_err(|(path, error)| unreadable(&path, &error))?;
            let gap = describe(ordinal, epoch, damage, rest);
            if !seen.gaps.iter().any(|known| known.epoch == epoch && known.place == gap.place) {
                self.gaps.push(gap);
            }
        }
        if let Some((number, path)) = files.segments.last_key_value() {
            match &damage {
                None if end.0 == *number => self.trims.push((path.clone(), end.1)),
                Some(damage) if damage.at.segment == *number => {
                    let from = scan::end_of_data(path, damage.at.offset).map_err(|error| unreadable(path, &error))?;
                    self.late_trims.push((path.clone(), from));
                }
                _ => {}
            }
        }
        Ok((newest, recovered))
    }

    /// Bytes that the segments take.
    fn bytes(&self, listing: &Listing, folder: &Path) -> Result<u64, TrailError> {
        let mut bytes = 0;
        for path in listing.epochs.values().flat_map(|files| files.segments.values()) {
            let metadata = std::fs::symlink_metadata(path)
                .map_err(|error| TrailError::folder(folder, &format!("reading {}", path.display()), &error))?;
            bytes += metadata.len();
        }
        Ok(bytes)
    }
}

/// What later epochs said of earlier ones.
#[derive(Debug, Default)]
struct Seen {
    outcomes: HashSet<(Uuid, u64)>,
    gaps: Vec<Gap>,
}

/// The newest leaf of an epoch that ended, by its last segment alone.
fn ended(ordinal: u64, epoch: Uuid, files: &EpochFiles) -> Option<Predecessor> {
    let mut scan = EpochScan::last_segment(ordinal, epoch, files)?;
    loop {
        match scan.next() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(_) => return None,
        }
    }
    scan.ended.then_some(Predecessor { epoch, hash: scan.hash, ordinal, sequence: scan.sequence })
}

fn gap(bytes: &[u8]) -> Option<Gap> {
    let leaf: Leaf = serde_json::from_slice(bytes).ok()?;
    serde_json::from_value(serde_json::Value::Object(leaf.body)).ok()
}

fn describe(ordinal: u64, epoch: Uuid, damage: &Damage, rest: scan::Rest) -> Gap {
    let what = match damage.what {
        DamageKind::Torn => "torn",
        DamageKind::Changed => "changed",
        DamageKind::Missing => "missing",
    };
    Gap {
        epoch,
        ordinal,
        place: Some(GapPlace {
            bytes: rest.bytes,
            offset: damage.at.offset,
            segment: damage.at.segment,
            sequence: damage.sequence,
            sha256: rest.sha256,
        }),
        what: what.into(),
        why: format!(
            "{} at byte {}: {}; {} bytes from there on are left where they are, and are no records",
            damage.at.path.file_name().unwrap_or_default().to_string_lossy(),
            damage.at.offset,
            damage.why,
            rest.bytes
        ),
    }
}

fn check(options: &TrailOptions) -> Result<(), TrailError> {
    let wrong = |option, value: u64, cause: String, fix: String| {
        Err(TrailError::Option { option, value: value.to_string(), cause, fix })
    };
    let largest = 1 << 30;
    if !(SMALLEST_SEGMENT..=largest).contains(&options.segment_bytes) {
        let fix = format!("give {SMALLEST_SEGMENT} to {largest} bytes");
        return wrong("segment_bytes", options.segment_bytes, "outside its bounds".into(), fix);
    }
    if options.capacity_bytes < options.segment_bytes {
        let cause = format!("less than one segment ({} bytes)", options.segment_bytes);
        return wrong("capacity_bytes", options.capacity_bytes, cause, "raise it, or make segments smaller".into());
    }
    if !(1..=1_000_000).contains(&options.heads_every) {
        return wrong("heads_every", options.heads_every, "outside its bounds".into(), "give 1 to 1000000".into());
    }
    Ok(())
}

/// Makes the folder and takes its lock. The lock goes with the process.
fn lock(folder: &Path) -> Result<File, TrailError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| TrailError::folder(folder, "making it", &error))?;
    if let Some(parent) = folder.canonicalize().ok().as_deref().and_then(Path::parent) {
        // Its name must survive a crash too; not every parent can be opened.
        let _ = File::open(parent).and_then(|parent| parent.sync_all());
    }
    let directory = File::open(folder).map_err(|error| TrailError::folder(folder, "opening it", &error))?;
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(TrailError::Locked { folder: folder.into() }),
        Err(error) => Err(TrailError::folder(folder, "locking it", &error.into())),
    }
}

/// Epochs of which there is a public key, here or in the key folder.
fn enrolled(folder: &Path, key_folder: Option<&Path>) -> Result<Vec<(u64, Uuid)>, TrailError> {
    let mut enrolled = Vec::new();
    if let Some(keys) = key_folder {
        std::fs::create_dir_all(keys).map_err(|error| TrailError::folder(keys, "making the key folder", &error))?;
    }
    for place in [Some(folder), key_folder].into_iter().flatten() {
        let listing = Listing::read(place).map_err(|error| TrailError::folder(place, "listing it", &error))?;
        enrolled
            .extend(listing.epochs.into_iter().filter(|(_, files)| files.public_key.is_some()).map(|(name, _)| name));
    }
    enrolled.sort_unstable();
    enrolled.dedup();
    Ok(enrolled)
}

/// Writes a new file so that it is there whole or not at all.
fn publish(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    let _ = std::fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn trim_all(folder: &Path, trims: &[(PathBuf, u64)]) -> Result<(), TrailError> {
    for (path, len) in trims {
        trim(path, *len)
            .map_err(|error| TrailError::folder(folder, &format!("trimming {}", path.display()), &error))?;
        failpoint::hit("recovery.after_trim");
    }
    Ok(())
}

/// Gives back zeros at the end of a file.
fn trim(path: &Path, len: u64) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() > len {
        file.set_len(len)?;
        file.sync_all()?;
    }
    Ok(())
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| String::new(), |id| id.trim().to_owned())
}

fn no_random(folder: &Path) -> TrailError {
    TrailError::Folder {
        folder: folder.into(),
        cause: "making the key of the epoch: the system gives no random bytes".into(),
        fix: "let the process read the kernel's random numbers".into(),
    }
}
