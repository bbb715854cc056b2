//! Writing, reading back, judging.

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use common::{assert_code, command, entries, intent, options, outcome, segments};
use sluice_audit::read::{Filter, Reader, Search};
use sluice_audit::{Durability, Hash, Kind, Progress, Record, Trail, TrailError};
use sluice_core::ManualClock;

#[tokio::test]
async fn what_was_written_is_read_back_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, recovery) = Trail::open(folder.path(), options()).unwrap();
    assert_eq!((recovery.ordinal, recovery.crashed), (1, false));
    let config = trail.append(Record::new(Kind::Config).with("revision", "r1"), Durability::Disk).await.unwrap();
    let open = trail.intent(intent("alice", "aks", 10), Durability::Process).await.unwrap();
    let progress = Record::progress(&Progress { bytes: 5, ..Progress::default() });
    let progress = open.progress(progress, Durability::Process).await.unwrap();
    let of = open.of();
    let closed = open.outcome(outcome(b"pods"), Durability::Disk).await.unwrap();
    let status = trail.status();
    assert_eq!((status.open_intents, status.abandoned), (0, 0));
    assert!(status.full.is_none() && status.failed.is_none());
    trail.end().await.unwrap();

    let entries = entries(folder.path());
    let kinds: Vec<Kind> = entries.iter().map(|entry| entry.leaf.kind).collect();
    assert_eq!(
        kinds,
        [Kind::Enrol, Kind::Recovered, Kind::Config, Kind::Intent, Kind::Progress, Kind::Outcome, Kind::End]
    );
    for (entry, receipt) in [(&entries[2], config), (&entries[4], progress), (&entries[5], closed)] {
        assert_eq!((entry.leaf.id, entry.leaf.sequence), (receipt.id, receipt.sequence));
        assert_eq!(entry.hash, Hash(receipt.leaf_hash));
        assert_eq!(Hash::of_leaf(&entry.bytes), entry.hash);
    }
    assert_eq!(entries[4].leaf.of, Some(of));
    assert_eq!(entries[5].leaf.of, Some(of));
    let report = assert_code(folder.path(), None, 0);
    assert_eq!((report.leaves, report.intents, report.outcomes, report.unknown), (7, 1, 1, 0));
    assert!(!report.keys_given);
}

#[tokio::test]
async fn an_intent_without_an_outcome_is_said_to_be_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    let dropped = trail.intent(intent("alice", "aks", 10), Durability::Process).await.unwrap();
    let dropped_of = dropped.of();
    drop(dropped);
    let held = trail.intent(intent("bob", "aks", 10), Durability::Process).await.unwrap();
    let held_of = held.of();
    assert_eq!(trail.status().abandoned, 1);
    trail.clone().end().await.unwrap();
    // The end was written, so the outcome comes too late.
    assert!(matches!(held.outcome(outcome(b""), Durability::Process).await, Err(TrailError::Ended { .. })));
    assert!(matches!(
        trail.append(Record::new(Kind::Heartbeat), Durability::Process).await,
        Err(TrailError::Ended { .. })
    ));

    let unknown: HashSet<_> = entries(folder.path())
        .iter()
        .filter(|entry| entry.leaf.kind == Kind::Outcome && entry.leaf.body["outcome"] == "unknown")
        .filter_map(|entry| entry.leaf.of)
        .collect();
    assert_eq!(unknown, HashSet::from([dropped_of, held_of]));
    assert_eq!(assert_code(folder.path(), None, 4).unknown, 2);
}

#[tokio::test]
async fn a_trail_that_was_dropped_goes_on_in_the_next_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    let epoch = trail.epoch();
    command(&trail, "alice", 10, Durability::Process).await;
    drop(trail);
    assert_code(folder.path(), None, 5);

    let (trail, recovery) = Trail::open(folder.path(), options()).unwrap();
    assert_eq!((recovery.ordinal, recovery.crashed, recovery.gaps.len()), (2, true, 0));
    assert_ne!(trail.epoch(), epoch);
    trail.end().await.unwrap();
    assert_eq!(assert_code(folder.path(), None, 0).epochs, 2);
    let (trail, recovery) = Trail::open(folder.path(), options()).unwrap();
    assert_eq!((recovery.ordinal, recovery.crashed), (3, false));
    trail.end().await.unwrap();
    assert_code(folder.path(), None, 0);
}

