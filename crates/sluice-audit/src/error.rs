use std::io;
use std::path::{Path, PathBuf};

/// Why the trail does not take a record. What was not recorded must not be
/// forwarded, so each says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrailError {
    /// The folder cannot be made, read or opened.
    #[error("trail folder {folder}: {cause}; fix: {fix}")]
    Folder {
        /// The trail's folder.
        folder: PathBuf,
        /// What the system said, and of which file.
        cause: String,
        /// What to do.
        fix: String,
    },
    /// Another process writes this trail.
    #[error(
        "trail folder {folder}: another gateway writes it (its lock is held); fix: stop that gateway, or give this one a folder of its own"
    )]
    Locked {
        /// The trail's folder.
        folder: PathBuf,
    },
    /// An option is outside its bounds.
    #[error("trail option {option}: {value} is {cause}; fix: {fix}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        cause: String,
        /// What to do.
        fix: String,
    },
    /// No room for more records. Outcomes of what was recorded still have room.
    #[error("trail folder {folder} is full: {cause}; fix: {fix}")]
    Full {
        /// The trail's folder.
        folder: PathBuf,
        /// Which limit was met.
        cause: String,
        /// What to do.
        fix: String,
    },
    /// A new segment cannot be made. Outcomes of what was recorded still have
    /// room.
    #[error("trail folder {folder} is not writable: {cause}; fix: {fix}")]
    Unwritable {
        /// The trail's folder.
        folder: PathBuf,
        /// What the system said.
        cause: String,
        /// What to do.
        fix: String,
    },
    /// The file under the writer is gone or is another one. Final: this
    /// process writes no more records.
    #[error("trail folder {folder} was changed under the gateway: {cause}; fix: {fix}")]
    Deleted {
        /// The trail's folder.
        folder: PathBuf,
        /// Which file, and what happened to it.
        cause: String,
        /// What to do.
        fix: String,
    },
    /// A write or a sync failed. Final: what the disk holds is not known until
    /// the trail is opened again.
    #[error("trail folder {folder} failed: {cause}; fix: {fix}")]
    Failed {
        /// The trail's folder.
        folder: PathBuf,
        /// What the system said.
        cause: String,
        /// What to do.
        fix: String,
    },
    /// The record is in the trail, but the collector did not acknowledge it in
    /// time.
    #[error(
        "trail folder {folder}: record {sequence} was not acknowledged by the collector within {} s; fix: see why the collector cannot be reached or refuses records (`sluice check`), then try again",
        wait.as_secs_f32()
    )]
    Unacknowledged {
        /// The trail's folder.
        folder: PathBuf,
        /// The record's place in the epoch.
        sequence: u64,
        /// How long it waited.
        wait: std::time::Duration,
    },
    /// `Collector` durability was asked for, and the trail is not shipped.
    #[error(
        "trail folder {folder}: durability Collector was asked for and no collector is configured; fix: name a collector, or ask for Disk"
    )]
    NoCollector {
        /// The trail's folder.
        folder: PathBuf,
    },
    /// The trail was ended.
    #[error(
        "trail folder {folder}: the trail has ended; fix: nothing is recorded after the end, start the gateway again"
    )]
    Ended {
        /// The trail's folder.
        folder: PathBuf,
    },
}

impl TrailError {
    pub(crate) fn folder(folder: &Path, doing: &str, error: &io::Error) -> Self {
        let fix = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "let the gateway's user read, write and search the folder, or name another with --trail"
            }
            io::ErrorKind::ReadOnlyFilesystem => "mount it writable, or name another folder with --trail",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free room on that file system, or name a folder on another with --trail"
            }
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "name a folder, not a file, with --trail",
            io::ErrorKind::NotFound => "make the folder, or correct --trail",
            _ => "see what the system says of that folder, or name another with --trail",
        };
        Self::Folder { folder: folder.into(), cause: format!("{doing}: {error}"), fix: fix.into() }
    }

    /// A new segment could not be made.
    pub(crate) fn rotation(folder: &Path, doing: &str, error: &io::Error) -> Self {
        let folder_path = folder.to_path_buf();
        let cause = format!("{doing}: {error}");
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::Full {
                folder: folder_path,
                cause,
                fix: "free room on that file system (or raise its quota or the file size limit); commands are taken again by themselves"
                    .into(),
            },
            _ => Self::Unwritable {
                folder: folder_path,
                cause,
                fix: "make the folder writable for the gateway's user; commands are taken again by themselves".into(),
            },
        }
    }

    pub(crate) fn failed(folder: &Path, doing: &str, error: &io::Error) -> Self {
        Self::Failed {
            folder: folder.into(),
            cause: format!("{doing}: {error}"),
            fix: "repair the disk, then start the gateway again: it recovers what is there".into(),
        }
    }

    /// Whether the trail takes records again by itself once the cause is gone.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Unwritable { .. } | Self::Unacknowledged { .. })
    }
}
