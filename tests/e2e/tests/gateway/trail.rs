//! The record of what was done: what it says, what it never says, and what
//! happens where it cannot be kept.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluice_testkit::{Builder, Protocol, Request, Seat, Trail, eventually};

use crate::world::{EVERYTHING, Fake, HOST, Real, TARGET, assert_denied, config_map, fake};

seats!(
    the_trail_tells_what_happened,
    a_flipped_byte_is_found_and_named,
    a_trail_without_its_end_is_found,
    no_room_for_a_trail_is_refused_at_start,
    a_full_trail_denies_with_the_reason,
    a_trail_that_is_deleted_denies_with_the_reason,
    two_gateways_never_share_a_trail
);

const RULES: &str = r#"
  - name: read
    subjects: {groups: ["entra:developers"]}
    targets: [aks]
    kubernetes: {verbs: [get, list, watch], resources: [secrets, configmaps, pods], namespaces: [dev]}
    action: Allow
"#;

/// The records of that kind.
fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["kind"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(kind))).collect()
}

fn the_trail_tells_what_happened(seat: Seat) -> Result<()> {
    let real = Real::start(seat, RULES)?;
    let mut client = real.client(Protocol::Http2)?;
    let secret = Request::get("/api/v1/namespaces/dev/secrets/db").bearer(&real.token);
    client.send(&secret.clone().header("x-sluice-intent", "look at ticket 4711"))?.expect(200)?;
    assert_denied(
        &client.send(&Request::new("DELETE", "/api/v1/namespaces/dev/secrets/db").bearer(&real.token))?,
        403,
        &[],
    )?;
    let forged = real.cluster.token(&json!({"upn": "dev@example.com", "alg": "none"}))?;
    client.send(&Request::get("/api/v1/namespaces/dev/pods").bearer(&forged))?.expect(401)?;
    drop(client);
    let stored = real.cluster.admin(Request::get("/api/v1/namespaces/dev/secrets/db"))?.expect(200)?.json()?;
    let values: Vec<String> = stored["data"]
        .as_object()
        .context("data is an object")?
        .values()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect();
    let token = real.token.clone();
    let stopped = real.gateway.stop()?;
    let trail = stopped.trail();
    let verified = trail.verify()?;
    assert_eq!(verified.code, 0, "{}", verified.text);

    let records = trail.records()?;
    let intents = of_kind(&records, "intent");
    assert_eq!(intents.len(), 1, "{records:#?}");
    let command = &intents[0]["body"]["command"];
    assert_eq!(command["subject"]["kubernetesUser"], "dev@example.com");
    assert_eq!(command["target"]["name"], "aks");
    assert_eq!(command["intents"][0]["text"], "look at ticket 4711");
    assert_eq!(intents[0]["body"]["rule"]["rule"], "read");
    let outcomes = of_kind(&records, "outcome");
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0]["of"]["id"], intents[0]["id"]);
    assert_eq!(outcomes[0]["body"]["status"], 200);
    ensure!(outcomes[0]["body"]["masks"].to_string().contains('3'), "three masked values: {}", outcomes[0]);
    ensure!(outcomes[0]["body"]["upstreamId"].is_string(), "the API server's Audit-Id: {}", outcomes[0]);
    let refused = of_kind(&records, "refused");
    ensure!(refused.iter().any(|record| record["body"]["reason"]["code"] == "NoRule"), "{refused:#?}");
    ensure!(refused.iter().any(|record| record["body"]["reason"]["code"] == "AlgorithmRefused"), "{refused:#?}");

    let everything = fs::read_dir(trail.folder())?
        .map(|file| Ok(String::from_utf8_lossy(&fs::read(file?.path())?).into_owned()))
        .collect::<Result<String>>()?;
    let signature = token.rsplit('.').next().context("a token has a signature")?;
    for secret in values.iter().map(String::as_str).chain([signature, "database-password"]) {
        ensure!(!everything.contains(secret), "the trail holds {secret:?}");
    }
    Ok(())
}

/// A trail of some commands, whose gateway has ended.
fn some_trail(seat: Seat) -> Result<Builder> {
    let fake = Fake::start(seat, config_map)?;
    for index in 0..20 {
        fake.ask(Request::get(format!("/api/v1/namespaces/dev/configmaps/map-{index}")))?.expect(200)?;
    }
    fake.gateway.stop()
}

/// The segments of a trail, oldest first: its largest files.
fn segments(trail: &Trail) -> Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(trail.folder())?
        .map(|file| Ok(file?.path()))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|path| path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 4_096))
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "no segment in {}", trail.folder().display());
    Ok(files)
}

fn a_flipped_byte_is_found_and_named(seat: Seat) -> Result<()> {
    let stopped = some_trail(seat)?;
    let trail = stopped.trail();
    assert_eq!(trail.verify()?.code, 0);
    let segment = segments(&trail)?.remove(0);
    let whole = fs::read(&segment)?;
    let text = String::from_utf8_lossy(&whole);
    let record = trail
        .records()?
        .into_iter()
        .find(|record| record.to_string().contains("map-11") && record["kind"] == "intent")
        .context("no intent for map-11")?;
    let at = text.find("map-11").context("the record is in the segment")?;
    let mut flipped = whole.clone();
    flipped[at] ^= 1;
    fs::write(&segment, &flipped)?;
    let verified = trail.verify()?;
    assert_eq!(verified.code, 1, "{}", verified.text);
    let sequence = record["sequence"].to_string();
    ensure!(verified.text.contains(&sequence), "record {sequence} is not named: {}", verified.text);
    // Put back, it is whole again.
    fs::write(&segment, &whole)?;
    assert_eq!(trail.verify()?.code, 0);
    Ok(())
}

