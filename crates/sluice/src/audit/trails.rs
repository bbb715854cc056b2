//! `sluice audit verify --collector`: every trail is fetched, then judged here.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use sluice_audit::verify::{Class, Report, verify_with};
use sluice_wire::TrailSummary;
use tempfile::TempDir;

use super::keys::Trust;
use super::remote::runtime;
use super::verify::{Progress, is_broken_pipe, json as report_json};
use super::{Output, line};
use crate::collector::{Collector, CollectorArgs};

/// Judges all trails that are asked for; the exit code is that of the gravest.
pub(super) fn verify(url: &str, asked: &CollectorArgs, trust: &Trust<'_>, output: Output) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let mut collector = asked.connect(url).await?;
        let trails = asked.trails(&mut collector).await?;
        if trails.is_empty() {
            bail!("the collector has no trail that may be seen: there is nothing to judge");
        }
        let mut codes = Vec::new();
        for trail in &trails {
            let judged = judge(&mut collector, trail, trust).await;
            codes.push(judged.exit_code());
            let said = match output {
                Output::Text => judged.print(&mut io::stdout().lock()),
                Output::Json => writeln!(io::stdout().lock(), "{}", judged.json()),
            };
            // Whoever stops reading (`| head`) is not told that all is whole.
            if let Err(error) = said.map_err(anyhow::Error::from)
                && !is_broken_pipe(&error)
            {
                return Err(error);
            }
        }
        let code = gravest(codes.iter().copied());
        if output == Output::Text {
            let whole = codes.iter().filter(|code| **code == 0).count();
            let said = format!("{} trails, {whole} of them whole: {}", codes.len(), word(code));
            writeln!(io::stdout().lock(), "{said}{}", if trust.given.is_empty() { FIRST_USE } else { "" }).ok();
        }
        Ok(ExitCode::from(code))
    })
}

/// What became of one trail.
struct Judged<'a> {
    trail: &'a TrailSummary,
    keys: Keys,
    /// `Err`: it could not be fetched.
    report: Result<Report, String>,
    /// What the report does not know, and how grave it is.
    beside: Vec<(Class, String)>,
    /// Where it was fetched to; no part of what people read.
    folder: String,
}

/// Where the keys came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// They were given.
    Given,
    /// None were given at all.
    Collector,
    /// Some were given, none for this trail.
    NoneGiven,
}

async fn judge<'a>(collector: &mut Collector, trail: &'a TrailSummary, trust: &Trust<'_>) -> Judged<'a> {
    let keys = if trust.given.is_empty() { Keys::Collector } else { Keys::NoneGiven };
    let mut judged = Judged { trail, keys, report: Err(String::new()), beside: Vec::new(), folder: String::new() };
    let folder = match fetch(collector, trail).await {
        Ok(folder) => folder,
        Err(error) => {
            judged.report = Err(format!("{error:#}"));
            return judged;
        }
    };
    judged.folder = format!("{}/", folder.path().display());
    let given = match trust.of(trail) {
        Ok(given) => given,
        Err(error) => {
            judged.report = Err(format!("{error:#}"));
            return judged;
        }
    };
    if given.is_some() {
        judged.keys = Keys::Given;
    }
    // As with a folder that a gateway writes to: more is to come.
    let running = !trail.silent && trail.epochs.last().is_some_and(|epoch| !epoch.ended);
    let _lock = if running { lock(folder.path()) } else { None };
    let mut progress = Progress::new(io::stderr().is_terminal());
    let report = verify_with(folder.path(), given.as_ref().map(TempDir::path), &mut |read, of| progress.tell(read, of));
    progress.end();
    judged.add(&report);
    if sound(&report)
        && let Err(error) = trust.keep(&trail.pod_uid, folder.path())
    {
        judged.beside.push((Class::Invalid, format!("{error:#}")));
    }
    judged.report = Ok(report);
    judged
}

/// All files of a trail in a folder of our own.
async fn fetch(collector: &mut Collector, trail: &TrailSummary) -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let files: Vec<&String> = trail.epochs.iter().flat_map(|epoch| &epoch.files).collect();
    let mut progress = Progress::new(io::stderr().is_terminal());
    let (mut had, whose) = (0_u64, whose(trail));
    for (index, name) in files.iter().enumerate() {
        let path = folder.path().join(safe(name)?);
        let mut file = File::create_new(&path).with_context(|| format!("write {}", path.display()))?;
        let mut told = |bytes| {
            had += bytes;
            let mib = had >> 20;
            progress.say(|| format!("{whose}: {mib} MiB, file {} of {}", index + 1, files.len()));
        };
        let limit = FILE.min(TRAIL.saturating_sub(bytes_of(folder.path())));
        collector.file(&trail.pod_uid, name, limit, &mut file, &mut told).await?;
    }
    progress.end();
    Ok(folder)
}

/// A name that is one, before it becomes part of a path here.
fn safe(name: &str) -> anyhow::Result<&str> {
    match Path::new(name).file_name() {
        Some(own) if own == name => Ok(name),
        _ => bail!("the collector names a file `{}`", name.escape_default()),
    }
}

