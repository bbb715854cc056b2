//! What the tests of the trail share.
#![allow(dead_code, unreachable_pub, reason = "each test takes its part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_audit::read::{Entry, Reader};
use sluice_audit::verify::{Report, verify};
use sluice_audit::{CommitmentBuilder, Durability, Kind, Outcome, Record, Trail, TrailOptions};
use sluice_core::{Clock, SystemClock, Workload};

/// A trail with the smallest segments and a head every eight leaves.
pub fn options() -> TrailOptions {
    with_clock(Arc::new(SystemClock::new()))
}

pub fn with_clock(clock: Arc<dyn Clock>) -> TrailOptions {
    let workload = Workload { namespace: "agents".into(), pod: "coder-0".into(), ..Workload::default() };
    TrailOptions { segment_bytes: 256 * 1024, heads_every: 8, ..TrailOptions::new(workload, "test", clock) }
}

/// An intent that a filter can find, with a body of about `bytes`.
pub fn intent(subject: &str, target: &str, bytes: usize) -> Record {
    Record::new(Kind::Intent)
        .with(
            "command",
            serde_json::json!({
                "subject": { "id": subject, "provider": "entra" },
                "target": { "name": target, "host": format!("{target}.example") },
            }),
        )
        .with("verdict", "allow")
        .with("rule", serde_json::json!({ "policy": "agents/dev", "rule": "read" }))
        .with("padding", "p".repeat(bytes))
}

pub fn outcome(response: &[u8]) -> Record {
    let mut commitment = CommitmentBuilder::new().expect("random bytes");
    commitment.update(response);
    Record::outcome(&Outcome {
        outcome: "done".into(),
        status: Some(200),
        bytes: response.len() as u64,
        ..Outcome::default()
    })
    .response(commitment.finish())
}

/// One command, from intent to outcome.
pub async fn command(trail: &Trail, subject: &str, bytes: usize, durability: Durability) {
    let open = trail.intent(intent(subject, "aks", bytes), durability).await.expect("intent");
    open.outcome(outcome(b"pods"), durability).await.expect("outcome");
}

pub fn entries(folder: &Path) -> Vec<Entry> {
    Reader::open(folder).expect("reader").map(|entry| entry.expect("entry")).collect()
}

/// Judges, and says all when the answer is another.
#[track_caller]
pub fn assert_code(folder: &Path, keys: Option<&Path>, code: u8) -> Report {
    let report = verify(folder, keys);
    assert_eq!(report.exit_code(), code, "{report}");
    report
}

/// All files of a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}

pub fn segments(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

/// A copy that a test may damage.
pub fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("folder");
    for file in files(from) {
        std::fs::copy(&file, to.path().join(file.file_name().expect("name"))).expect("copy");
    }
    to
}
