//! Public keys that were kept outside a trail.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use sluice_wire::TrailSummary;
use tempfile::TempDir;

/// What trails of a collector are judged by.
pub(super) struct Trust<'a> {
    /// Files and folders of keys that were given.
    pub(super) given: &'a [PathBuf],
    /// Where the keys of sound trails are kept, a folder for each pod.
    pub(super) keep: Option<&'a Path>,
}

impl Trust<'_> {
    /// The keys that were given for this trail; `None`: none.
    ///
    /// A folder of keys says which epochs there must be. So of a folder that
    /// holds keys of several trails, only those of this one count: what lies in
    /// a folder of the pod's UID, else what is named after its epochs.
    ///
    /// # Errors
    /// When a key cannot be read.
    pub(super) fn of(&self, trail: &TrailSummary) -> anyhow::Result<Option<TempDir>> {
        let mut chosen = Vec::new();
        for path in self.given {
            let own = path.join(&trail.pod_uid);
            if own.is_dir() {
                chosen.extend(files_of(&own)?);
            } else if path.is_dir() {
                chosen.extend(files_of(path)?.into_iter().filter(|file| may_be_of(file, trail)));
            } else {
                chosen.push(path.clone());
            }
        }
        if chosen.is_empty() { Ok(None) } else { gather(&chosen).map(Some) }
    }

    /// Keeps the keys that lie in `folder`, the trail of this pod.
    ///
    /// # Errors
    /// When one differs from what was kept, or cannot be written.
    pub(super) fn keep(&self, uid: &str, folder: &Path) -> anyhow::Result<()> {
        let Some(keep) = self.keep else { return Ok(()) };
        let own = keep.join(uid);
        fs::create_dir_all(&own).with_context(|| format!("--keep-keys {}", own.display()))?;
        for file in files_of(folder)? {
            let Some(name) = file.file_name() else { continue };
            let kept = own.join(name);
            let key = fs::read(&file)?;
            match fs::read(&kept) {
                Ok(before) => {
                    ensure!(before == key, "the key {} is not the one that was kept", kept.display());
                }
                Err(_) => fs::write(&kept, key).with_context(|| format!("--keep-keys {}", kept.display()))?,
            }
        }
        Ok(())
    }
}

/// Several files and folders of keys in one folder. Names of epoch keys are
/// kept: they say which epochs there must be.
pub(super) fn gather(keys: &[PathBuf]) -> anyhow::Result<TempDir> {
    let folder = tempfile::tempdir().context("make a folder for the keys")?;
    let mut count = 0;
    for key in keys {
        let files = if key.is_dir() { files_of(key)? } else { vec![key.clone()] };
        for file in files {
            count += 1;
            let name = file.file_name().and_then(|name| name.to_str()).filter(|name| name.starts_with("epoch-"));
            let target = name.map_or_else(|| format!("key-{count}.pem"), str::to_owned);
            fs::copy(&file, folder.path().join(target)).with_context(|| format!("--key {}", file.display()))?;
        }
    }
    Ok(folder)
}

fn files_of(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("--key {}", folder.display()))? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "pub" || extension == "pem") {
            files.push(file);
        }
    }
    Ok(files)
}

fn may_be_of(file: &Path, trail: &TrailSummary) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    !name.starts_with("epoch-") || trail.epochs.iter().any(|epoch| name.contains(&epoch.epoch.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trail(uid: &str, epoch: &str) -> TrailSummary {
        let epoch = json!({
            "epoch": epoch, "ordinal": 1, "leaves": 1, "lastHeard": "2026-12-01T08:00:00Z", "ended": true, "files": [],
        });
        serde_json::from_value(
            json!({"podUid": uid, "namespace": "a", "serviceAccount": "b", "epochs": [epoch], "silent": false}),
        )
        .expect("a summary")
    }

    const ONE: &str = "01938a3e-0f4b-7c7e-9f3e-2a1d5c9b8e77";
    const TWO: &str = "01938a3e-0f4b-7c7e-9f3e-2a1d5c9b8e78";

    #[test]
    fn keys_of_other_trails_do_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        fs::write(path.join(format!("epoch-00000001-{ONE}.pub")), "one").expect("written");
        let given = [path.clone()];
        let trust = Trust { given: &given, keep: None };
        let names = |trail: &TrailSummary| {
            let found = trust.of(trail).expect("readable");
            found.map(|found| files_of(found.path()).expect("listed").len())
        };
        assert_eq!(names(&trail("u1", ONE)), Some(1));
        assert_eq!(names(&trail("u2", TWO)), None);
        // A folder of the pod's own counts whole: it says which epochs there must be.
        fs::create_dir(path.join("u2")).expect("made");
        fs::write(path.join("u2").join(format!("epoch-00000001-{ONE}.pub")), "one").expect("written");
        assert_eq!(names(&trail("u2", TWO)), Some(1));
    }

    #[test]
    fn a_key_that_changed_is_found() {
        let (trail, kept) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let trust = Trust { given: &[], keep: Some(kept.path()) };
        let key = trail.path().join(format!("epoch-00000001-{ONE}.pub"));
        fs::write(&key, "one").expect("written");
        trust.keep("u1", trail.path()).expect("kept");
        trust.keep("u1", trail.path()).expect("the same again");
        fs::write(&key, "two").expect("written");
        assert!(trust.keep("u1", trail.path()).expect_err("found").to_string().contains("not the one"));
    }
}