fn bytes_of(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// What tells a judge that the trail is being written.
fn lock(folder: &Path) -> Option<File> {
    let folder = File::open(folder).ok()?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(folder)
}

fn sound(report: &Report) -> bool {
    !matches!(report.gravest, Some(Class::Invalid | Class::Diverged | Class::Unreadable))
}

impl Judged<'_> {
    /// What only the collector's summary says.
    fn add(&mut self, report: &Report) {
        let trail = self.trail;
        if trail.silent {
            let heard = trail.epochs.iter().map(|epoch| epoch.last_heard).max();
            let since = heard.map(|at| format!(" since {at:.0}")).unwrap_or_default();
            let why = format!("the sidecar is silent{since}: there is no `end`, and nothing came for too long");
            self.beside.push((Class::Incomplete, why));
        }
        if trail.damaged {
            let why = "the collector found records damaged or gone that it had acknowledged: see its log";
            self.beside.push((Class::Incomplete, why.to_owned()));
        }
        let said: u64 = trail.epochs.iter().map(|epoch| epoch.leaves).sum();
        if sound(report) && report.leaves < said {
            let why = format!("the collector says that it has {said} records; there are {}", report.leaves);
            self.beside.push((Class::Incomplete, why));
        }
        if self.keys == Keys::NoneGiven {
            let why = "no key that was given is of this trail; it was judged by those that the collector holds";
            self.beside.push((Class::Unsealed, why.to_owned()));
        }
    }

    fn exit_code(&self) -> u8 {
        let own = self.report.as_ref().map_or(2, Report::exit_code);
        gravest(std::iter::once(own).chain(self.beside.iter().map(|(class, _)| code(*class))))
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let mut text = format!("{} ({}): {}\n", whose(self.trail), self.trail.pod_uid, word(self.exit_code()));
        for (class, why) in &self.beside {
            text.push_str(&format!("  {}: {why}\n", class.label()));
        }
        match &self.report {
            Ok(report) => report.to_string().lines().for_each(|line| text.push_str(&format!("  {line}\n"))),
            Err(why) => text.push_str(&format!("  unreadable: {why}\n")),
        }
        if !self.folder.is_empty() {
            text = text.replace(&self.folder, "");
        }
        text.lines().try_for_each(|text| writeln!(out, "{}", line::printable(text)))
    }

    fn json(&self) -> Value {
        let keys = match self.keys {
            Keys::Given => "given",
            Keys::Collector => "collector",
            Keys::NoneGiven => "noneGiven",
        };
        let beside: Vec<Value> =
            self.beside.iter().map(|(class, why)| json!({"class": class.label(), "message": why})).collect();
        let mut value = json!({
            "podUid": self.trail.pod_uid,
            "namespace": self.trail.namespace,
            "pod": self.trail.pod,
            "serviceAccount": self.trail.service_account,
            "silent": self.trail.silent,
            "damaged": self.trail.damaged,
            "keys": keys,
            "verdict": word(self.exit_code()),
            "exitCode": self.exit_code(),
            "beside": beside,
        });
        match &self.report {
            Ok(report) => value["report"] = without(report_json(report).unwrap_or_default(), &self.folder),
            Err(why) => value["error"] = json!(why),
        }
        value
    }
}

/// Paths in the temporary folder say nothing to anybody.
fn without(mut value: Value, folder: &str) -> Value {
    for finding in value["findings"].as_array_mut().into_iter().flatten() {
        if let Some(name) = finding["file"].as_str().and_then(|file| file.strip_prefix(folder)) {
            finding["file"] = json!(name);
        }
    }
    value
}

fn whose(trail: &TrailSummary) -> String {
    let name = if trail.pod.is_empty() { &trail.service_account } else { &trail.pod };
    line::printable(&format!("{}/{name}", trail.namespace))
}

fn code(class: Class) -> u8 {
    match class {
        Class::Invalid => 1,
        Class::Unreadable => 2,
        Class::Diverged => 3,
        Class::Incomplete => 4,
        Class::Unsealed => 5,
    }
}

/// In the order of docs/trail-format.md, "Judging".
const GRAVITY: [u8; 5] = [1, 3, 2, 4, 5];

fn gravest(codes: impl Iterator<Item = u8>) -> u8 {
    let place = |code: &u8| GRAVITY.iter().position(|one| one == code).unwrap_or(GRAVITY.len());
    codes.min_by_key(place).unwrap_or(0)
}

fn word(code: u8) -> &'static str {
    match code {
        0 => "whole",
        1 => "invalid",
        3 => "diverged",
        4 => "incomplete",
        5 => "unsealed",
        _ => "unreadable",
    }
}

const FIRST_USE: &str = "
No keys were given: these are the keys that the collector itself holds (trust on first use). That shows damage, but not
a trail that whoever runs the collector made anew as a whole. Keep the keys with --keep-keys DIR, away from the
cluster, and give them with --key DIR from then on.";

/// Bytes of one file; a segment is far smaller.
const FILE: u64 = 1 << 30;
/// Bytes of one trail.
const TRAIL: u64 = 64 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_decides() {
        assert_eq!(gravest([0, 5, 4].into_iter()), 4);
        assert_eq!(gravest([2, 3, 4].into_iter()), 3);
        assert_eq!(gravest([3, 1, 2].into_iter()), 1);
        assert_eq!(gravest([0, 0].into_iter()), 0);
    }

    #[test]
    fn names_do_not_leave_the_folder() {
        assert!(safe("epoch-1.seg").is_ok());
        for name in ["../x", "/etc/passwd", "a/b", "..", "", "."] {
            assert!(safe(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_trail_that_the_collector_damaged_is_incomplete() {
        for (damaged, expected) in [(true, 4), (false, 0)] {
            let trail = serde_json::from_value(json!({
                "podUid": "u1", "namespace": "a", "serviceAccount": "b", "epochs": [], "silent": false, "damaged": damaged,
            }));
            let trail: TrailSummary = trail.expect("a summary");
            let report = Report::default();
            let mut judged = Judged {
                trail: &trail,
                keys: Keys::Given,
                report: Err(String::new()),
                beside: Vec::new(),
                folder: String::new(),
            };
            judged.add(&report);
            judged.report = Ok(report);
            assert_eq!(judged.exit_code(), expected);
        }
    }
}
