//! Judges a trail, and trusts nothing in it but public keys.
//!
//! Memory stays bounded by the number of epochs and one bit a leaf, whatever
//! the files say; no length in them is believed.

mod bits;
mod link;
mod report;
mod trusted;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::hash::Hash;
use crate::key::PublicKey;
use crate::leaf::{Envelope, Leaf, Salt};
use crate::record::Kind;
use crate::recovery::{Enrol, Gap, Predecessor};
use crate::scan::{self, At, Damage, DamageKind, EpochFiles, EpochScan, Item, Listing, Mode, Stop};

use bits::Bits;
use link::link;
use trusted::{Trusted, read_small};

pub use report::{Class, Finding, Report};

/// Judges the trail in `folder`.
///
/// `keys`: a file with public keys (PEM), or a folder of such files, kept where
/// who can write the trail cannot write. They may be of other trails too, so
/// that only a file with the name of an epoch's key (`epoch-….pub`) says that
/// there must be that epoch. Without keys the trail's own are taken: that shows
/// damage, but not a trail that somebody else made.
pub fn verify(folder: &Path, keys: Option<&Path>) -> Report {
    verify_with(folder, keys, &mut |_, _| {})
}

/// The same; `progress` is told now and then how many bytes of how many are
/// read.
pub fn verify_with(folder: &Path, keys: Option<&Path>, progress: &mut dyn FnMut(u64, u64)) -> Report {
    let mut judge = Judge::default();
    let trusted = match keys.map(Trusted::read).transpose() {
        Ok(trusted) => trusted,
        Err((path, why)) => {
            judge.report.find(Finding::of(Class::Unreadable, &path, why));
            return judge.report;
        }
    };
    judge.report.keys_given = trusted.is_some();
    let listing = match Listing::read(folder) {
        Ok(listing) => listing,
        Err(error) => {
            judge.report.find(Finding::of(Class::Unreadable, folder, format!("the folder cannot be listed: {error}")));
            return judge.report;
        }
    };
    if listing.epochs.is_empty() {
        let missing = trusted.as_ref().is_some_and(|trusted| !trusted.epochs.is_empty());
        let class = if missing { Class::Incomplete } else { Class::Unreadable };
        judge.report.find(Finding::of(class, folder, "there is no trail in this folder".into()));
        return judge.report;
    }
    judge.report.live = scan::is_locked(folder);
    judge.total = listing.epochs.values().flat_map(|files| files.segments.values()).map(|path| len(path)).sum();
    judge.epochs(&listing, progress);
    judge.damages(&listing);
    judge.links();
    judge.keys(folder, &listing, trusted.as_ref());
    judge.seals(trusted.as_ref());
    judge.open_intents(&listing);
    judge.report
}

/// What is known while judging.
#[derive(Debug, Default)]
struct Judge {
    report: Report,
    epochs: Vec<Epoch>,
    gaps: Vec<Gap>,
    /// Intents without an outcome, by epoch.
    open: HashMap<Uuid, Bits>,
    total: u64,
    done: u64,
}

/// What one epoch said.
#[derive(Debug)]
struct Epoch {
    ordinal: u64,
    id: Uuid,
    /// A file to name in findings.
    file: PathBuf,
    key: Option<PublicKey>,
    predecessor: Option<Predecessor>,
    /// Newest good leaf.
    sequence: u64,
    hash: Hash,
    /// Newest leaf that a good head of this epoch signs.
    sealed: u64,
    ended: bool,
    recovered: bool,
    damage: Option<Damage>,
    /// Whether the system could not read all of it.
    unread: bool,
    /// Up to this leaf the records are at a collector, and not here.
    freed: u64,
}

impl Epoch {
    /// Whether something other than a writer that was killed keeps the rest of
    /// it from being read.
    fn is_cut_short(&self) -> bool {
        self.unread || self.damage.as_ref().is_some_and(|damage| damage.what != DamageKind::Torn)
    }
}

