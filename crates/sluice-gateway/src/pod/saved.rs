//! The last policy that was taken, kept for a start without the control plane.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sluice_wire::{Config, ConfigLine, MAX_LINE_BYTES};

use crate::trust::write_whole;

const CONFIG: &str = "config.json";
const CONTACT: &str = "contact";
const BUNDLES: &str = "bundles";

/// A folder of the gateway's own.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    folder: PathBuf,
}

impl Saved {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The policy that was kept, and how long ago it was confirmed. `None`:
    /// there is none that can be read.
    pub(super) fn load(&self, now: Timestamp) -> Option<(Config, Duration)> {
        use io::Read;
        let mut text = String::new();
        let file = fs::File::open(self.folder.join(CONFIG)).ok()?;
        file.take(MAX_LINE_BYTES as u64).read_to_string(&mut text).ok()?;
        let Ok(ConfigLine::Config(config)) = serde_json::from_str(&text) else { return None };
        let contact: Timestamp = fs::read_to_string(self.folder.join(CONTACT)).ok()?.trim().parse().ok()?;
        Some((config, Duration::try_from(now.duration_since(contact)).unwrap_or_default()))
    }

    /// Keeps a policy.
    pub(super) fn keep(&self, config: &Config, now: Timestamp) {
        let line = ConfigLine::Config(config.clone());
        let kept = serde_json::to_vec(&line)
            .map_err(|error| error.to_string())
            .and_then(|text| write_whole(&self.folder.join(CONFIG), &text, 0o600).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            tracing::warn!(error, "the policy is not kept: a start without the control plane has none");
        }
        self.confirm(now);
    }

    /// The control plane was heard of.
    pub(super) fn confirm(&self, now: Timestamp) {
        if let Err(error) = write_whole(&self.folder.join(CONTACT), now.to_string().as_bytes(), 0o600) {
            tracing::warn!(%error, "the last contact with the control plane is not kept");
        }
    }

    /// Writes the bundles of a policy; gives the folder that
    /// [`Documents::in_cluster`](sluice_policy::Documents::in_cluster) wants.
    pub(super) fn bundles(&self, config: &Config) -> Result<PathBuf, String> {
        let folder = self.bundle_folder(&config.revision);
        let failed = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
        for (name, pem) in &config.bundles {
            // Three plain parts, as `sluice-wire` has made sure.
            let path = folder.join(name);
            let parent = path.parent().unwrap_or(&folder);
            fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
            write_whole(&path, pem.as_bytes(), 0o600).map_err(|error| error.to_string())?;
        }
        Ok(folder)
    }

    /// Removes the bundles of all policies but one.
    pub(super) fn tidy(&self, revision: &str) {
        let keep = self.bundle_folder(revision);
        let Ok(entries) = fs::read_dir(self.folder.join(BUNDLES)) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| *path != keep) {
            let _ = fs::remove_dir_all(path);
        }
    }

    /// A revision is any printable word: its digest leads nowhere else.
    fn bundle_folder(&self, revision: &str) -> PathBuf {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, revision.as_bytes());
        self.folder.join(BUNDLES).join(hex::encode(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_kept_with_its_last_confirmation() {
        let folder = tempfile::tempdir().expect("folder");
        let saved = Saved::new(folder.path());
        let at = |second| Timestamp::from_second(second).expect("time");
        assert!(saved.load(at(0)).is_none());
        let config = Config { revision: "../r/1".into(), ..Config::default() };
        saved.keep(&config, at(1_000));
        assert_eq!(saved.load(at(1_060)), Some((config.clone(), Duration::from_secs(60))));
        saved.confirm(at(1_050));
        assert_eq!(saved.load(at(1_060)), Some((config.clone(), Duration::from_secs(10))));
        assert_eq!(saved.load(at(0)), Some((config, Duration::ZERO)), "a clock that went back");
        fs::write(folder.path().join(CONFIG), "{}").expect("write");
        assert!(saved.load(at(0)).is_none(), "a heartbeat is no policy");
    }

    #[test]
    fn bundles_lie_by_revision() {
        let folder = tempfile::tempdir().expect("folder");
        let saved = Saved::new(folder.path());
        let config = |revision: &str| Config {
            revision: revision.into(),
            bundles: [("ns/ca/ca.crt".to_owned(), format!("PEM of {revision}"))].into(),
            ..Config::default()
        };
        let one = saved.bundles(&config("../1")).expect("bundles");
        let two = saved.bundles(&config("2")).expect("bundles");
        assert!(one.starts_with(folder.path().join(BUNDLES)) && one != two);
        assert_eq!(fs::read_to_string(one.join("ns/ca/ca.crt")).expect("file"), "PEM of ../1");
        saved.tidy("2");
        assert!(!one.exists() && two.exists());
    }
}
