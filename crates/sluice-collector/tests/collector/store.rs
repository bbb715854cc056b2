//! What is taken, and what is not.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sluice_audit::{Durability, Kind, Record, Trail, TrailOptions};
use sluice_collector::store::{Change, Store, StoreError, StoreOptions};
use sluice_core::ManualClock;
use sluice_wire::{BatchStart, Identity, IngestRefusal, TRUST_DOMAIN};

use crate::bed::{assert_code, identity, joined, numbers, opened, options, workload, written};

#[tokio::test]
async fn pieces_are_taken_once_and_acknowledged_as_often_as_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let (store, pod) = (opened(options(folder.path())).await, identity("agents", "a1"));
    let epochs = written(workload("agents", "a1"), 2, 60, 9_000).await;
    assert!(epochs[0].pieces.iter().any(|(start, _)| start.segment > 1));
    for written in &epochs {
        for (start, bytes) in &written.pieces {
            let first = store.accept(&pod, start, bytes).unwrap();
            assert_eq!((first.bytes, first.missing), (bytes.len() as u64, None));
            let again = store.accept(&pod, start, bytes).unwrap();
            assert_eq!((again.acknowledged, again.bytes, again.leaves), (first.acknowledged, 0, 0));
        }
        // The whole segment again, as after a restart of the sender.
        let (start, bytes) = joined(written);
        assert_eq!(store.accept(&pod, &start, &bytes).unwrap().bytes, 0);
    }
    let trail = folder.path().join("a1");
    assert_code(&trail, 0);
    assert_eq!(numbers(&trail), (0..60).chain(0..60).collect::<Vec<_>>());
    let summary = store.summary(&store.get("a1").unwrap());
    assert_eq!((summary.namespace.as_str(), summary.pod.as_str(), summary.epochs.len()), ("agents", "pod-a1", 2));
    assert!(summary.epochs.iter().all(|epoch| epoch.ended && epoch.files.len() > 2), "{summary:?}");
    // A batch that overlaps what is stored brings the rest.
    let other = tempfile::tempdir().unwrap();
    let store = opened(options(other.path())).await;
    let (start, bytes) = &epochs[0].pieces[0];
    store.accept(&pod, start, bytes).unwrap();
    let (start, whole) = joined(&epochs[0]);
    assert_eq!(store.accept(&pod, &start, &whole).unwrap().bytes, (whole.len() - bytes.len()) as u64);
}

#[tokio::test]
async fn another_history_is_a_fork() {
    let folder = tempfile::tempdir().unwrap();
    let (store, pod) = (opened(options(folder.path())).await, identity("agents", "a1"));
    let [mine, next] = &written(workload("agents", "a1"), 2, 5, 10).await[..] else { panic!() };
    let [other] = &written(workload("agents", "a1"), 1, 5, 10).await[..] else { panic!() };
    let mut newest = 0;
    for (start, bytes) in &mine.pieces[..3] {
        newest = store.accept(&pod, start, bytes).unwrap().acknowledged;
    }
    // Another epoch in the same place, and the same place with other bytes.
    let (start, bytes) = &other.pieces[0];
    assert!(matches!(store.accept(&pod, start, bytes), Err(IngestRefusal::Fork { sequence: 1 })));
    let start = BatchStart { epoch: mine.epoch, ..other.pieces[1].0 };
    let forked = store.accept(&pod, &BatchStart { offset: mine.pieces[1].0.offset, ..start }, &other.pieces[1].1);
    assert!(matches!(forked, Err(IngestRefusal::Fork { .. })), "{forked:?}");
    let mut changed = mine.pieces[2].1.clone();
    changed[20] ^= 1;
    let forked = store.accept(&pod, &mine.pieces[2].0, &changed);
    assert!(matches!(forked, Err(IngestRefusal::Fork { sequence }) if sequence == newest), "{forked:?}");
    // An epoch to which a later one was added is closed.
    for (start, bytes) in mine.pieces[3..mine.pieces.len() - 1].iter().chain(&next.pieces[..1]) {
        drop(store.accept(&pod, start, bytes));
    }
    let (start, bytes) = mine.pieces.last().unwrap();
    let late = store.accept(&pod, start, bytes);
    assert!(matches!(late, Err(IngestRefusal::Fork { .. })), "{late:?}");
}

