//! Whoever changes a trail is found.

mod common;

use std::path::Path;
use std::sync::OnceLock;

use common::{assert_code, command, copy, files, options, segments};
use proptest::prelude::*;
use sluice_audit::verify::verify;
use sluice_audit::{Durability, Trail};

/// Three epochs, the first of two segments; the second was never ended.
fn large() -> &'static tempfile::TempDir {
    static TRAIL: OnceLock<tempfile::TempDir> = OnceLock::new();
    TRAIL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for epoch in 0..3 {
                let (trail, _) = Trail::open(folder.path(), options()).unwrap();
                for turn in 0..12 {
                    let bytes = if epoch == 0 { 30_000 } else { 200 + turn };
                    command(&trail, "alice", bytes, Durability::Process).await;
                }
                if epoch != 1 {
                    trail.end().await.unwrap();
                }
            }
        });
        assert_code(folder.path(), None, 0);
        assert_eq!(segments(folder.path()).len(), 4);
        folder
    })
}

fn flip(file: &Path, at: usize, mask: u8) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= mask;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn every_byte_of_a_small_trail_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    command(&trail, "alice", 1, Durability::Process).await;
    trail.end().await.unwrap();
    assert_code(folder.path(), None, 0);
    let mut flipped = 0;
    for file in files(folder.path()) {
        let whole = std::fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&file, &bytes).unwrap();
            let report = verify(folder.path(), None);
            assert_eq!(report.exit_code(), 1, "{} at {at}: {report}", file.display());
            flipped += 1;
        }
        for len in 0..whole.len() {
            std::fs::write(&file, &whole[..len]).unwrap();
            let report = verify(folder.path(), None);
            assert_ne!(report.exit_code(), 0, "{} cut to {len}: {report}", file.display());
        }
        std::fs::write(&file, &whole).unwrap();
    }
    assert!(flipped > 2_000);
    assert_code(folder.path(), None, 0);
}

#[tokio::test]
async fn a_changed_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (trail, _) = Trail::open(folder.path(), options()).unwrap();
    command(&trail, "alice", 100, Durability::Process).await;
    let victim = trail.intent(common::intent("mallory", "aks", 100), Durability::Process).await.unwrap();
    let receipt = victim.receipt();
    victim.outcome(common::outcome(b"x"), Durability::Process).await.unwrap();
    trail.end().await.unwrap();
    let entry = common::entries(folder.path()).into_iter().find(|entry| entry.leaf.id == receipt.id).unwrap();
    let text = std::fs::read(&entry.file).unwrap();
    let at = text.windows(7).position(|window| window == b"mallory").unwrap();
    flip(&entry.file, at, 1);
    let report = assert_code(folder.path(), None, 1);
    let finding = &report.findings[0];
    assert_eq!(finding.sequence, Some(receipt.sequence));
    assert_eq!(finding.id, Some(receipt.id));
    assert_eq!(finding.offset, Some(entry.offset));
    assert_eq!(finding.file, entry.file);
    let text = report.to_string();
    assert!(text.contains(&receipt.id.to_string()) && text.contains(&format!("record {}", receipt.sequence)), "{text}");
}

/// Whoever reads a judgement of damage is not told that a gateway was killed.
#[test]
fn damage_is_not_taken_for_a_kill() {
    let folder = copy(large().path());
    let newest = segments(folder.path()).pop().unwrap();
    flip(&newest, 3_000, 4);
    let text = assert_code(folder.path(), None, 1).to_string();
    assert!(!text.contains("killed"), "{text}");
    assert!(text.contains("whether the trail has an end is not known"), "{text}");
}

#[test]
fn a_salt_may_be_erased_but_not_changed() {
    let folder = copy(large().path());
    let segment = segments(folder.path()).pop().unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    // Frames: kind, length of the salt, length of the leaf (2), checksum (4).
    let mut at = 128;
    while bytes[at + 1] != 32 {
        at += 8 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
    }
    let salt = at + 8 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
    let mut erased = bytes.clone();
    erased[salt..salt + 32].fill(0);
    std::fs::write(&segment, &erased).unwrap();
    assert_eq!(assert_code(folder.path(), None, 0).erased_salts, 1);
    flip(&segment, salt + 5, 1);
    assert_code(folder.path(), None, 1);
}

