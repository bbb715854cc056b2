//! `kill -9` between every two stages of the path and of the trail.
//!
//! After each: no answer that a client had is without its record, nothing
//! reached the server without an intent, and `verify` says what is unknown.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sluice_testkit::{Builder, Finished, Gateway, Request, Seat, Upstream};

use crate::world::{self, TARGET, claims, config_map};

seats!(
    killed_between_stages_of_the_path,
    killed_while_writing_the_trail,
    killed_while_turning_to_a_new_segment,
    killed_while_recovering,
    killed_at_the_end
);

const RULES: &str = r#"
  - name: change
    subjects: {groups: ["entra:developers"]}
    targets: [aks]
    kubernetes: {verbs: ["*"], resources: [configmaps], namespaces: [dev]}
    action: Allow
"#;

/// One gateway, its trail, and what clients know of it.
struct Story {
    upstream: Upstream,
    token: String,
    /// Names of objects whose change was acknowledged.
    acknowledged: Vec<String>,
    next: u32,
    /// Why the last change had no answer.
    broken: String,
}

impl Story {
    fn begin(seat: Seat) -> Result<(Self, Builder)> {
        let (builder, upstream, signer) = world::fake(seat, &["h2", "http/1.1"], RULES, "", config_map)?;
        let token = signer.token(&claims())?;
        Ok((Self { upstream, token, acknowledged: Vec::new(), next: 0, broken: String::new() }, builder))
    }

    /// A change that policy allows; the record of it is as large as `size`
    /// asks. Whether it was acknowledged: without an answer it was not, and
    /// any other answer is a failure of the test.
    fn change(&mut self, gateway: &Gateway, size: usize) -> Result<bool> {
        let name = format!("map-{}", self.next);
        self.next += 1;
        let query = if size == 0 { String::new() } else { format!("?fieldManager=e2e&x={}", "x".repeat(size)) };
        let request = Request::new("PATCH", format!("/api/v1/namespaces/dev/configmaps/{name}{query}"))
            .bearer(&self.token)
            .body("application/merge-patch+json", r#"{"data": {"a": "b"}}"#);
        let response = match gateway.ask(TARGET, &request) {
            Ok(response) => response,
            Err(error) => {
                self.broken = format!("{name}: {error:#}");
                return Ok(false);
            }
        };
        ensure!(
            response.status == 200,
            "{name}: {} {}\n{}",
            response.status,
            response.text(),
            gateway.process().stderr()
        );
        self.acknowledged.push(name);
        Ok(true)
    }

    /// A read that policy denies.
    fn denied(&self, gateway: &Gateway) {
        let request = Request::get("/api/v1/namespaces/dev/secrets").bearer(&self.token);
        let _ = gateway.ask(TARGET, &request);
    }

    /// Works until the gateway is killed at `point`.
    fn until_killed(&mut self, mut gateway: Gateway, point: &str, size: usize) -> Result<Builder> {
        for _ in 0..5_000 {
            self.denied(&gateway);
            if !self.change(&gateway, size)? {
                fired(gateway.process_mut(), point).with_context(|| self.broken.clone())?;
                return gateway.kill();
            }
        }
        bail!("{point} was never reached")
    }

    /// Judges what the killed gateway left, and what the next one makes of it.
    fn judge(&mut self, left: Builder, point: &str) -> Result<()> {
        let verified = left.trail().with_its_own_keys().verify()?;
        ensure!(matches!(verified.code, 0 | 4 | 5), "{point}: after the kill: {} {}", verified.code, verified.text);
        let gateway = left.start().with_context(|| format!("{point}: the next gateway"))?;
        ensure!(self.change(&gateway, 0)?, "{point}: the next gateway does not serve");
        let stopped = gateway.stop()?;
        let trail = stopped.trail();
        let verified = trail.with_its_own_keys().verify()?;
        ensure!(matches!(verified.code, 0 | 4), "{point}: after recovery: {} {}", verified.code, verified.text);
        let records = trail.records()?;
        let unknown = self.complete(&records).with_context(|| point.to_owned())?;
        ensure!(
            unknown == 0 || verified.code == 4,
            "{point}: {unknown} outcomes are unknown, and verify says: {}",
            verified.text
        );
        Ok(())
    }

    /// Every acknowledged change and everything that reached the server is
    /// recorded; the number of outcomes that are unknown.
    fn complete(&self, records: &[Value]) -> Result<usize> {
        let kind = |record: &Value, kind: &str| record["kind"] == kind;
        let intents: Vec<_> = records.iter().filter(|record| kind(record, "intent")).collect();
        let outcomes: Vec<_> = records.iter().filter(|record| kind(record, "outcome")).collect();
        let name = |intent: &Value| {
            let resource = &intent["body"]["command"]["actions"][0]["kubernetes"]["scope"]["resource"];
            resource["name"].as_str().unwrap_or_default().to_owned()
        };
        let intended: BTreeSet<_> = intents.iter().map(|intent| name(intent)).collect();
        for seen in self.upstream.seen() {
            let path = seen.path.split('?').next().unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or_default();
            ensure!(intended.contains(name), "{name} reached the server without an intent");
        }
        let mut unknown = 0;
        for intent in &intents {
            let own: Vec<_> = outcomes.iter().filter(|outcome| outcome["of"]["id"] == intent["id"]).collect();
            ensure!(own.len() == 1, "{} has {} outcomes", name(intent), own.len());
            let is_unknown = own.iter().any(|outcome| outcome["body"]["outcome"] == "unknown");
            unknown += usize::from(is_unknown);
            ensure!(
                !(is_unknown && self.acknowledged.contains(&name(intent))),
                "the outcome of {} was acknowledged and is lost",
                name(intent)
            );
        }
        for name in &self.acknowledged {
            ensure!(intended.contains(name), "{name} was acknowledged and has no record");
        }
        Ok(unknown)
    }
}

/// The process ended by SIGKILL at this point and no other.
fn fired(process: &mut sluice_testkit::Process, point: &str) -> Result<()> {
    let status = process.ended(sluice_testkit::LONG).with_context(|| format!("{point} did not fire"))?;
    ensure!(status.signal() == Some(9), "{point}: ended with {status}: {}", process.stderr());
    let name = point.split(':').next().unwrap_or_default();
    let marker = format!("SLUICE_FAILPOINT {name}");
    // The last words of a process may be read after its end is known.
    process.error_line(&marker, |line| (line == marker).then_some(()))
}

fn killed(finished: &Finished, point: &str) -> Result<()> {
    ensure!(finished.status.signal() == Some(9), "{point}: ended with {}: {}", finished.status, finished.stderr);
    ensure!(
        finished.stderr.contains(&format!("SLUICE_FAILPOINT {point}")),
        "{point} did not fire: {}",
        finished.stderr
    );
    Ok(())
}

/// Failpoints of the gateway, as they stand in its source: a new one is tried
/// without anybody remembering to list it.
fn points_of_the_path() -> Result<BTreeSet<String>> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/sluice-gateway/src")];
    let mut points = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(path)?;
                let names = text.split("failpoint!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                points.extend(names.filter(|name| name.starts_with("gateway.")).map(str::to_owned));
            }
        }
    }
    ensure!(points.len() >= 8, "few failpoints in the gateway: {points:?}");
    Ok(points)
}

