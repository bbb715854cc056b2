//! Shipping to a collector that is a folder in this process: what arrives is
//! what was written, byte for byte, whatever happens on the way.

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{assert_code, command, entries, intent, options, outcome, segments};
use sluice_audit::intake::{Intake, Piece, Refusal, key_name, says_the_same, segment_name};
use sluice_audit::ship::{Batch, SendError, ShipOptions, Shipper, Shipping, Transport};
use sluice_audit::verify::verify;
use sluice_audit::{Durability, Kind, Trail, TrailError, TrailOptions};
use uuid::Uuid;

/// Takes pieces into a folder, as a collector does.
#[derive(Clone)]
struct Collector {
    folder: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    epochs: HashMap<Uuid, Intake>,
    /// Answers as if it could not be reached.
    away: bool,
    /// Takes the next batch and loses the answer.
    deaf: u32,
}

impl Collector {
    fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), state: Arc::default() }
    }

    fn away(&self, away: bool) {
        self.state.lock().unwrap().away = away;
    }

    fn take(&self, batch: &Batch) -> Result<u64, SendError> {
        let mut state = self.state.lock().unwrap();
        if state.away {
            return Err(SendError::Unreachable("away".into()));
        }
        let known = state.epochs.entry(batch.epoch).or_insert_with(|| Intake::new(batch.ordinal, batch.epoch)).clone();
        let path = self.folder.join(segment_name(batch.ordinal, batch.epoch, batch.segment));
        let mut file = std::fs::read(&path).unwrap_or_default();
        let offset = usize::try_from(batch.offset).unwrap();
        let mut sent = &batch.bytes[..];
        let mut at = offset;
        if offset < file.len() {
            let overlap = (file.len() - offset).min(sent.len());
            assert!(says_the_same(&file[offset..offset + overlap], &sent[..overlap], offset == 0));
            (sent, at) = (&sent[overlap..], offset + overlap);
        }
        let mut sequence = known.sequence;
        if !sent.is_empty() {
            let piece = Piece { segment: batch.segment, offset: at as u64, bytes: sent, rest: batch.rest };
            match known.take(piece) {
                Ok(taken) => {
                    if let Some(enrolled) = taken.enrolled {
                        let name = key_name(batch.ordinal, batch.epoch);
                        std::fs::write(self.folder.join(name), enrolled.key.to_pem()).unwrap();
                    }
                    file.extend_from_slice(sent);
                    std::fs::write(&path, &file).unwrap();
                    sequence = taken.next.sequence;
                    state.epochs.insert(batch.epoch, taken.next);
                }
                Err(Refusal::Gap { expected }) => return Err(SendError::Gap { expected }),
                Err(other) => panic!("{other}"),
            }
        }
        if state.deaf > 0 {
            state.deaf -= 1;
            return Err(SendError::Unreachable("the answer was lost".into()));
        }
        Ok(sequence)
    }
}

impl Transport for Collector {
    async fn send(&mut self, batch: &Batch) -> Result<u64, SendError> {
        assert!(batch.bytes.len() <= sluice_audit::ship::MAX_BATCH);
        self.take(batch)
    }
}

/// Says that it has all up to this record, whatever it was sent.
struct Says(Collector, u64);

impl Transport for Says {
    async fn send(&mut self, batch: &Batch) -> Result<u64, SendError> {
        self.0.take(batch).map(|_| self.1)
    }
}

fn shipped() -> TrailOptions {
    TrailOptions { collector_wait: Some(WAIT), ..options() }
}

fn start(trail: &Trail, collector: &Collector) -> Shipping {
    start_with(trail, collector.clone())
}

fn start_with(trail: &Trail, transport: impl Transport) -> Shipping {
    let options = ShipOptions {
        linger: Duration::from_millis(1),
        pause: Duration::from_millis(2),
        heartbeat: Duration::from_secs(3_600),
    };
    Shipper::start(trail, options, transport)
}

/// Generous: nothing here depends on how fast the machine is.
const WAIT: Duration = Duration::from_secs(60);

async fn acknowledged(shipping: &Shipping, epoch: Uuid, sequence: u64) {
    let mut status = shipping.status();
    let reached = status.wait_for(|s| s.acknowledged.is_some_and(|(e, s)| e == epoch && s >= sequence));
    tokio::time::timeout(WAIT, reached).await.expect("in time").expect("shipper");
}

