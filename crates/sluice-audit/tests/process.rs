//! What only a process of its own can show: being killed at any place, and
//! disks that are full or not writable. The test runs itself as the writer.

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use common::{assert_code, entries, intent, options, outcome};
use libtest_mimic::{Arguments, Trial};
use sluice_audit::verify::verify;
use sluice_audit::{Durability, Hash, Kind, Record, Trail, TrailError, TrailOptions, failpoint};

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        return child(&role);
    }
    let mut trials = Vec::new();
    for &name in failpoint::NAMES {
        for turn in turns(name) {
            trials.push(Trial::test(format!("killed_at::{name}:{turn}"), move || {
                killed_at(name, turn);
                Ok(())
            }));
        }
    }
    let alone: [(&str, fn()); 5] = [
        ("killed_again_and_again", killed_again_and_again),
        ("full::file_size_limit", file_size_limit),
        ("full::file_system", full_file_system),
        ("unwritable::read_only_mount", read_only_mount),
        ("unwritable::no_permission", no_permission),
    ];
    for (name, test) in alone {
        trials.push(Trial::test(name, move || {
            test();
            Ok(())
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// At which of its visits the writer is killed.
fn turns(name: &str) -> Vec<u64> {
    match name {
        "before_frame" | "after_frame_header" | "mid_frame" | "after_frame" => vec![1, 2, 5, 40],
        "before_sync" | "after_sync" => vec![1, 7],
        "before_head" | "after_head" => vec![1, 5],
        "rotate.before_create" | "rotate.after_create" | "rotate.after_rename" => vec![1, 2, 4],
        "rotate.after_trim" => vec![1, 3],
        "recovery.after_outcome" => vec![1, 2],
        _ => vec![1],
    }
}

/// Kills a writer at a place and shows that it was this place; that no record
/// it acknowledged is lost; and that the next start says what is unknown.
fn killed_at(name: &str, turn: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    if name.starts_with("recovery.") {
        // Something to recover: open intents, and a torn end.
        let output = write(folder.path(), Some("mid_frame:60"));
        assert_killed_at(&output, "mid_frame");
        acknowledged.read(&output);
    }
    let output = write(folder.path(), Some(&format!("{name}:{turn}")));
    assert_killed_at(&output, name);
    acknowledged.read(&output);
    acknowledged.assert_kept(folder.path());
    let ended = name == "end.after_trim";
    let code = verify(folder.path(), None).exit_code();
    let expected: &[u8] = match name {
        // Whole, but for the intents that it was told to leave open.
        "end.after_trim" => &[4],
        // Nothing was made yet.
        "rotate.before_create" | "rotate.after_create" if turn == 1 => &[2],
        _ => &[4, 5],
    };
    assert!(expected.contains(&code), "{}", verify(folder.path(), None));

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let recovery = runtime.block_on(async {
        let (trail, recovery) = Trail::open(folder.path(), options()).unwrap();
        trail.end().await.unwrap();
        recovery
    });
    if ended {
        assert!(!recovery.crashed && recovery.unknown.is_empty() && recovery.gaps.is_empty(), "{recovery:?}");
    }
    acknowledged.assert_kept(folder.path());
    acknowledged.assert_settled(folder.path());
    let report = verify(folder.path(), None);
    assert_eq!(report.open_intents, 0, "{report}");
    let has_gap = entries_so_far(folder.path()).iter().any(|(kind, ..)| *kind == Kind::Gap);
    assert_eq!(report.exit_code(), if report.unknown > 0 || has_gap { 4 } else { 0 }, "{report}");
    // And once more, with nothing to say.
    let recovery = runtime.block_on(async {
        let (trail, recovery) = Trail::open(folder.path(), options()).unwrap();
        trail.end().await.unwrap();
        recovery
    });
    assert!(!recovery.crashed && recovery.unknown.is_empty() && recovery.gaps.is_empty(), "{recovery:?}");
}

/// A trail that only ever knew crashes, also within its recovery.
fn killed_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    for place in [
        "mid_frame:30",
        "recovery.after_enrol",
        "recovery.after_outcome:1",
        "mid_frame:25",
        "recovery.after_gap",
        "after_frame_header:20",
        "recovery.after_recovered",
        "rotate.after_rename:2",
    ] {
        let output = write(folder.path(), Some(place));
        let name = place.split(':').next().unwrap();
        assert_killed_at(&output, name);
        acknowledged.read(&output);
        acknowledged.assert_kept(folder.path());
        let code = verify(folder.path(), None).exit_code();
        assert!([4, 5].contains(&code), "{place}: {}", verify(folder.path(), None));
    }
    let output = write(folder.path(), None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    acknowledged.read(&output);
    acknowledged.assert_kept(folder.path());
    acknowledged.assert_settled(folder.path());
    assert_eq!(assert_code(folder.path(), None, 4).open_intents, 0);
}

/// What the writer said on its standard output.
#[derive(Default)]
struct Acknowledged {
    records: HashMap<String, String>,
    /// Intents, and whether their outcome was acknowledged.
    intents: HashMap<String, bool>,
}

impl Acknowledged {
    fn read(&mut self, output: &Output) {
        for line in String::from_utf8(output.stdout.clone()).unwrap().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, id, hash, of] = words[..] else { panic!("{line}") };
            self.records.insert(id.to_owned(), hash.to_owned());
            match what {
                "intent" => drop(self.intents.insert(id.to_owned(), false)),
                "outcome" => drop(self.intents.insert(of.to_owned(), true)),
                other => panic!("{other}"),
            }
        }
    }

    /// All of them are in the trail, unchanged.
    fn assert_kept(&self, folder: &Path) {
        let there: HashMap<String, String> =
            entries_so_far(folder).into_iter().map(|(_, id, hash, _)| (id, hash.to_string())).collect();
        for (id, hash) in &self.records {
            assert_eq!(there.get(id), Some(hash), "record {id}");
        }
    }

    /// Each intent has an outcome: its own if that was acknowledged.
    fn assert_settled(&self, folder: &Path) {
        let outcomes: HashMap<String, bool> = entries_so_far(folder)
            .into_iter()
            .filter(|(kind, ..)| *kind == Kind::Outcome)
            .map(|(_, _, _, (of, known))| (of, known))
            .collect();
        for (id, has_outcome) in &self.intents {
            let known = outcomes.get(id).unwrap_or_else(|| panic!("intent {id} has no outcome"));
            assert!(*known || !has_outcome, "the outcome of {id} was acknowledged");
        }
    }
}

/// Kind, id, hash, and for outcomes: of which, and whether it is known. What
/// cannot be read is the torn end of an epoch.
fn entries_so_far(folder: &Path) -> Vec<(Kind, String, Hash, (String, bool))> {
    sluice_audit::read::Reader::open(folder)
        .unwrap()
        .filter_map(Result::ok)
        .map(|entry| {
            let of = entry.leaf.of.map(|of| of.id.to_string()).unwrap_or_default();
            let known = entry.leaf.body.get("outcome").is_some_and(|outcome| outcome != "unknown");
            (entry.leaf.kind, entry.leaf.id.to_string(), entry.hash, (of, known))
        })
        .collect()
}

fn assert_killed_at(output: &Output, name: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(9), "{name}: {:?}: {said}", output.status);
    assert!(said.lines().any(|line| line == format!("SLUICE_FAILPOINT {name}")), "{name}: {said}");
}

/// Runs the writer.
fn write(folder: &Path, failpoint: Option<&str>) -> Output {
    let mut command = writer("write", folder);
    if let Some(failpoint) = failpoint {
        command.env("SLUICE_FAILPOINT", failpoint);
    }
    command.output().unwrap()
}

fn writer(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    prepare(&mut command, role, folder);
    command
}

fn prepare(command: &mut Command, role: &str, folder: &Path) {
    command.env(ROLE, role).env(FOLDER, folder).env_remove("SLUICE_FAILPOINT").stdin(Stdio::null());
}

/// `ulimit -f` as a small disk: no file may grow beyond it.
fn file_size_limit() {
    let folder = tempfile::tempdir().unwrap();
    // Segments of 256 KiB fit into 600 blocks of 512 bytes at first; then the
    // limit is lowered to what is there already.
    let mut command = shell("trap '' XFSZ; ulimit -S -f 600; exec \"$0\"");
    prepare(&mut command, "fill", folder.path());
    command.env(THEN, "limit");
    let output = command.output().unwrap();
    assert_filled(&output, "full", folder.path());
}

/// A file system of two megabytes, full.
fn full_file_system() {
    let mount = tempfile::tempdir().unwrap();
    let folder = mount.path().join("trail");
    let script = "mount -t tmpfs -o size=2m tmpfs \"$MOUNT\" && exec \"$0\"";
    let output = in_namespace(script, "fill", &folder, mount.path());
    assert_filled(&output, "full", mount.path());
}

/// The folder becomes read-only under the writer.
fn read_only_mount() {
    let mount = tempfile::tempdir().unwrap();
    let folder = mount.path().join("trail");
    let script = "mount -t tmpfs -o size=64m tmpfs \"$MOUNT\" && exec \"$0\"";
    let mut command = namespace(script, "fill", &folder, mount.path());
    command.env(THEN, "read-only");
    assert_filled(&command.output().unwrap(), "not writable", mount.path());
}

/// Somebody takes the right to write away; and a folder without any.
fn no_permission() {
    let program = folder_with(0o755);
    let parent = folder_with(0o777);
    let folder = parent.path().join("trail");
    let mut command = as_ordinary_user(program.path());
    prepare(&mut command, "fill", &folder);
    command.env(THEN, "permission");
    assert_filled(&command.output().unwrap(), "not writable", parent.path());

    let closed = folder_with(0o555);
    let mut command = as_ordinary_user(program.path());
    prepare(&mut command, "open", &closed.path().join("trail"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Permission denied") && said.contains("fix:"), "{said}");
    assert!(said.contains(&*closed.path().to_string_lossy()), "{said}");
    assert_eq!(output.status.code(), Some(3), "{said}");
}

/// A fresh folder with exactly these permissions, whatever the umask is.
fn folder_with(mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
    folder
}

/// The writer said that records are refused and why, outcomes were taken, and
/// the trail is whole.
fn assert_filled(output: &Output, word: &str, folder: &Path) {
    let (said, out) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{:?}: {said}{out}", output.status);
    let refused = out.lines().find_map(|line| line.strip_prefix("refused ")).unwrap_or_else(|| panic!("{said}{out}"));
    assert!(refused.contains(word) && refused.contains("fix:"), "{refused}");
    assert!(refused.contains(&*folder.to_string_lossy()), "{refused}");
    assert!(out.contains("verified 0"), "{said}{out}");
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap());
    command
}

fn namespace(script: &str, role: &str, folder: &Path, mount: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(std::env::current_exe().unwrap());
    prepare(&mut command, role, folder);
    command.env("MOUNT", mount);
    command
}

fn in_namespace(script: &str, role: &str, folder: &Path, mount: &Path) -> Output {
    namespace(script, role, folder, mount).output().unwrap()
}

/// Root is above permissions, so it steps down, to a copy of this program
/// that others can reach.
fn as_ordinary_user(place: &Path) -> Command {
    let binary = std::env::current_exe().unwrap();
    if !rustix::process::geteuid().is_root() {
        return Command::new(binary);
    }
    let copy = place.join("writer");
    std::fs::copy(binary, &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(copy);
    command
}

/// The other side: what the process does that is killed, or whose disk is full.
fn child(role: &str) -> ExitCode {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("folder"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let done = runtime.block_on(async {
        match role {
            "write" => child_writes(&folder).await,
            "fill" => child_fills(&folder).await,
            _ => Trail::open(&folder, options()).map(drop),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}

/// Commands of all sizes over several segments; each acknowledgement is said
/// when it comes.
async fn child_writes(folder: &Path) -> Result<(), TrailError> {
    let (trail, _) = Trail::open(folder, options())?;
    let mut held = Vec::new();
    for turn in 0..120_usize {
        let durability = if turn % 3 == 0 { Durability::Disk } else { Durability::Process };
        let open = trail.intent(intent("alice", "aks", turn * 997 % 20_000), durability).await?;
        let of = open.receipt().id;
        say(&format!("intent {of} {} -", Hash(open.receipt().leaf_hash)));
        if turn % 10 == 9 && held.len() < 8 {
            held.push(open);
            continue;
        }
        let receipt = open.outcome(outcome(b"pods"), durability).await?;
        say(&format!("outcome {} {} {of}", receipt.id, Hash(receipt.leaf_hash)));
    }
    trail.end().await
}

/// Commands until one is refused; then the outcomes of those that are open.
async fn child_fills(folder: &Path) -> Result<(), TrailError> {
    let small = TrailOptions { capacity_bytes: 1 << 30, ..options() };
    let (trail, _) = Trail::open(folder, small)?;
    let mut open = Vec::new();
    let mut turn = 0;
    let refused = loop {
        match trail.intent(intent("alice", "aks", 8_000), Durability::Process).await {
            Ok(token) if open.len() < 10 => open.push(token),
            Ok(token) => drop(token.outcome(outcome(b"x"), Durability::Process).await?),
            Err(error) => break error,
        }
        turn += 1;
        if turn == 15 {
            then(folder);
        }
        assert!(turn < 10_000, "nothing was ever refused");
    };
    assert!(trail.status().full.is_some(), "{refused}");
    say(&format!("refused {refused}"));
    for token in open {
        token.outcome(Record::new(Kind::Outcome).with("error", "e".repeat(9_000)), Durability::Disk).await?;
    }
    trail.end().await?;
    say(&format!("verified {}", verify(folder, None).exit_code()));
    assert!(
        entries(folder).iter().any(|entry| entry.leaf.body.get("reason").is_some_and(|r| r["code"] == "AuditFull"))
    );
    Ok(())
}

/// What happens to the folder while the writer runs.
fn then(folder: &Path) {
    match std::env::var(THEN).as_deref() {
        Ok("limit") => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
            let lower = rustix::process::Rlimit { current: Some(200 * 1024), ..limit };
            rustix::process::setrlimit(rustix::process::Resource::Fsize, lower).expect("limit");
        }
        Ok("read-only") => {
            for options in ["bind", "remount,bind,ro"] {
                let done = Command::new("mount").args(["-o", options]).arg(folder).arg(folder).status();
                assert!(done.expect("mount").success());
            }
        }
        Ok("permission") => {
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o500)).expect("permissions");
        }
        _ => {}
    }
}

/// One line, out at once: the process may be killed after it.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("standard output");
}

const ROLE: &str = "SLUICE_TEST_ROLE";
const FOLDER: &str = "SLUICE_TEST_FOLDER";
const THEN: &str = "SLUICE_TEST_THEN";
