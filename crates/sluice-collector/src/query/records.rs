//! Walks through trails and writes what is wanted as JSON lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use sluice_audit::Kind;
use sluice_audit::read::{Entry, Filter, Problem, Reader, Search};
use sluice_wire::{OutOfBounds, RecordFilter, RecordLine};
use tokio::sync::mpsc::Sender;

use crate::store::{Meta, Store, StoredTrail};

/// Namespaces whose trails somebody may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Namespaces {
    All,
    These(BTreeSet<String>),
}

impl Namespaces {
    pub(super) fn holds(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(namespace),
        }
    }
}

/// Which records of which trails.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) namespaces: Namespaces,
    pub(super) namespace: Option<String>,
    pub(super) pod_uid: Option<String>,
    pub(super) filter: Filter,
    pub(super) limit: Option<u64>,
}

impl Wanted {
    pub(super) fn new(filter: &RecordFilter, namespaces: Namespaces) -> Result<Self, OutOfBounds> {
        let RecordFilter {
            subject, pod_uid, namespace, target, verdict, rule, kind, since, until, text, limit, ..
        } = filter.clone();
        Ok(Self {
            namespaces,
            namespace,
            pod_uid,
            filter: Filter {
                id: None,
                kinds: kinds(kind.as_deref())?,
                subject,
                target,
                verdict,
                rule,
                since,
                until,
                text,
            },
            limit,
        })
    }

    pub(super) fn has(&self, meta: &Meta) -> bool {
        self.namespaces.holds(&meta.namespace)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == meta.namespace)
            && self.pod_uid.as_ref().is_none_or(|uid| *uid == meta.uid)
    }
}

fn kinds(text: Option<&str>) -> Result<Vec<Kind>, OutOfBounds> {
    let kind = |word: &str| {
        serde_json::from_value(word.into())
            .map_err(|_| OutOfBounds::Form { field: "kind", what: "must be kinds of records, divided by commas" })
    };
    text.map_or(Ok(Vec::new()), |text| text.split(',').map(kind).collect())
}

/// A walk, and where it stands.
#[derive(Debug)]
pub(super) struct Walk {
    store: Arc<Store>,
    wanted: Wanted,
    out: Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
    /// Where only the newest are wanted, and all are not seen yet.
    newest: Option<Newest>,
    /// Of a walk that goes on, by UID.
    open: HashMap<String, Standing>,
}

/// Where a walk stands in a trail.
#[derive(Debug)]
struct Standing {
    reader: Reader,
    search: Search,
    /// How often the trail had grown when it was read.
    grown: u64,
}

/// The reader went away.
pub(super) struct Done;

/// The newest lines, by their records' time.
#[derive(Debug)]
struct Newest {
    limit: u64,
    lines: BTreeMap<(Timestamp, u64), Vec<u8>>,
    seen: u64,
    bytes: usize,
}

impl Newest {
    fn new(limit: u64) -> Self {
        Self { limit, lines: BTreeMap::new(), seen: 0, bytes: 0 }
    }

    fn take(&mut self, at: Timestamp, line: Vec<u8>) {
        self.seen += 1;
        self.bytes += line.len();
        self.lines.insert((at, self.seen), line);
        while self.lines.len() as u64 > self.limit || self.bytes > KEPT {
            let Some((_, oldest)) = self.lines.pop_first() else { return };
            self.bytes -= oldest.len();
        }
    }
}

impl Walk {
    pub(super) fn new(store: Arc<Store>, wanted: Wanted, out: Sender<io::Result<Bytes>>) -> Self {
        let newest = wanted.limit.map(Newest::new);
        Self { store, wanted, out, buffer: Vec::new(), newest, open: HashMap::new() }
    }

    /// How many trails it goes through.
    pub(super) fn trails(&self) -> Vec<Arc<StoredTrail>> {
        self.store.all().into_iter().filter(|trail| self.wanted.has(&trail.meta)).collect()
    }

    /// What may be read has changed.
    pub(super) fn narrow(&mut self, namespaces: Namespaces) {
        self.wanted.namespaces = namespaces;
    }