/// Waits until the writer has given back all but `left` segments.
async fn freed(folder: &Path, left: usize) {
    let waited = tokio::time::timeout(WAIT, async {
        while segments(folder).len() > left {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{:?}", segments(folder)));
}

#[tokio::test]
async fn what_arrives_is_what_was_written() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Nothing is given back while nothing is acknowledged.
    let collector = Collector::new(store.path());
    collector.away(true);
    let (trail, _) = Trail::open(folder.path(), shipped()).unwrap();
    let shipping = start(&trail, &collector);
    for _ in 0..60 {
        command(&trail, "alice", 9_000, Durability::Process).await;
    }
    trail.clone().end().await.unwrap();
    let copy = common::copy(folder.path());
    assert!(segments(copy.path()).len() > 2);
    collector.state.lock().unwrap().deaf = 3;
    collector.away(false);
    assert!(shipping.drain(WAIT).await);
    let (sent, here) = (common::files(store.path()), common::files(copy.path()));
    assert_eq!(sent.len(), here.iter().filter(|path| !path.ends_with("acknowledged.json")).count());
    for path in sent {
        let original = copy.path().join(path.file_name().unwrap());
        assert!(std::fs::read(&path).unwrap() == std::fs::read(original).unwrap(), "{path:?}");
    }
    assert_code(store.path(), None, 0);
}

#[tokio::test]
async fn acknowledged_segments_are_given_back_and_nothing_is_lost() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let collector = Collector::new(store.path());
    // Room for four segments; ten times as much is written.
    let options = || TrailOptions { capacity_bytes: 4 * 256 * 1024, ..shipped() };
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    let shipping = start(&trail, &collector);
    let held = trail.intent(intent("bob", "aks", 10), Durability::Process).await.unwrap();
    let mut written = 0;
    while written < 10 * 1024 * 1024 {
        match trail.intent(intent("alice", "aks", 9_000), Durability::Collector).await {
            Ok(open) => drop(open.outcome(outcome(b"pods"), Durability::Process).await.unwrap()),
            Err(error) => panic!("{error}"),
        }
        written += 9_000;
    }
    freed(folder.path(), 2).await;
    let report = verify(folder.path(), None);
    assert!([4, 5].contains(&report.exit_code()), "{report}");
    let epoch = trail.epoch();
    // Killed, with an intent open whose segment is not there any more.
    std::mem::forget(held);
    drop(shipping);
    let crashed = common::copy(folder.path());
    let (trail, recovery) = Trail::open(crashed.path(), options()).unwrap();
    assert_eq!((recovery.crashed, recovery.gaps.len()), (true, 0), "{recovery:?}");
    assert!(recovery.unknown.iter().any(|of| of.epoch == epoch && of.sequence == 3), "{recovery:?}");
    let shipping = start(&trail, &collector);
    let second = trail.epoch();
    trail.clone().end().await.unwrap();
    assert!(shipping.drain(WAIT).await);
    let report = assert_code(store.path(), None, 4);
    assert_eq!((report.epochs, report.unknown, report.open_intents), (2, 1, 0), "{report}");
    assert_eq!(report.findings.len(), 1, "{report}");
    assert!(entries(store.path()).iter().any(|entry| entry.leaf.epoch == second && entry.leaf.kind == Kind::End));
}

#[tokio::test]
async fn earlier_epochs_are_shipped_with_their_keys_and_given_back() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let collector = Collector::new(store.path());
    let mut epochs = Vec::new();
    // Written before there was a collector: one ended, one killed.
    for ends in [true, false] {
        let (trail, _) = Trail::open(folder.path(), options()).unwrap();
        epochs.push(trail.epoch());
        for _ in 0..40 {
            command(&trail, "alice", 9_000, Durability::Process).await;
        }
        if ends { trail.end().await.unwrap() } else { drop(trail) }
    }
    let (trail, _) = Trail::open(folder.path(), shipped()).unwrap();
    epochs.push(trail.epoch());
    let shipping = start(&trail, &collector);
    trail.append(sluice_audit::Record::new(Kind::Heartbeat), Durability::Collector).await.unwrap();
    freed(folder.path(), 1).await;
    // The next start knows its predecessor, also when that one is gone.
    trail.end().await.unwrap();
    assert!(shipping.drain(WAIT).await);
    for _ in 0..3 {
        let (trail, recovery) = Trail::open(folder.path(), shipped()).unwrap();
        assert!(!recovery.crashed && recovery.gaps.is_empty(), "{recovery:?}");
        epochs.push(trail.epoch());
        let shipping = start(&trail, &collector);
        trail.append(sluice_audit::Record::new(Kind::Heartbeat), Durability::Collector).await.unwrap();
        freed(folder.path(), 1).await;
        trail.end().await.unwrap();
        assert!(shipping.drain(WAIT).await);
    }
    let report = assert_code(store.path(), None, 0);
    assert_eq!(report.epochs, epochs.len() as u64);
}

#[tokio::test]
async fn a_collector_that_is_away_denies_in_time_and_says_why() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let collector = Collector::new(store.path());
    collector.away(true);
    let options = TrailOptions { collector_wait: Some(Duration::from_millis(50)), ..options() };
    let (trail, _) = Trail::open(folder.path(), options).unwrap();
    let shipping = start(&trail, &collector);
    let error = trail.intent(intent("alice", "aks", 10), Durability::Collector).await.unwrap_err();
    assert!(matches!(error, TrailError::Unacknowledged { sequence: 3, .. }) && error.is_temporary(), "{error}");
    assert!(error.to_string().contains("fix:"), "{error}");
    // Reads go on.
    command(&trail, "alice", 10, Durability::Process).await;
    collector.away(false);
    acknowledged(&shipping, trail.epoch(), 6).await;
    trail.end().await.unwrap();
    assert!(shipping.drain(WAIT).await);
    assert_code(store.path(), None, 0);
    let outcome = entries(store.path()).into_iter().find(|entry| entry.leaf.sequence == 4).unwrap();
    assert_eq!(outcome.leaf.body["outcome"], "abandoned");

    let (trail, _) = Trail::open(folder.path(), common::options()).unwrap();
    let error = trail.intent(intent("alice", "aks", 10), Durability::Collector).await.unwrap_err();
    assert!(matches!(error, TrailError::NoCollector { .. }), "{error}");
}