#[tokio::test]
async fn what_is_missing_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (store, pod) = (opened(options(folder.path())).await, identity("agents", "a1"));
    let [written] = &written(workload("agents", "a1"), 1, 60, 9_000).await[..] else { panic!() };
    let (start, bytes) = &written.pieces[1];
    assert!(matches!(store.accept(&pod, start, bytes), Err(IngestRefusal::Gap { expected: 1 })));
    assert!(store.get("a1").is_none() && !folder.path().join("a1").exists());
    let first = store.accept(&pod, &written.pieces[0].0, &written.pieces[0].1).unwrap().acknowledged;
    for (start, bytes) in [&written.pieces[2], written.pieces.last().unwrap()] {
        let gap = store.accept(&pod, start, bytes);
        assert!(matches!(gap, Err(IngestRefusal::Gap { expected }) if expected == first + 1), "{gap:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (store, pod) = (opened(options(folder.path())).await, identity("agents", "a1"));
    let [written] = &written(workload("agents", "a1"), 1, 5, 10).await[..] else { panic!() };
    let (start, bytes) = &written.pieces[0];
    for len in 0..bytes.len() {
        assert!(store.accept(&pod, start, &bytes[..len]).is_err(), "{len}");
    }
    // A head's signature, in base64 before its last line feed.
    let mut changed = bytes.clone();
    let at = changed.len() - 20;
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    assert!(store.accept(&pod, start, &changed).is_err());
    assert!(!folder.path().join("a1").exists());
    store.accept(&pod, start, bytes).unwrap();
    let unsigned = &written.pieces[1].1;
    // Without its head: the last frame is the head of 1 line and 5 more.
    let cut = unsigned.windows(13).position(|window| window == b"sluice-head-1").unwrap() - 8;
    let refused = store.accept(&pod, &written.pieces[1].0, &unsigned[..cut]);
    assert!(matches!(refused, Err(IngestRefusal::BadSignature { .. })), "{refused:?}");
    let rest = BatchStart { rest: true, ..written.pieces[1].0 };
    assert_eq!(store.accept(&pod, &rest, &unsigned[..cut]).unwrap().leaves, 1);
}

#[tokio::test]
async fn each_pod_has_its_own_trail_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(options(folder.path())).await;
    let [of_a] = &written(workload("agents", "a1"), 1, 3, 10).await[..] else { panic!() };
    let (start, bytes) = &of_a.pieces[0];
    let not_yours = |peer: Identity| {
        let refused = store.accept(&peer, start, bytes);
        assert!(matches!(refused, Err(IngestRefusal::NotYours { .. })), "{peer}: {refused:?}");
    };
    not_yours(identity("agents", "b2"));
    not_yours(identity("others", "a1"));
    not_yours(Identity::Collector { trust_domain: TRUST_DOMAIN.into() });
    store.accept(&identity("agents", "a1"), start, bytes).unwrap();
    // The control plane hands in its own, and nobody else's.
    not_yours(Identity::Control { trust_domain: TRUST_DOMAIN.into() });
    let control = Identity::Control { trust_domain: TRUST_DOMAIN.into() };
    for uid in ["c1", "c2"] {
        let [own] = &written(workload("sluice-system", uid), 1, 3, 10).await[..] else { panic!() };
        for (start, bytes) in &own.pieces {
            store.accept(&control, start, bytes).unwrap();
        }
        assert_code(&folder.path().join(uid), 0);
    }
    let [odd] = &written(workload("sluice-system", "../../etc"), 1, 3, 10).await[..] else { panic!() };
    let refused = store.accept(&control, &odd.pieces[0].0, &odd.pieces[0].1);
    assert!(matches!(refused, Err(IngestRefusal::NotYours { .. })), "{refused:?}");
}