#[tokio::test]
async fn one_gateway_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    let error = Trail::open(folder.path(), options()).unwrap_err();
    assert!(matches!(error, TrailError::Locked { .. }));
    assert!(error.to_string().contains("fix:"), "{error}");
    assert!(sluice_audit::verify::verify(folder.path(), None).live);
    trail.end().await.unwrap();
    assert!(!sluice_audit::verify::verify(folder.path(), None).live);
    drop(Trail::open(folder.path(), options()).unwrap());
}

#[tokio::test]
async fn kinds_that_the_trail_keeps_to_itself_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    for kind in [Kind::Enrol, Kind::Intent, Kind::Outcome, Kind::Gap, Kind::Recovered, Kind::End] {
        let refused = trail.append(Record::new(kind), Durability::Process).await;
        assert!(matches!(refused, Err(TrailError::Option { .. })), "{kind}");
    }
    trail.end().await.unwrap();
    assert_code(folder.path(), None, 0);
}

#[tokio::test]
async fn options_outside_their_bounds_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (option, options) in [
        ("segment_bytes", sluice_audit::TrailOptions { segment_bytes: 1_000, ..options() }),
        ("capacity_bytes", sluice_audit::TrailOptions { capacity_bytes: 1_000, ..options() }),
        ("heads_every", sluice_audit::TrailOptions { heads_every: 0, ..options() }),
    ] {
        let error = Trail::open(folder.path(), options).unwrap_err().to_string();
        assert!(error.contains(option) && error.contains("fix:"), "{error}");
    }
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Trail::open(&file, options()).unwrap_err().to_string();
    assert!(error.contains("file") && error.contains("fix:"), "{error}");
}

#[tokio::test]
async fn keys_from_outside_prove_whose_trail_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let keys = tempfile::tempdir().unwrap();
    let options = || sluice_audit::TrailOptions { key_folder: Some(keys.path().into()), ..options() };
    let mut public = Vec::new();
    for _ in 0..3 {
        let (trail, _) = Trail::open(folder.path(), options()).unwrap();
        public.push(trail.public_key());
        command(&trail, "alice", 10, Durability::Process).await;
        trail.end().await.unwrap();
    }
    assert!(assert_code(folder.path(), Some(keys.path()), 0).keys_given);
    let one = tempfile::tempdir().unwrap();
    let last = one.path().join("last.pem");
    std::fs::write(&last, public[2].to_pem()).unwrap();
    assert_code(folder.path(), Some(&last), 0);
    // What came after the epoch of the key is not covered by it.
    std::fs::write(&last, public[1].to_pem()).unwrap();
    assert_code(folder.path(), Some(&last), 5);

    let other = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(other.path(), common::options()).unwrap();
    trail.end().await.unwrap();
    assert_code(other.path(), None, 0);
    assert_code(other.path(), Some(keys.path()), 1);
    // The newest epoch taken away as a whole is missed only by who kept its key.
    let cut = common::copy(folder.path());
    for file in common::files(cut.path()) {
        if file.to_string_lossy().contains("epoch-00000003-") {
            std::fs::remove_file(file).unwrap();
        }
    }
    assert_code(cut.path(), None, 0);
    assert_code(cut.path(), Some(keys.path()), 4);
    // One file of keys can be of several trails: it is said that a key fits
    // nothing, no more. Under the name of its epoch it says what is missing.
    let bundle = one.path().join("bundle.pem");
    std::fs::write(&bundle, public.iter().map(sluice_audit::PublicKey::to_pem).collect::<String>()).unwrap();
    let report = assert_code(cut.path(), Some(&bundle), 0);
    assert_eq!(report.other_keys, 1);
    assert!(report.to_string().contains("1 of the keys given fit no epoch here"), "{report}");
    assert_eq!(assert_code(folder.path(), Some(&bundle), 0).other_keys, 0);
    let newest = common::files(keys.path()).pop().unwrap();
    let report = sluice_audit::verify::verify(cut.path(), Some(&newest));
    assert!(report.to_string().contains("incomplete: epoch 3"), "{report}");
    let (trail, recovery) = Trail::open(cut.path(), options()).unwrap();
    assert_eq!((recovery.ordinal, recovery.gaps.len()), (4, 1));
    trail.end().await.unwrap();
    assert_code(cut.path(), None, 4);
    // Nothing, and what is no key.
    assert_code(&folder.path().join("nothing"), None, 2);
    std::fs::write(&last, "no key").unwrap();
    assert_code(folder.path(), Some(&last), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_get_one_order() {
    let folder = tempfile::tempdir().unwrap();
    // Room for an outcome of each of the 64, and more.
    let options = sluice_audit::TrailOptions { segment_bytes: 1 << 20, ..options() };
    let (trail, _) = Trail::open(folder.path(), options).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let trail = trail.clone();
        tasks.spawn(async move {
            let mut receipts = Vec::new();
            for turn in 0..20 {
                let durability = if (writer + turn) % 8 == 0 { Durability::Disk } else { Durability::Process };
                let open = trail.intent(intent(&format!("s{writer}"), "aks", 3_000), durability).await.unwrap();
                receipts.push(open.receipt());
                receipts.push(open.outcome(outcome(b"x"), durability).await.unwrap());
            }
            receipts
        });
    }
    let mut receipts = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let mine = done.unwrap();
        assert!(mine.is_sorted_by_key(|receipt| receipt.sequence));
        receipts.extend(mine);
    }
    trail.end().await.unwrap();
    receipts.sort_by_key(|receipt| receipt.sequence);
    let entries = entries(folder.path());
    assert_eq!(entries.len(), receipts.len() + 3);
    for receipt in &receipts {
        let entry = &entries[usize::try_from(receipt.sequence).unwrap() - 1];
        assert_eq!((entry.leaf.id, entry.hash), (receipt.id, Hash(receipt.leaf_hash)));
    }
    assert!(segments(folder.path()).len() > 3, "it went over several segments");
    assert_code(folder.path(), None, 0);
}

