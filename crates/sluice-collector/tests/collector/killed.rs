//! `kill -9` while batches come in: what was acknowledged is there, once.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sluice_audit::Durability;

use crate::bed::{Authority, FORKING, Running, WAIT, assert_code, numbers, open, options, say, ship, spiffe};

/// Names the folder that the process of this test is to serve; absent: this is
/// the test itself.
const FOLDER: &str = "SLUICE_TEST_SERVE";
const AT: &str = "SLUICE_TEST_AT";
const AUTHORITY: &str = "SLUICE_TEST_AUTHORITY";

async fn serve(name: &str, folder: &Path, at: &str, authority: &Path) -> Child {
    let forking = FORKING.lock().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(FOLDER, folder)
        .env(AT, at)
        .env(AUTHORITY, authority)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(forking);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("serving")), "the child serves");
    child
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_or_there_twice() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let authority = Authority::load(Path::new(&std::env::var_os(AUTHORITY).unwrap()));
        let at = std::env::var(AT).unwrap().parse().unwrap();
        let _running = Running::start(&authority, options(Path::new(&folder)), Some(at)).await;
        println!("serving");
        return std::future::pending().await;
    }
    let (folder, spool, keys) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new();
    authority.save(keys.path());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let name = "killed::nothing_that_was_acknowledged_is_lost_or_there_twice";
    let at = free.to_string();
    let start = || serve(name, folder.path(), &at, keys.path());
    let mut child = start().await;
    let trail = open(spool.path(), "agents", "a1");
    let shipping = ship(&trail, free, authority.credentials(&spiffe("agents", "a1")));
    let mut number = 0;
    for round in 0..8 {
        // Killed while these are under way, each time a little later.
        for _ in 0..(3 * round) {
            say(&trail, number, 9_000, Durability::Process).await;
            number += 1;
            tokio::task::yield_now().await;
        }
        let acknowledged = shipping.status().borrow().acknowledged;
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some((_, sequence)) = acknowledged {
            let stored = sluice_audit::read::Reader::open(&folder.path().join("a1")).unwrap();
            let newest = stored.map_while(Result::ok).map(|entry| entry.leaf.sequence).last();
            assert!(newest >= Some(sequence), "{newest:?}, acknowledged {sequence}");
        }
        child = start().await;
        say(&trail, number, 10, Durability::Collector).await;
        number += 1;
    }
    trail.end().await.unwrap();
    assert!(shipping.drain(WAIT).await);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_code(&folder.path().join("a1"), 0);
    assert_eq!(numbers(&folder.path().join("a1")), (0..number as u64).collect::<Vec<_>>());
}