    /// Once through all, one trail after the other.
    pub(super) fn once(mut self) {
        for trail in self.trails() {
            if self.is_too_old(&trail) {
                continue;
            }
            let Ok(reader) = Reader::open(&trail.folder) else { continue };
            let mut search = Search::new(self.wanted.filter.clone());
            for found in reader {
                if self.found(&trail.meta, &mut search, found).is_err() {
                    return;
                }
            }
        }
        let _ = self.passed();
    }

    /// Goes on to what is new since the last call.
    pub(super) fn go_on(&mut self) -> Result<(), Done> {
        for trail in self.trails() {
            let grown = trail.grown();
            let uid = &trail.meta.uid;
            let mut standing = match self.open.remove(uid) {
                Some(standing) if grown.is_some() && grown == Some(standing.grown) => {
                    self.open.insert(uid.clone(), standing);
                    continue;
                }
                Some(standing) => standing,
                None => {
                    let Ok(reader) = Reader::open(&trail.folder) else { continue };
                    Standing { reader, search: Search::new(self.wanted.filter.clone()), grown: 0 }
                }
            };
            while let Some(found) = standing.reader.poll() {
                self.found(&trail.meta, &mut standing.search, found)?;
            }
            standing.grown = grown.unwrap_or(0);
            self.open.insert(uid.clone(), standing);
        }
        self.passed()
    }

    /// All is seen: what was kept back goes out.
    fn passed(&mut self) -> Result<(), Done> {
        for line in self.newest.take().map(|newest| newest.lines).unwrap_or_default().into_values() {
            self.buffer.extend(line);
            if self.buffer.len() >= PIECE {
                self.flush()?;
            }
        }
        self.flush()
    }

    /// Whether nothing of it can be new enough, by the collector's own clock; a
    /// pod's may be wrong by some minutes.
    fn is_too_old(&self, trail: &StoredTrail) -> bool {
        let Some(since) = self.wanted.filter.since else { return false };
        let summary = self.store.summary(trail);
        let newest = summary.epochs.iter().map(|epoch| epoch.last_heard).max().unwrap_or(Timestamp::MAX);
        newest.checked_add(SKEW).is_ok_and(|newest| newest < since)
    }

    fn found(&mut self, meta: &Meta, search: &mut Search, found: Result<Entry, Problem>) -> Result<(), Done> {
        match found {
            Ok(entry) if search.matches(&entry) => self.entry(meta, &entry),
            Ok(_) if self.out.is_closed() => return Err(Done),
            Ok(_) => return Ok(()),
            Err(problem) => {
                let mut line = line(meta, &problem.file, problem.offset);
                line.problem = Some(problem.to_string());
                self.buffer.extend(serde_json::to_vec(&line).unwrap_or_default());
                self.buffer.push(b'\n');
            }
        }
        if self.buffer.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    /// The leaf goes out as the bytes that it is stored as.
    fn entry(&mut self, meta: &Meta, entry: &Entry) {
        let mut line = line(meta, &entry.file, entry.offset);
        line.hash = entry.hash.to_string();
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.pop();
        text.extend_from_slice(b",\"record\":");
        text.extend_from_slice(&entry.bytes);
        text.extend_from_slice(b"}\n");
        match &mut self.newest {
            Some(newest) => newest.take(entry.leaf.at, text),
            None => self.buffer.extend(text),
        }
    }

    fn flush(&mut self) -> Result<(), Done> {
        if self.buffer.is_empty() {
            return if self.out.is_closed() { Err(Done) } else { Ok(()) };
        }
        let piece = std::mem::take(&mut self.buffer);
        self.out.blocking_send(Ok(piece.into())).map_err(|_| Done)
    }
}

fn line(meta: &Meta, file: &Path, offset: u64) -> RecordLine {
    RecordLine {
        pod_uid: meta.uid.clone(),
        namespace: meta.namespace.clone(),
        pod: meta.pod.clone(),
        file: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        offset,
        hash: String::new(),
        record: serde_json::Value::Null,
        problem: None,
    }
}

/// Bytes of lines that are kept back where only the newest are wanted.
const KEPT: usize = 8 << 20;
/// Bytes that are gathered before they are sent.
const PIECE: usize = 32 * 1024;
/// How wrong a pod's clock may be.
const SKEW: SignedDuration = SignedDuration::from_mins(10);
/// How often a walk that goes on looks for what it was not told of.
pub(super) const LOOK: Duration = Duration::from_secs(15);