fn a_trail_without_its_end_is_found(seat: Seat) -> Result<()> {
    let stopped = some_trail(seat)?;
    let trail = stopped.trail();
    let segment = segments(&trail)?.remove(0);
    let whole = fs::read(&segment)?;
    for keep in [whole.len() / 4, whole.len() / 2, whole.len() - 1] {
        fs::write(&segment, &whole[..keep])?;
        let verified = trail.verify()?;
        ensure!(matches!(verified.code, 1 | 4 | 5), "cut at {keep}: {} {}", verified.code, verified.text);
    }
    fs::remove_file(&segment)?;
    let verified = trail.verify()?;
    ensure!(matches!(verified.code, 1 | 2 | 4), "no segment: {} {}", verified.code, verified.text);
    // Another gateway's key vouches for nothing here.
    fs::write(&segment, &whole)?;
    let other = some_trail(seat)?;
    let stranger = Trail::new(trail.folder().to_owned(), Some(other.folder().join("key.pem")));
    ensure!(stranger.verify()?.code != 0, "a trail of an unknown key is believed");
    Ok(())
}

/// A gateway whose trail lies on a file system of that size, which only it
/// sees.
fn on_small_disk(builder: Builder, options: &str) -> Builder {
    let folder = builder.trail().folder().display().to_string();
    let script = format!("mount -t tmpfs -o mode=777,{options} none \"$0\" && exec \"$@\"");
    builder.around(&["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, &folder])
}

fn no_room_for_a_trail_is_refused_at_start(seat: Seat) -> Result<()> {
    for (options, what) in [("size=64k", "too small"), ("ro", "read-only")] {
        let (builder, _upstream, _) = fake(seat, &["http/1.1"], EVERYTHING, "", config_map)?;
        let folder = builder.trail().folder().display().to_string();
        let refused = on_small_disk(builder, options).refused().context(what)?;
        ensure!(refused.stderr.contains(&folder), "{what}: the folder is not named: {}", refused.stderr);
        ensure!(refused.stderr.contains("fix"), "{what}: no fix is named: {}", refused.stderr);
    }
    Ok(())
}

fn a_full_trail_denies_with_the_reason(seat: Seat) -> Result<()> {
    let (builder, upstream, signer) = fake(seat, &["http/1.1"], EVERYTHING, "", config_map)?;
    let fake = Fake::over(on_small_disk(builder, "size=20m"), upstream, signer)?;
    // Records as large as a request can make them.
    let selector = "x".repeat(30_000);
    let path = format!("/api/v1/namespaces/dev/pods?labelSelector={selector}");
    let mut client = fake.gateway.client(Protocol::Http1, TARGET)?;
    let request = Request::get(path).bearer(&fake.token);
    let mut answered = 0;
    let denied = loop {
        let response = client.send(&request)?;
        if response.status != 200 {
            break response;
        }
        answered += 1;
        ensure!(answered < 20_000, "20 MiB of trail never fill");
    };
    assert_denied(&denied, 503, &["trail", "full"])?;
    assert_eq!(fake.paths().len(), answered, "what was not recorded was not forwarded");
    assert_denied(&client.send(&request)?, 503, &["trail", "full"])?;
    // Every command that was answered is there, with its outcome.
    let inside = format!("/proc/{}/root{}", fake.gateway.process().id(), fake.gateway.trail().folder().display());
    let records = Trail::new(inside.into(), None).records()?;
    assert_eq!(of_kind(&records, "intent").len(), answered);
    assert_eq!(of_kind(&records, "outcome").len(), answered);
    Ok(())
}

fn a_trail_that_is_deleted_denies_with_the_reason(seat: Seat) -> Result<()> {
    let fake = Fake::start(seat, config_map)?;
    let request = Request::new("DELETE", "/api/v1/namespaces/dev/configmaps/one");
    fake.ask(request.clone())?.expect(200)?;
    fs::remove_dir_all(fake.gateway.trail().folder())?;
    // It is noticed soon, and with certainty before it is noticed by the trail's reader.
    eventually("the loss to be noticed", || fake.ask(request.clone())?.expect(503).map(drop))?;
    let before = fake.paths().len();
    assert_denied(&fake.ask(request)?, 503, &["trail"])?;
    assert_eq!(fake.paths().len(), before, "what was not recorded was not forwarded");
    Ok(())
}

fn two_gateways_never_share_a_trail(seat: Seat) -> Result<()> {
    let fake = Fake::start(seat, config_map)?;
    let (builder, _upstream, _) = crate::world::fake(seat, &["http/1.1"], EVERYTHING, "", config_map)?;
    let folder = fake.gateway.trail().folder().display().to_string();
    let refused = builder.without("--trail").arguments(["--trail", &folder]).refused()?;
    ensure!(refused.stderr.contains(&folder) && refused.stderr.contains("another gateway"), "{}", refused.stderr);
    let _ = HOST;
    Ok(())
}