#[tokio::test]
async fn one_pod_cannot_fill_it_and_all_together_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let limits = StoreOptions { bytes_per_pod: 200_000, bytes: Some(1_000_000), trails: 3, ..options(folder.path()) };
    let store = opened(limits).await;
    let mut refused = 0;
    for uid in ["a1", "a2", "a3", "a4"] {
        let [written] = &written(workload("agents", uid), 1, 40, 9_000).await[..] else { panic!() };
        for (start, bytes) in &written.pieces {
            match store.accept(&identity("agents", uid), start, bytes) {
                Ok(_) => {}
                Err(IngestRefusal::Full { message }) => {
                    assert!(message.contains("fix:"), "{message}");
                    refused += 1;
                }
                Err(IngestRefusal::Gap { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    assert!(refused >= 4 && store.get("a4").is_none(), "{refused}");
    assert!(store.room().taken() <= 3 * 204_800, "{}", store.room().taken());
    for uid in ["a1", "a2", "a3"] {
        assert_code(&folder.path().join(uid), 5);
    }
}

#[tokio::test]
async fn a_start_goes_on_from_what_the_files_say() {
    let folder = tempfile::tempdir().unwrap();
    let pod = identity("agents", "a1");
    let [written] = &written(workload("agents", "a1"), 1, 60, 9_000).await[..] else { panic!() };
    // Each piece is stored by another process, and each leaves something behind.
    for (number, (start, bytes)) in written.pieces.iter().enumerate() {
        let store = opened(options(folder.path())).await;
        store.accept(&pod, start, bytes).unwrap();
        assert!(matches!(Store::open(options(folder.path())), Err(StoreError::Locked(_))));
        drop(store);
        let trail = folder.path().join("a1");
        let newest = trail.join(sluice_audit::intake::segment_name(1, written.epoch, start.segment));
        let Some((next, following)) = written.pieces.get(number + 1) else { break };
        match number % 4 {
            // Half a batch, a batch that was never acknowledged, zeros.
            0 if next.segment == start.segment => append(&newest, &following[..following.len() / 2]),
            1 if next.segment == start.segment => append(&newest, following),
            2 => append(&newest, &[0; 5000]),
            _ => {
                std::fs::write(newest.with_extension("seg.new"), b"half").unwrap();
                std::fs::create_dir(folder.path().join(".making-b2")).unwrap();
                let other = sluice_audit::intake::key_name(2, uuid::Uuid::from_u128(7));
                std::fs::write(trail.join(other), b"half").unwrap();
            }
        }
    }
    assert_code(&folder.path().join("a1"), 0);
    assert_eq!(numbers(&folder.path().join("a1")), (0..60).collect::<Vec<_>>());
    assert!(!folder.path().join(".making-b2").exists());
    // Damage that no kill leaves behind is not cut off.
    let newest = folder.path().join("a1").join(sluice_audit::intake::segment_name(1, written.epoch, 1));
    append(&newest, &[7; 10]);
    let len = std::fs::metadata(&newest).unwrap().len();
    let store = opened(options(folder.path())).await;
    store.load();
    assert_eq!(std::fs::metadata(&newest).unwrap().len(), len);
}

fn append(path: &std::path::Path, bytes: &[u8]) {
    use std::io::Write;
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[tokio::test]
async fn a_sidecar_that_vanishes_is_silent_and_one_that_ends_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let store = opened(StoreOptions { clock: clock.clone(), ..options(folder.path()) }).await;
    let mut last = None;
    for (uid, all) in [("a1", true), ("a2", false)] {
        let [written] = &written(workload("agents", uid), 1, 3, 10).await[..] else { panic!() };
        for (start, bytes) in &written.pieces {
            if !all && bytes.windows(12).any(|window| window == b"\"kind\":\"end\"") {
                last = Some((*start, bytes.clone()));
                break;
            }
            store.accept(&identity("agents", uid), start, bytes).unwrap();
        }
    }
    clock.advance(Duration::from_secs(90));
    assert!(store.judge_silence("").is_empty());
    clock.advance(Duration::from_secs(1));
    let changed = store.judge_silence("");
    assert!(matches!(&changed[..], [one] if one.trail.meta.uid == "a2" && one.change == Change::Silent), "{changed:?}");
    assert!(store.judge_silence("").is_empty(), "it is said once");
    assert!(store.summary(&store.get("a2").unwrap()).silent && !store.summary(&store.get("a1").unwrap()).silent);
    assert_eq!(store.totals().silent, 1);
    let (start, bytes) = last.unwrap();
    store.accept(&identity("agents", "a2"), &start, &bytes).unwrap();
    assert!(!store.summary(&store.get("a2").unwrap()).silent);
    assert_eq!(store.totals().silent, 0);
    // A start listens anew before it says so.
    drop(store);
    let store = opened(StoreOptions { clock: clock.clone(), ..options(folder.path()) }).await;
    store.load();
    assert!(store.judge_silence("").is_empty());
}

#[tokio::test]
async fn damage_of_what_was_acknowledged_is_no_batch_that_was_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let pod = identity("agents", "a1");
    let [written] = &written(workload("agents", "a1"), 1, 20, 900).await[..] else { panic!() };
    let trail = folder.path().join("a1");
    let segment = trail.join(sluice_audit::intake::segment_name(1, written.epoch, 1));
    let (last, before) = written.pieces.split_last().unwrap();
    let reopened = || async {
        let store = opened(options(folder.path())).await;
        store.load();
        store
    };
    let store = reopened().await;
    for (start, bytes) in before {
        store.accept(&pod, start, bytes).unwrap();
    }
    drop(store);
    // A batch that nobody acknowledged.
    append(&segment, &last.1[..last.1.len() / 2]);
    let store = reopened().await;
    assert_eq!(store.totals().damaged, 0);
    store.accept(&pod, &last.0, &last.1).unwrap();
    drop(store);
    // One flipped bit in the middle, and a file that ends too early.
    let whole = std::fs::read(&segment).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() / 2]] {
        std::fs::write(&segment, damaged).unwrap();
        let store = reopened().await;
        assert_eq!(store.totals().damaged, 1);
        assert!(store.summary(&store.get("a1").unwrap()).damaged);
        // The sidecar still has them.
        let (start, bytes) = joined(written);
        assert!(store.accept(&pod, &start, &bytes).unwrap().bytes > 0);
        assert_code(&trail, 0);
        drop(store);
        // It stays said, once, until a person has looked.
        assert_eq!(reopened().await.totals().damaged, 1);
        let notes = std::fs::read_dir(&trail).unwrap().map(|entry| entry.unwrap().path());
        let notes: Vec<_> = notes.filter(|path| path.to_string_lossy().contains("damage-")).collect();
        assert_eq!(notes.len(), 1, "{notes:?}");
        std::fs::remove_file(&notes[0]).unwrap();
        assert_eq!(reopened().await.totals().damaged, 0);
    }
    // All of it gone.
    std::fs::remove_file(&segment).unwrap();
    let store = reopened().await;
    assert_eq!(store.totals().damaged, 1);
    // A folder that does not say whose it is.
    std::fs::create_dir(folder.path().join("b2")).unwrap();
    std::fs::write(folder.path().join("b2").join("meta.json"), b"").unwrap();
    drop(store);
    assert_eq!(reopened().await.totals().damaged, 2);
}

#[tokio::test]
async fn a_pod_whose_name_is_none_has_no_trail() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(options(folder.path())).await;
    let named = sluice_core::Workload { pod: "\u{202e}a".repeat(2_000), ..workload("agents", "a1") };
    let [written] = &written(named, 1, 1, 10).await[..] else { panic!() };
    let (start, bytes) = &written.pieces[0];
    let refused = store.accept(&identity("agents", "a1"), start, bytes);
    assert!(matches!(&refused, Err(IngestRefusal::NotYours { message }) if message.len() < 1_000), "{refused:?}");
    assert!(store.get("a1").is_none());
}

#[tokio::test]
async fn a_sidecar_does_not_speak_for_the_control_plane() {
    let (folder, spool) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = opened(options(folder.path())).await;
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let mut trail = TrailOptions::new(workload("agents", "a1"), "test", clock);
    trail.heads_every = 1;
    let (trail, _) = Trail::open(spool.path(), trail).unwrap();
    let start = BatchStart { epoch: trail.epoch(), ordinal: 1, segment: 1, offset: 0, rest: false };
    trail.append(Record::new(Kind::Policy).with("operation", "DELETE"), Durability::Process).await.unwrap();
    trail.end().await.unwrap();
    let bytes = std::fs::read(spool.path().join(sluice_audit::intake::segment_name(1, start.epoch, 1))).unwrap();
    let refused = store.accept(&identity("agents", "a1"), &start, &bytes);
    assert!(matches!(&refused, Err(IngestRefusal::NotYours { message }) if message.contains("policy")), "{refused:?}");
    let control = Identity::Control { trust_domain: TRUST_DOMAIN.into() };
    let other = tempfile::tempdir().unwrap();
    let store = opened(options(other.path())).await;
    assert!(store.accept(&control, &start, &bytes).unwrap().leaves > 1);
}
