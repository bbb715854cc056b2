//! Reads a trail from front to back, follows one that is being written, and
//! filters.
//!
//! Reading checks the chain on its way but no signature: [`verify`](crate::verify)
//! judges.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::error::TrailError;
use crate::hash::Hash;
use crate::leaf::Leaf;
use crate::record::{Kind, RecordId};
use crate::scan::{EpochScan, Item, Listing, Mode, Stop};

/// A leaf and where it lies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// What it says.
    pub leaf: Leaf,
    /// Its hash.
    pub hash: Hash,
    /// The segment it lies in.
    pub file: PathBuf,
    /// Where its frame begins in that file.
    pub offset: u64,
    /// Its canonical bytes.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// Something that cannot be read. The rest of its epoch is passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{file} at byte {offset}: {why} (record {sequence}); fix: see what `sluice audit verify` says of it", file = file.display())]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// Sequence of the leaf that should be there.
    pub sequence: u64,
    /// What is wrong.
    pub why: String,
}

/// Goes through a trail in the order in which it was written.
///
/// As an [`Iterator`] it ends at the end of what is there; [`Reader::poll`]
/// looks again.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    listing: Listing,
    /// The epoch that is read, and how far.
    current: Option<((u64, Uuid), EpochScan)>,
    /// The newest epoch that is done.
    done: Option<(u64, Uuid)>,
}

impl Reader {
    /// Starts at the first leaf.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn open(folder: &Path) -> Result<Self, TrailError> {
        let listing = Listing::read(folder).map_err(|error| TrailError::folder(folder, "listing it", &error))?;
        Ok(Self { folder: folder.to_owned(), listing, current: None, done: None })
    }

    /// The next leaf, also one that was written after the last call; `None`:
    /// there is none yet.
    pub fn poll(&mut self) -> Option<Result<Entry, Problem>> {
        match self.step() {
            None => {
                // What is listed from here on was written after the step
                // above found nothing, so nothing is passed over.
                match Listing::read(&self.folder) {
                    Ok(listing) => self.refresh(listing),
                    Err(error) => return Some(Err(self.unlistable(&error))),
                }
                self.step()
            }
            found => found,
        }
    }

    fn refresh(&mut self, listing: Listing) {
        if let Some((name, scan)) = &mut self.current
            && let Some(files) = listing.epochs.get(name)
        {
            scan.refresh(files.clone());
        }
        self.listing = listing;
    }

    fn unlistable(&self, error: &std::io::Error) -> Problem {
        Problem {
            file: self.folder.clone(),
            offset: 0,
            sequence: 0,
            why: format!("the folder cannot be listed: {error}"),
        }
    }

    fn step(&mut self) -> Option<Result<Entry, Problem>> {
        loop {
            let Some((name, scan)) = &mut self.current else {
                self.current = Some(self.next_epoch(self.done)?);
                continue;
            };
            let name = *name;
            match scan.next() {
                Ok(Some(Item::Head { .. })) => {}
                Ok(Some(Item::Leaf { at, bytes, hash, .. })) => {
                    return Some(match serde_json::from_slice::<Leaf>(bytes) {
                        Ok(leaf) => Ok(Entry { leaf, hash, file: at.path, offset: at.offset, bytes: bytes.to_vec() }),
                        Err(error) => {
                            let why = format!("the record cannot be read: {error}");
                            Err(Problem { file: at.path, offset: at.offset, sequence: scan.sequence, why })
                        }
                    });
                }
                Ok(None) => self.current = Some(self.next_epoch(Some(name))?),
                Err(stop) => {
                    self.done = Some(name);
                    self.current = None;
                    return Some(Err(problem(stop)));
                }
            }
        }
    }

    /// The first epoch after one that has a segment.
    fn next_epoch(&self, after: Option<(u64, Uuid)>) -> Option<((u64, Uuid), EpochScan)> {
        let mut later = self.listing.epochs.iter().filter(|(_, files)| !files.segments.is_empty());
        let (name, files) = later.find(|(name, _)| after.is_none_or(|after| **name > after))?;
        Some((*name, EpochScan::new(name.0, name.1, files.clone(), Mode::Live)))
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step()
    }
}