#[tokio::test]
async fn long_records_are_cut_and_still_fit() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    for _ in 0..10 {
        let open = trail.intent(intent("alice", "aks", 200_000), Durability::Process).await.unwrap();
        let long = Record::new(Kind::Outcome).with("error", "e".repeat(100_000));
        open.outcome(long, Durability::Process).await.unwrap();
    }
    trail.end().await.unwrap();
    assert_code(folder.path(), None, 0);
    for entry in entries(folder.path()) {
        match entry.leaf.kind {
            Kind::Intent => assert_eq!(entry.leaf.body["padding"]["cut"]["bytes"], 200_002),
            Kind::Outcome => {
                assert!(entry.bytes.len() <= 4_096);
                assert_eq!(entry.leaf.body["error"]["cut"]["bytes"], 100_002);
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_full_trail_refuses_intents_but_takes_outcomes() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at("2026-12-01T00:00:00Z".parse().unwrap()));
    let capacity = 2 * 256 * 1024;
    let options = sluice_audit::TrailOptions { capacity_bytes: capacity, ..common::with_clock(clock.clone()) };
    let (trail, _) = Trail::open(folder.path(), options).unwrap();
    let mut open = Vec::new();
    let error = loop {
        match trail.intent(intent("alice", "aks", 8_000), Durability::Process).await {
            Ok(token) if open.len() < 5 => open.push(token),
            Ok(token) => drop(token.outcome(outcome(b"x"), Durability::Process).await.unwrap()),
            Err(error) => break error,
        }
    };
    let text = error.to_string();
    assert!(matches!(error, TrailError::Full { .. }), "{text}");
    assert!(text.contains(&*folder.path().to_string_lossy()) && text.contains("fix:"), "{text}");
    assert!(trail.status().full.is_some());
    // Refused again, and tried again after a second; the marker is one record.
    assert!(trail.intent(intent("alice", "aks", 8_000), Durability::Process).await.is_err());
    clock.advance(Duration::from_secs(2));
    assert!(trail.intent(intent("alice", "aks", 8_000), Durability::Process).await.is_err());
    for token in open {
        token.outcome(Record::new(Kind::Outcome).with("error", "e".repeat(9_000)), Durability::Disk).await.unwrap();
    }
    trail.end().await.unwrap();
    assert_code(folder.path(), None, 0);
    let markers = entries(folder.path());
    let markers =
        markers.iter().filter(|entry| entry.leaf.body.get("reason").is_some_and(|r| r["code"] == "AuditFull"));
    assert_eq!(markers.count(), 1);
    let used: u64 = segments(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(used <= capacity, "{used}");
}

#[tokio::test]
async fn too_many_open_commands_for_a_segment_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    let mut open = Vec::new();
    let error = loop {
        match trail.intent(intent("alice", "aks", 10), Durability::Process).await {
            Ok(token) => open.push(token),
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, TrailError::Full { cause, .. } if cause.contains("open at once")), "{error}");
    assert!(open.len() > 30, "{}", open.len());
    for token in open {
        token.outcome(outcome(b"x"), Durability::Process).await.unwrap();
    }
    command(&trail, "alice", 10, Durability::Process).await;
    trail.end().await.unwrap();
    assert_code(folder.path(), None, 0);
}

#[tokio::test]
async fn a_folder_deleted_or_moved_under_the_writer_is_noticed() {
    for moved in [false, true] {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("trail");
        let (trail, _) = Trail::open(&folder, options()).unwrap();
        command(&trail, "alice", 10, Durability::Process).await;
        if moved {
            std::fs::rename(&folder, parent.path().join("elsewhere")).unwrap();
        } else {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        for durability in [Durability::Process, Durability::Disk] {
            let error = trail.intent(intent("alice", "aks", 10), durability).await.unwrap_err();
            assert!(matches!(error, TrailError::Deleted { .. }), "{error}");
            assert!(error.to_string().contains("fix:"), "{error}");
        }
        assert!(trail.status().failed.is_some());
        assert!(trail.end().await.is_err());
    }
}

#[tokio::test]
async fn a_reader_follows_the_writer_over_segments_and_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    let mut reader = Reader::open(folder.path()).unwrap();
    let mut poll = || {
        let mut kinds = Vec::new();
        while let Some(entry) = reader.poll() {
            kinds.push(entry.unwrap().leaf.kind);
        }
        kinds
    };
    assert_eq!(poll(), [Kind::Enrol, Kind::Recovered]);
    assert_eq!(poll(), []);
    for _ in 0..60 {
        command(&trail, "alice", 9_000, Durability::Process).await;
        assert_eq!(poll(), [Kind::Intent, Kind::Outcome]);
    }
    assert!(segments(folder.path()).len() > 2);
    trail.end().await.unwrap();
    assert_eq!(poll(), [Kind::End]);
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    assert_eq!(poll(), [Kind::Enrol, Kind::Recovered]);
    trail.end().await.unwrap();
    assert_eq!(poll(), [Kind::End]);
}

#[tokio::test]
async fn filters_find_a_command_and_what_belongs_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    let alice = trail.intent(intent("alice", "aks", 10), Durability::Process).await.unwrap();
    let bob = trail.intent(intent("bob", "other", 10), Durability::Process).await.unwrap();
    let bob_id = bob.receipt().id;
    bob.outcome(outcome(b"b"), Durability::Process).await.unwrap();
    alice.outcome(outcome(b"a").with("note", "Needle"), Durability::Process).await.unwrap();
    trail.end().await.unwrap();
    let entries = entries(folder.path());
    let count = |filter: Filter| {
        let mut search = Search::new(filter);
        entries.iter().filter(|entry| search.matches(entry)).count()
    };
    let filter = Filter::default;
    assert_eq!(count(filter()), entries.len());
    assert_eq!(count(Filter { subject: Some("alice".into()), ..filter() }), 2);
    assert_eq!(count(Filter { subject: Some("entra:bob".into()), ..filter() }), 2);
    assert_eq!(count(Filter { subject: Some("other:bob".into()), ..filter() }), 0);
    assert_eq!(count(Filter { subject: Some("alice".into()), kinds: vec![Kind::Outcome], ..filter() }), 1);
    assert_eq!(count(Filter { target: Some("other.example".into()), ..filter() }), 2);
    assert_eq!(count(Filter { rule: Some("agents/dev/read".into()), ..filter() }), 4);
    assert_eq!(count(Filter { rule: Some("write".into()), ..filter() }), 0);
    assert_eq!(count(Filter { verdict: Some("allow".into()), ..filter() }), 4);
    assert_eq!(count(Filter { verdict: Some("deny".into()), ..filter() }), 0);
    assert_eq!(count(Filter { id: Some(bob_id), ..filter() }), 2);
    assert_eq!(count(Filter { text: Some("nEEDLE".into()), ..filter() }), 1);
    assert_eq!(count(Filter { until: Some(entries[2].leaf.at), ..filter() }), 2);
    assert_eq!(count(Filter { since: Some(entries[2].leaf.at), ..filter() }), entries.len() - 2);
}