#[tokio::test]
async fn a_collector_that_lost_its_end_gets_it_again_and_one_that_lost_more_is_told() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let collector = Collector::new(store.path());
    let (trail, _) = Trail::open(folder.path(), shipped()).unwrap();
    let shipping = start(&trail, &collector);
    for _ in 0..5 {
        command(&trail, "alice", 10, Durability::Collector).await;
    }
    // Back to the state of an earlier backup.
    let (epoch, name) = (trail.epoch(), segment_name(1, trail.epoch(), 1));
    {
        let mut state = collector.state.lock().unwrap();
        std::fs::remove_file(store.path().join(name)).unwrap();
        state.epochs.insert(epoch, Intake::new(1, epoch));
    }
    command(&trail, "alice", 10, Durability::Collector).await;
    assert_eq!(entries(store.path()).len(), 2 + 6 * 2);
    for _ in 0..60 {
        command(&trail, "alice", 9_000, Durability::Collector).await;
    }
    freed(folder.path(), 1).await;
    collector.state.lock().unwrap().epochs.insert(epoch, Intake::new(1, epoch));
    for file in segments(store.path()) {
        std::fs::remove_file(file).unwrap();
    }
    trail.append(sluice_audit::Record::new(Kind::Heartbeat), Durability::Process).await.unwrap();
    let mut status = shipping.status();
    let told = status.wait_for(|status| status.failing.as_ref().is_some_and(|why| why.contains("restore")));
    tokio::time::timeout(WAIT, told).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_counts_as_stored_that_was_not_sent() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (trail, _) = Trail::open(folder.path(), shipped()).unwrap();
    let shipping = start_with(&trail, Says(Collector::new(store.path()), u64::MAX));
    for number in 1..=60 {
        command(&trail, "alice", 9_000, Durability::Collector).await;
        let newest = entries(store.path()).last().map(|entry| entry.leaf.sequence);
        assert!(newest >= Some(1 + 2 * number), "{newest:?}, {number}");
    }
    trail.end().await.unwrap();
    assert!(shipping.drain(WAIT).await);
    assert_code(store.path(), None, 0);
}

#[tokio::test]
async fn a_collector_that_has_less_than_it_was_sent_is_failing() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (trail, _) = Trail::open(folder.path(), shipped()).unwrap();
    let shipping = start_with(&trail, Says(Collector::new(store.path()), 0));
    let mut status = shipping.status();
    let told = status.wait_for(|status| status.failing.as_ref().is_some_and(|why| why.contains("has 0")));
    tokio::time::timeout(WAIT, told).await.unwrap().unwrap();
    assert_eq!(shipping.status().borrow().acknowledged, None);
}

/// Each check of the intake, by one changed byte or wrong place.
#[tokio::test]
async fn no_changed_byte_is_taken() {
    let (folder, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let collector = Collector::new(store.path());
    let (trail, _) = Trail::open(folder.path(), shipped()).unwrap();
    let epoch = trail.epoch();
    let shipping = start(&trail, &collector);
    command(&trail, "alice", 10, Durability::Process).await;
    trail.end().await.unwrap();
    assert!(shipping.drain(WAIT).await);
    let bytes = std::fs::read(store.path().join(segment_name(1, epoch, 1))).unwrap();
    let new = Intake::new(1, epoch);
    fn piece(bytes: &[u8]) -> Piece<'_> {
        Piece { segment: 1, offset: 0, bytes, rest: false }
    }
    let taken = new.take(piece(&bytes)).unwrap();
    assert!(taken.next.ended);
    assert_eq!(Intake::resume(store.path(), 1, epoch).unwrap(), Some(taken.next.clone()));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(new.take(piece(&changed)).is_err(), "byte {at}");
        // What ends after a head is a piece, but not all.
        let cut = new.take(piece(&bytes[..at]));
        assert!(cut.is_err() || cut.is_ok_and(|cut| !cut.next.ended || at as u64 == cut.next.offset), "cut at {at}");
    }
    let twice = taken.next.take(Piece { segment: 1, offset: bytes.len() as u64, bytes: &bytes, rest: false });
    assert!(matches!(twice, Err(Refusal::Malformed { .. })), "{twice:?}");
    let later = new.take(Piece { segment: 2, offset: 0, bytes: &bytes, rest: false });
    assert_eq!(later.unwrap_err(), Refusal::Gap { expected: 1 });
}