impl Judge {
    fn epochs(&mut self, listing: &Listing, progress: &mut dyn FnMut(u64, u64)) {
        let newest = listing.epochs.iter().rfind(|(_, files)| !files.segments.is_empty()).map(|(name, _)| *name);
        for (&(ordinal, id), files) in &listing.epochs {
            self.report.epochs += 1;
            let Some(file) = files.segments.values().next() else {
                let path = files.public_key.clone().unwrap_or_default();
                let why = format!("epoch {ordinal} has a public key but no segment");
                self.report.find(Finding::of(Class::Incomplete, &path, why).in_epoch(ordinal, id));
                continue;
            };
            let live = self.report.live && newest == Some((ordinal, id));
            let mut epoch = Epoch {
                ordinal,
                id,
                file: file.clone(),
                key: None,
                predecessor: None,
                sequence: 0,
                hash: Hash::ZERO,
                sealed: 0,
                ended: false,
                recovered: false,
                damage: None,
                unread: false,
                freed: 0,
            };
            self.freed(&mut epoch, files);
            let mode = if live { Mode::Live } else { Mode::Still };
            let mut scan = EpochScan::new(ordinal, id, files.clone(), mode);
            loop {
                match scan.next() {
                    Ok(Some(item)) => self.item(&mut epoch, item, progress),
                    Ok(None) => break,
                    Err(Stop::Damage(damage)) => {
                        epoch.damage = Some(damage);
                        break;
                    }
                    Err(Stop::Unreadable(path, error)) => {
                        let finding = Finding::of(Class::Unreadable, &path, format!("it cannot be read: {error}"));
                        self.report.find(finding.in_epoch(ordinal, id));
                        epoch.unread = true;
                        break;
                    }
                }
            }
            epoch.sequence = scan.sequence;
            epoch.hash = scan.hash;
            epoch.ended = scan.ended;
            self.epochs.push(epoch);
        }
        progress(self.total, self.total);
    }

    /// What a collector has taken is judged there; here it is missing.
    fn freed(&mut self, epoch: &mut Epoch, files: &EpochFiles) {
        let Some(freed) = files.freed else { return };
        let why = format!("records 1 to {} were handed to a collector and are judged there", freed.sequence);
        self.report.find(about(Class::Incomplete, epoch, why).with_sequence(1));
        let key = files.public_key.as_deref().map(read_small);
        let text = key.and_then(Result::ok).and_then(|bytes| String::from_utf8(bytes).ok());
        epoch.key = text.and_then(|text| PublicKey::parse_pem(&text).ok()?.first().copied());
        epoch.freed = freed.sequence;
        epoch.recovered = true;
    }

    fn item(&mut self, epoch: &mut Epoch, item: Item<'_>, progress: &mut dyn FnMut(u64, u64)) {
        match item {
            Item::Head { at, head, signature } => {
                self.report.heads += 1;
                match &epoch.key {
                    Some(key) if head.verifies(&signature, key) => epoch.sealed = head.sequence,
                    _ => {
                        let why = format!("the signature of the head over record {} is wrong", head.sequence);
                        self.report.find(found(Class::Invalid, epoch, &at, why).with_sequence(head.sequence));
                    }
                }
            }
            Item::Leaf { at, bytes, envelope, salt, .. } => {
                self.done += bytes.len() as u64;
                self.report.leaf(envelope.kind, bytes.len());
                if self.report.leaves.is_multiple_of(PROGRESS) {
                    progress(self.done.min(self.total), self.total);
                }
                if salt == Salt::Erased {
                    self.report.erased_salts += 1;
                }
                if let Err((class, why)) = self.leaf(epoch, &envelope, bytes, &at) {
                    let finding = found(class, epoch, &at, why).with_sequence(envelope.sequence);
                    self.report.find(finding.with_id(envelope.id));
                }
            }
        }
    }

