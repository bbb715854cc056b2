use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How far a trail was acknowledged at least: its file `stored.json`.
///
/// Written after each batch is on the disk, and never synced: it may be behind,
/// but what it names was there. So it tells damage from a batch that a kill cut
/// short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) ordinal: u64,
    pub(super) epoch: Uuid,
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl Mark {
    /// What the folder says; `None` also where that cannot be read.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// In place, since it takes less than a sector.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.resize(BYTES, b' ');
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(FILE))?;
        file.write_all_at(&text, 0)
    }
}

const FILE: &str = "stored.json";
/// Enough for the largest numbers.
const BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_counts_whatever_stood_there_before() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(folder.path()), None);
        let last = Mark { ordinal: u64::MAX, epoch: Uuid::max(), segment: u64::MAX, offset: u64::MAX };
        for mark in [last, Mark { ordinal: 1, epoch: Uuid::nil(), segment: 1, offset: 0 }, last] {
            mark.write(folder.path()).unwrap();
            assert_eq!(Mark::read(folder.path()), Some(mark));
        }
        std::fs::write(folder.path().join(FILE), b"{\"ordinal\":1").unwrap();
        assert_eq!(Mark::read(folder.path()), None);
    }
}