fn points_of_the_trail(pick: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let points: Vec<_> = sluice_audit::failpoint::NAMES.iter().copied().filter(|name| pick(name)).collect();
    assert!(!points.is_empty());
    points
}

fn killed_between_stages_of_the_path(seat: Seat) -> Result<()> {
    for point in points_of_the_path()? {
        // The third time, so that something was acknowledged before.
        let (mut story, builder) = Story::begin(seat)?;
        let gateway = builder.failpoint(&format!("{point}:3"))?.start()?;
        let left = story.until_killed(gateway, &point, 0)?;
        story.judge(left, &point)?;
    }
    Ok(())
}

fn killed_while_writing_the_trail(seat: Seat) -> Result<()> {
    for point in points_of_the_trail(|name| !name.contains('.') && !name.ends_with("_head")) {
        let (mut story, builder) = Story::begin(seat)?;
        let gateway = builder.failpoint(&format!("{point}:12"))?.start()?;
        let left = story.until_killed(gateway, point, 0)?;
        story.judge(left, point)?;
    }
    Ok(())
}

fn killed_while_turning_to_a_new_segment(seat: Seat) -> Result<()> {
    for point in points_of_the_trail(|name| name.starts_with("rotate.")) {
        let (mut story, builder) = Story::begin(seat)?;
        // The first segment is made at the start.
        let gateway = builder.failpoint(&format!("{point}:2"))?.start()?;
        let left = story.until_killed(gateway, point, 56_000)?;
        story.judge(left, point)?;
    }
    Ok(())
}

fn killed_while_recovering(seat: Seat) -> Result<()> {
    for point in points_of_the_trail(|name| name.starts_with("recovery.")) {
        let (mut story, builder) = Story::begin(seat)?;
        // An open intent and a torn frame, so that every step of a recovery has something to do.
        let gateway = builder.failpoint("gateway.after_intent:3")?.start()?;
        let left = story.until_killed(gateway, "gateway.after_intent", 0)?;
        let gateway = left.failpoint("mid_frame:8")?.start()?;
        let left = story.until_killed(gateway, "mid_frame", 0)?.failpoint(point)?;
        killed(&left.ends()?, point)?;
        story.judge(left.calm()?, point)?;
    }
    Ok(())
}

fn killed_at_the_end(seat: Seat) -> Result<()> {
    for point in points_of_the_trail(|name| name.starts_with("end.") || name.ends_with("_head")) {
        let (mut story, builder) = Story::begin(seat)?;
        // The first head is signed at the start.
        let time = if point.ends_with("_head") { 2 } else { 1 };
        let mut gateway = builder.failpoint(&format!("{point}:{time}"))?.start()?;
        for _ in 0..3 {
            ensure!(story.change(&gateway, 0)?, "{point}: it fired before the end");
        }
        gateway.process().signal("TERM")?;
        fired(gateway.process_mut(), point)?;
        story.judge(gateway.kill()?, point)?;
    }
    Ok(())
}