    /// What a leaf means beyond its place in the chain.
    fn leaf(&mut self, epoch: &mut Epoch, leaf: &Envelope, bytes: &[u8], at: &At) -> Result<(), (Class, String)> {
        match leaf.kind {
            Kind::Enrol => {
                let enrol: Enrol = body(bytes).map_err(|why| (Class::Invalid, why))?;
                if enrol.ordinal != epoch.ordinal {
                    return Err((Class::Invalid, format!("the epoch says that it is the {}th", enrol.ordinal)));
                }
                epoch.predecessor = enrol.predecessor;
                epoch.key = PublicKey::from_base64(&enrol.key);
                if epoch.key.is_none() {
                    return Err((Class::Invalid, "the epoch's public key cannot be read".into()));
                }
            }
            Kind::Intent => self.open.entry(epoch.id).or_default().set(leaf.sequence),
            Kind::Outcome => return self.outcome(epoch, leaf, bytes),
            Kind::Gap => {
                let gap: Gap = body(bytes).map_err(|why| (Class::Invalid, why))?;
                let finding = found(Class::Incomplete, epoch, at, format!("a gap is recorded here: {}", gap.why));
                self.report.find(finding.with_sequence(leaf.sequence).with_id(leaf.id));
                if self.gaps.len() < GAPS {
                    self.gaps.push(gap);
                }
            }
            Kind::Recovered => epoch.recovered = true,
            _ => {}
        }
        Ok(())
    }