fn problem(stop: Stop) -> Problem {
    match stop {
        Stop::Damage(damage) => {
            Problem { file: damage.at.path, offset: damage.at.offset, sequence: damage.sequence, why: damage.why }
        }
        Stop::Unreadable(file, error) => Problem { file, offset: 0, sequence: 0, why: error.to_string() },
    }
}

/// Which entries are wanted: those that meet all that is set.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The record's id, or the id of the record it belongs to.
    pub id: Option<RecordId>,
    /// Kinds; empty means all.
    pub kinds: Vec<Kind>,
    /// `id`, `provider:id` or `kubernetesUser` of the subject.
    pub subject: Option<String>,
    /// Name or host of the target.
    pub target: Option<String>,
    /// `allow` or `deny`.
    pub verdict: Option<String>,
    /// `rule` or `policy/rule`.
    pub rule: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Anywhere in the leaf, whatever the case of ASCII letters.
    pub text: Option<String>,
}

/// Applies a [`Filter`] to the entries of a trail, in their order.
#[derive(Debug, Clone, Default)]
pub struct Search {
    filter: Filter,
    /// Intents that matched and whose outcome did not come yet: what belongs to
    /// them matches too, for it does not repeat who and where.
    related: HashSet<(Uuid, u64)>,
}

impl Search {
    /// A search that has seen nothing yet.
    pub fn new(filter: Filter) -> Self {
        Self { filter, related: HashSet::new() }
    }

    /// Whether an entry is wanted.
    pub fn matches(&mut self, entry: &Entry) -> bool {
        let leaf = &entry.leaf;
        let of = leaf.of.map(|of| (of.epoch, of.sequence));
        let belongs = of.is_some_and(|of| self.related.contains(&of));
        if let (Some(of), Kind::Outcome) = (of, leaf.kind) {
            self.related.remove(&of);
        }
        let about = belongs || self.filter.about(leaf);
        if about && leaf.kind == Kind::Intent && self.related.len() < RELATED {
            self.related.insert((leaf.epoch, leaf.sequence));
        }
        about && self.filter.itself(entry)
    }
}

impl Filter {
    /// What a leaf says of itself: time, kind, id, words.
    fn itself(&self, entry: &Entry) -> bool {
        let leaf = &entry.leaf;
        self.since.is_none_or(|since| leaf.at >= since)
            && self.until.is_none_or(|until| leaf.at < until)
            && (self.kinds.is_empty() || self.kinds.contains(&leaf.kind))
            && self.id.is_none_or(|id| leaf.id == id || leaf.of.is_some_and(|of| of.id == id))
            && self.text.as_deref().is_none_or(|text| contains(&entry.bytes, text.as_bytes()))
    }

    /// Who, where, which rule, what verdict.
    fn about(&self, leaf: &Leaf) -> bool {
        let text = |path: &[&str]| {
            let mut value = leaf.body.get(*path.first()?)?;
            for name in path.iter().skip(1) {
                value = value.get(name)?;
            }
            value.as_str()
        };
        let subject = |wanted: &String| {
            let id = text(&["command", "subject", "id"]);
            let provider = text(&["command", "subject", "provider"]);
            id == Some(wanted)
                || text(&["command", "subject", "kubernetesUser"]) == Some(wanted)
                || matches!((provider, id, wanted.split_once(':')), (Some(p), Some(i), Some(w)) if (p, i) == w)
        };
        let target = |wanted: &String| {
            text(&["command", "target", "name"]) == Some(wanted)
                || text(&["command", "target", "host"]) == Some(wanted)
                || leaf.body.get("target").and_then(Value::as_str) == Some(wanted)
        };
        let rule = |wanted: &String| {
            let (policy, rule) = (text(&["rule", "policy"]), text(&["rule", "rule"]));
            rule == Some(wanted)
                || matches!((policy, rule, wanted.rsplit_once('/')), (Some(p), Some(r), Some(w)) if (p, r) == w)
        };
        self.subject.as_ref().is_none_or(subject)
            && self.target.as_ref().is_none_or(target)
            && self.rule.as_ref().is_none_or(rule)
            && self.verdict.as_ref().is_none_or(|wanted| text(&["verdict"]) == Some(wanted))
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || bytes.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}

/// Most intents that a search remembers.
const RELATED: usize = 100_000;