#[test]
fn a_file_that_is_missing_is_missed() {
    for index in 0..segments(large().path()).len() {
        let folder = copy(large().path());
        let file = segments(folder.path()).remove(index);
        std::fs::remove_file(&file).unwrap();
        assert_ne!(verify(folder.path(), None).exit_code(), 0, "{}", file.display());
    }
}

#[test]
fn what_cannot_be_read_is_no_proof_of_anything() {
    let folder = copy(large().path());
    let segment = segments(folder.path()).remove(2);
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(&segment, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &segment).unwrap();
    assert_code(folder.path(), None, 2);
    std::fs::remove_file(&segment).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &segment, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_code(folder.path(), None, 2);
}

#[test]
fn two_histories_diverge() {
    let folder = copy(large().path());
    let fork = copy(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for side in [&folder, &fork] {
        runtime.block_on(async {
            let (trail, _) = Trail::open(side.path(), options()).unwrap();
            trail.end().await.unwrap();
        });
        assert_code(side.path(), None, 0);
    }
    for file in files(fork.path()) {
        let there = folder.path().join(file.file_name().unwrap());
        if !there.exists() {
            std::fs::copy(&file, there).unwrap();
        }
    }
    assert_code(folder.path(), None, 3);
}

#[test]
fn damage_before_a_start_becomes_a_gap_and_is_judged_as_one() {
    let folder = copy(large().path());
    // The newest epoch lost its end, and a byte in the middle changed.
    let newest = segments(folder.path()).pop().unwrap();
    let len = std::fs::metadata(&newest).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&newest).unwrap().set_len(len - 300).unwrap();
    flip(&newest, 3_000, 4);
    assert_code(folder.path(), None, 1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (trail, recovery) = Trail::open(folder.path(), options()).unwrap();
        assert_eq!(recovery.gaps.len(), 1, "{recovery:?}");
        trail.end().await.unwrap();
        // It is said once.
        let (trail, recovery) = Trail::open(folder.path(), options()).unwrap();
        assert_eq!(recovery.gaps.len(), 0, "{recovery:?}");
        trail.end().await.unwrap();
    });
    assert_code(folder.path(), None, 4);
    // What is quarantined is covered too.
    let len = usize::try_from(std::fs::metadata(&newest).unwrap().len()).unwrap();
    flip(&newest, len - 10, 1);
    assert_code(folder.path(), None, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_flip_in_any_file_is_found(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let folder = copy(large().path());
        let file = which.get(&files(folder.path())).clone();
        let len = usize::try_from(std::fs::metadata(&file).unwrap().len()).unwrap();
        flip(&file, at.index(len), 1 << bit);
        let report = verify(folder.path(), None);
        prop_assert_eq!(report.exit_code(), 1, "{}", report);
    }

    #[test]
    fn any_cut_is_found(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>()) {
        let folder = copy(large().path());
        let file = which.get(&files(folder.path())).clone();
        let len = std::fs::metadata(&file).unwrap().len();
        let cut = at.index(usize::try_from(len).unwrap()) as u64;
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(cut).unwrap();
        prop_assert_ne!(verify(folder.path(), None).exit_code(), 0);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), at in any::<prop::sample::Index>()) {
        let folder = copy(large().path());
        let file = segments(folder.path()).remove(2);
        let mut whole = std::fs::read(&file).unwrap();
        let at = at.index(whole.len());
        whole.splice(at..(at + bytes.len()).min(whole.len()), bytes.iter().copied());
        let changed = whole != std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole).unwrap();
        prop_assert_eq!(verify(folder.path(), None).exit_code() != 0, changed);
    }
}