    fn outcome(&mut self, epoch: &Epoch, leaf: &Envelope, bytes: &[u8]) -> Result<(), (Class, String)> {
        let Some(of) = leaf.of else {
            return Err((Class::Invalid, "the outcome does not say of which intent".into()));
        };
        let was_open = self.open.get_mut(&of.epoch).is_some_and(|bits| bits.clear(of.sequence));
        // Of an epoch that is damaged, unreadable or missing, not all intents were
        // read.
        let whole = (of.epoch == epoch.id && of.sequence > epoch.freed)
            || self
                .epochs
                .iter()
                .any(|past| past.id == of.epoch && past.damage.is_none() && !past.unread && of.sequence > past.freed);
        if !was_open && whole {
            let why =
                format!("the outcome belongs to record {} of epoch {}, which is no open intent", of.sequence, of.epoch);
            return Err((Class::Invalid, why));
        }
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            outcome: Value,
        }
        let body: Body = body(bytes).map_err(|why| (Class::Invalid, why))?;
        if body.outcome == "unknown" {
            self.report.unknown += 1;
            let why =
                format!("the outcome of intent {} (record {} of epoch {}) is not known", of.id, of.sequence, of.epoch);
            return Err((Class::Incomplete, why));
        }
        Ok(())
    }

    /// Damage that a later epoch recorded as a gap is a gap; the half-written
    /// end of a trail that was not opened since is unsealed; all else is
    /// invalid.
    fn damages(&mut self, listing: &Listing) {
        let recovered_after: Vec<bool> = (0..self.epochs.len())
            .map(|index| self.epochs.iter().skip(index + 1).any(|later| later.recovered))
            .collect();
        for (epoch, recovered_after) in self.epochs.iter().zip(recovered_after) {
            let Some(damage) = &epoch.damage else { continue };
            let recorded = listing
                .epochs
                .get(&(epoch.ordinal, epoch.id))
                .and_then(|files| recorded(&self.gaps, epoch, damage, files));
            let (class, why) = match (damage.what, recorded) {
                (_, Some(_)) => (Class::Incomplete, format!("{}; a later gap says so", damage.why)),
                (DamageKind::Missing, None) => (Class::Incomplete, damage.why.clone()),
                (DamageKind::Torn, None) if !recovered_after => {
                    (Class::Unsealed, format!("{}: the writer was killed within it", damage.why))
                }
                (DamageKind::Torn | DamageKind::Changed, None) => (Class::Invalid, damage.why.clone()),
            };
            let mut finding = found(class, epoch, &damage.at, why).with_sequence(damage.sequence);
            finding.id = damage.id;
            self.report.find(finding);
        }
    }

    /// Each epoch names the newest leaf of the one before.
    fn links(&mut self) {
        let mut problems = Vec::new();
        for pair in self.epochs.windows(2) {
            if let [a, b] = pair
                && a.ordinal == b.ordinal
            {
                problems.push(about(
                    Class::Diverged,
                    b,
                    format!("epoch {} is there twice, as {} and {}", a.ordinal, a.id, b.id),
                ));
            }
        }
        let by_id: HashMap<Uuid, &Epoch> = self.epochs.iter().map(|epoch| (epoch.id, epoch)).collect();
        let mut before: Option<&Epoch> = None;
        for epoch in self.epochs.iter().filter(|epoch| epoch.sequence > 0) {
            problems.extend(link(epoch, before, &by_id));
            before = Some(epoch);
        }
        for problem in problems {
            self.report.find(problem);
        }
    }

    /// The public keys that lie beside the segments, and those kept elsewhere.
    fn keys(&mut self, folder: &Path, listing: &Listing, trusted: Option<&Trusted>) {
        for epoch in &self.epochs {
            let name = (epoch.ordinal, epoch.id);
            if let Some(path) = listing.epochs.get(&name).and_then(|files| files.public_key.as_ref()) {
                let text = read_small(path);
                let (class, why) = match (&epoch.key, text) {
                    (_, Err(error)) => (Class::Unreadable, format!("it cannot be read: {error}")),
                    (Some(key), Ok(text)) if text == key.to_pem().as_bytes() => continue,
                    (Some(_), Ok(_)) => (Class::Invalid, "it is not the public key that the epoch enrolled".into()),
                    (None, Ok(_)) => {
                        (Class::Incomplete, "the epoch of this public key has no readable first record".into())
                    }
                };
                self.report.find(Finding::of(class, path, why).in_epoch(epoch.ordinal, epoch.id));
            }
        }
        let Some(trusted) = trusted else { return };
        for (&(ordinal, id), key) in &trusted.epochs {
            match self.epochs.iter().find(|epoch| epoch.id == id) {
                None => {
                    let why =
                        format!("epoch {ordinal} ({id}) is missing: its public key was kept, its records are not here");
                    self.report.find(Finding::of(Class::Incomplete, folder, why).in_epoch(ordinal, id));
                }
                Some(epoch) if epoch.key.is_some_and(|enrolled| enrolled != *key) => {
                    let why = "the epoch enrolled another key than the one that was kept".into();
                    self.report.find(about(Class::Invalid, epoch, why));
                }
                Some(_) => {}
            }
        }
        let enrolled: HashSet<PublicKey> = self.epochs.iter().filter_map(|epoch| epoch.key).collect();
        self.report.other_keys = trusted.keys.difference(&enrolled).count() as u64;
    }

    /// A head covers its leaf and all before it, of earlier epochs too.
    fn seals(&mut self, trusted: Option<&Trusted>) {
        let is_trusted =
            |epoch: &Epoch| epoch.key.is_some_and(|key| trusted.is_none_or(|trusted| trusted.keys.contains(&key)));
        let any = self.epochs.iter().any(is_trusted);
        if !any && trusted.is_some() && self.epochs.iter().any(|epoch| epoch.sequence > 0) {
            let why = "no epoch of this trail was made with a key that was given: it is another trail".to_owned();
            let file = self.epochs.first().map(|epoch| epoch.file.clone()).unwrap_or_default();
            self.report.find(Finding::of(Class::Invalid, &file, why));
        }
        let mut problems = Vec::new();
        if let Some(newest) = self.epochs.last()
            && !newest.ended
        {
            let why = if self.report.live {
                "the trail has no end yet: a gateway is writing it"
            } else if newest.is_cut_short() {
                "whether the trail has an end is not known: it is not read beyond what is named above"
            } else {
                "the trail has no end: its gateway was killed and not started again"
            };
            problems.push(about(Class::Unsealed, newest, why.into()).with_sequence(newest.sequence));
        }
        for epoch in self.epochs.iter().rev() {
            let sealed = if is_trusted(epoch) { epoch.sealed } else { 0 };
            if epoch.sequence > sealed {
                let why = match is_trusted(epoch) || trusted.is_none() {
                    true if epoch.is_cut_short() => format!(
                        "records {} to {} are not covered by a signed head that can be read",
                        sealed + 1,
                        epoch.sequence
                    ),
                    true => format!("records {} to {} are not covered by a signed head", sealed + 1, epoch.sequence),
                    false => {
                        format!("records 1 to {} are not covered by a head of a key that was given", epoch.sequence)
                    }
                };
                problems.push(about(Class::Unsealed, epoch, why).with_sequence(sealed + 1));
            }
            if sealed > 0 {
                self.report.sealed = Some((epoch.ordinal, epoch.id, sealed));
                break;
            }
        }
        for problem in problems {
            self.report.find(problem);
        }
    }

    /// Names intents without an outcome; reads their epochs once more.
    fn open_intents(&mut self, listing: &Listing) {
        self.report.open_intents = self.open.values().map(|bits| bits.count).sum();
        let mut named = 0;
        // An outcome can also be of a later epoch.
        let cut_short = self.epochs.iter().any(Epoch::is_cut_short);
        let why = if cut_short { "the intent has no outcome that can be read" } else { "the intent has no outcome" };
        for (&(ordinal, id), files) in &listing.epochs {
            let Some(bits) = self.open.get(&id).filter(|bits| bits.count > 0) else { continue };
            let mut left = bits.count;
            let mut scan = EpochScan::new(ordinal, id, files.clone(), Mode::Live);
            while left > 0 && named < NAMED {
                let Ok(Some(item)) = scan.next() else { break };
                let Item::Leaf { at, envelope, .. } = item else { continue };
                if envelope.kind == Kind::Intent && bits.get(envelope.sequence) {
                    left -= 1;
                    named += 1;
                    let finding = Finding::of(Class::Incomplete, &at.path, why.into());
                    self.report.find(
                        finding
                            .in_epoch(ordinal, id)
                            .at(at.offset)
                            .with_sequence(envelope.sequence)
                            .with_id(envelope.id),
                    );
                }
            }
        }
        let more = self.report.open_intents - named;
        if more > 0 {
            let why = format!("{more} more intents have no outcome");
            self.report.find(Finding::of(Class::Incomplete, Path::new(""), why));
        }
    }
}

