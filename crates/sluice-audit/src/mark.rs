//! What a collector has taken: the file `acknowledged.json` of a trail that is
//! shipped. It survives restarts, and says why segments are not there any more.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::hash::Hash;
use crate::record::RecordId;

/// Name of the file.
pub(crate) const FILE: &str = "acknowledged.json";

/// What was handed over of each epoch that is still of interest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) epochs: Vec<Handed>,
}

/// What was handed over of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    pub(crate) ordinal: u64,
    pub(crate) epoch: Uuid,
    /// Newest leaf that the collector has.
    pub(crate) acknowledged: u64,
    /// Whole segments that were given back.
    pub(crate) freed: Option<Freed>,
    /// Intents in those segments that had no outcome yet.
    pub(crate) open: Vec<(u64, RecordId)>,
    /// All segments of the epoch, and its public key, were given back.
    pub(crate) gone: bool,
}

/// Segments that were given back, and the leaf with which the last of them
/// ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Freed {
    /// The newest of them; all before it too.
    pub(crate) segments: u64,
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
}

impl Mark {
    /// What the folder says; nothing when there is no such file, or none that
    /// can be read: what is missing is then a gap.
    pub(crate) fn read(folder: &Path) -> Self {
        let Ok(file) = crate::scan::regular_file(&folder.join(FILE)) else { return Self::default() };
        let mut text = Vec::new();
        match file.take(LARGEST).read_to_end(&mut text) {
            Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(_) => Self::default(),
        }
    }

    /// Replaces the file. `sync`: it must be on the disk before anything is
    /// removed for its sake.
    pub(crate) fn write(&self, folder: &Path, directory: &File, sync: bool) -> io::Result<()> {
        let temporary = folder.join(format!("{FILE}.new"));
        let _ = std::fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        if sync {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, folder.join(FILE))?;
        if sync {
            directory.sync_all()?;
        }
        Ok(())
    }

    pub(crate) fn of(&self, ordinal: u64, epoch: Uuid) -> Option<&Handed> {
        self.epochs.iter().find(|handed| (handed.ordinal, handed.epoch) == (ordinal, epoch))
    }

    /// The newest epoch of which nothing is left.
    pub(crate) fn newest_gone(&self) -> Option<&Handed> {
        self.epochs.iter().filter(|handed| handed.gone).max_by_key(|handed| handed.ordinal)
    }

    /// Takes what is newer in `handed`; forgets epochs that are gone, but for
    /// the newest, whose last leaf the next epoch may have to name.
    pub(crate) fn take(&mut self, handed: Handed) {
        match self.epochs.iter_mut().find(|known| known.epoch == handed.epoch) {
            Some(known) => {
                known.acknowledged = known.acknowledged.max(handed.acknowledged);
                if handed.freed.map_or(0, |freed| freed.segments) > known.freed.map_or(0, |freed| freed.segments) {
                    (known.freed, known.open) = (handed.freed, handed.open);
                }
                known.gone |= handed.gone;
            }
            None => self.epochs.push(handed),
        }
        let newest = self.newest_gone().map_or(0, |gone| gone.ordinal);
        self.epochs.retain(|handed| !handed.gone || handed.ordinal == newest);
    }
}

/// Bytes of the file at most: every open intent takes less than 100, and a
/// segment has room for fewer than 250,000 of them.
const LARGEST: u64 = 32 << 20;
