//! A disk that takes no more, in a process of its own: its files may not grow
//! beyond a limit, so that a write stops in the middle.

use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_wire::IngestRefusal;
use tokio::signal::unix::{SignalKind, signal};

use crate::bed::{FORKING, assert_code, identity, joined, numbers, opened, options, workload, written};

const CHILD: &str = "SLUICE_TEST_FULL";

#[tokio::test]
async fn a_full_disk_refuses_and_leaves_nothing_half() {
    if std::env::var_os(CHILD).is_some() {
        return fill().await;
    }
    let name = "full::a_full_disk_refuses_and_leaves_nothing_half";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name]).env(CHILD, "1").stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = {
        let _forking = FORKING.lock().await;
        child.spawn().unwrap()
    };
    let ended = started.wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
}

async fn fill() {
    // SIGXFSZ, so that the write fails instead.
    let _caught = signal(SignalKind::from_raw(25)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, pod) = (opened(options(folder.path())).await, identity("agents", "a1"));
    let [first, second] = &written(workload("agents", "a1"), 2, 20, 9_000).await[..] else { panic!() };
    let before = getrlimit(Resource::Fsize);
    let limit = |bytes| setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: before.maximum }).unwrap();
    let is_full = |refused: Result<_, IngestRefusal>| assert!(matches!(refused, Err(IngestRefusal::Full { .. })));
    let (start, bytes) = joined(first);
    let head = &first.pieces[0].1;
    store.accept(&pod, &start, head).unwrap();
    let newest = folder.path().join("a1").join(sluice_audit::intake::segment_name(1, first.epoch, 1));
    for room in [head.len() + 1, 50_000, bytes.len() - 1] {
        limit(Some(room as u64));
        is_full(store.accept(&pod, &start, &bytes).map(drop));
        assert_eq!(std::fs::metadata(&newest).unwrap().len(), head.len() as u64);
    }
    limit(before.current);
    store.accept(&pod, &start, &bytes).unwrap();
    // Nor a new epoch: neither its key nor its segment stays.
    let files = || std::fs::read_dir(folder.path().join("a1")).unwrap().count();
    let (there, (start, bytes)) = (files(), joined(second));
    for room in [10, 5_000] {
        limit(Some(room));
        is_full(store.accept(&pod, &start, &bytes).map(drop));
        assert_eq!(files(), there);
    }
    limit(before.current);
    store.accept(&pod, &start, &bytes).unwrap();
    assert!(store.needs_restart().is_none());
    assert_code(&folder.path().join("a1"), 0);
    assert_eq!(numbers(&folder.path().join("a1")), (0..20).chain(0..20).collect::<Vec<_>>());
}