/// The gap that names exactly this damage.
fn recorded<'a>(gaps: &'a [Gap], epoch: &Epoch, damage: &Damage, files: &EpochFiles) -> Option<&'a Gap> {
    let (segment, offset) = (damage.at.segment, damage.at.offset);
    let gap = gaps.iter().find(|gap| {
        gap.epoch == epoch.id && gap.place.is_some_and(|place| (place.segment, place.offset) == (segment, offset))
    })?;
    let rest = scan::rest(files, segment, offset).ok()?;
    gap.place.is_some_and(|place| place.bytes == rest.bytes && place.sha256 == rest.sha256).then_some(gap)
}

fn body<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    let leaf: Leaf = serde_json::from_slice(bytes).map_err(|error| format!("the record cannot be read: {error}"))?;
    serde_json::from_value(Value::Object(leaf.body))
        .map_err(|error| format!("the body of the record cannot be read: {error}"))
}

fn found(class: Class, epoch: &Epoch, at: &At, why: String) -> Finding {
    Finding::of(class, &at.path, why).in_epoch(epoch.ordinal, epoch.id).at(at.offset)
}

fn about(class: Class, epoch: &Epoch, why: String) -> Finding {
    Finding::of(class, &epoch.file, why).in_epoch(epoch.ordinal, epoch.id)
}

fn len(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.len())
}

/// Leaves between two calls of `progress`.
const PROGRESS: u64 = 4_096;
/// Gaps that are remembered.
const GAPS: usize = 1_000;
/// Intents without an outcome that are named one by one.
const NAMED: u64 = 100;
