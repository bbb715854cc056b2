//! What is to be built inside, decided outside.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything that the processes inside need to know. Every path is absolute
/// and has no symbolic link in it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The caller is root: the command keeps user 0 but sees the system's
    /// folders read-only, because files of root are a way out (device nodes,
    /// `core_pattern`, cron).
    pub(crate) system_read_only: bool,
    /// Where the command starts.
    pub(crate) working_folder: PathBuf,
    /// Folders that stay writable where `system_read_only`; each becomes a
    /// mount of its own.
    pub(crate) writable: Vec<PathBuf>,
    /// Folders that are seen but cannot be written: those of policy files.
    pub(crate) read_only_folders: Vec<PathBuf>,
    /// Files that are seen but cannot be written.
    pub(crate) read_only_files: Vec<PathBuf>,
    /// Folders that look empty: the trail, the gateway's own files.
    pub(crate) hidden_folders: Vec<PathBuf>,
    /// Files that look empty: sockets of programs outside, the token file.
    pub(crate) hidden_files: Vec<PathBuf>,
    /// Where `nft` is.
    pub(crate) nft: PathBuf,
}

impl Plan {
    /// The folders that must be mounts of their own, parents first.
    ///
    /// A covered path is only as firm as the folders above it: who may rename
    /// one of them could put another in its place. A mount point cannot be
    /// renamed or removed, so every folder above a covered path becomes one.
    pub(crate) fn pins(&self) -> Vec<PathBuf> {
        let covered = self
            .read_only_folders
            .iter()
            .chain(&self.read_only_files)
            .chain(&self.hidden_folders)
            .flat_map(|path| path.ancestors().skip(1));
        let mut pins: Vec<PathBuf> = covered
            .chain(self.writable.iter().map(PathBuf::as_path))
            .chain(self.read_only_folders.iter().map(PathBuf::as_path))
            .filter(|path| *path != Path::new("/") && !is_replaced(path))
            .map(Path::to_path_buf)
            .collect();
        pins.sort();
        pins.dedup();
        pins
    }

    /// Whether `path` is one of the writable folders or inside one.
    pub(crate) fn is_writable(&self, path: &Path) -> bool {
        self.writable.iter().any(|folder| path.starts_with(folder))
    }
}

/// Whether `path` lies in a folder that is mounted anew inside, where nothing
/// of the outside is to be covered.
pub(crate) fn is_replaced(path: &Path) -> bool {
    REPLACED.iter().any(|folder| path.starts_with(folder))
}

/// Folders that the command gets fresh ones of. `/run` is where the sockets of
/// container runtimes, agents and system services are.
pub(crate) const REPLACED: [&str; 4] = ["/dev", "/proc", "/run", "/var/run"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_above_a_covered_path_is_pinned_parents_first() {
        let plan = Plan {
            writable: vec!["/home/dev/project".into()],
            read_only_folders: vec!["/home/dev/project/policy/team".into()],
            hidden_folders: vec!["/home/dev/trail".into(), "/run/user/0/x".into()],
            ..Plan::default()
        };
        let pins = plan.pins();
        assert_eq!(
            pins,
            ["/home", "/home/dev", "/home/dev/project", "/home/dev/project/policy", "/home/dev/project/policy/team"]
                .map(PathBuf::from)
        );
        assert!(plan.is_writable(&pins[3]) && !plan.is_writable(&pins[1]));
    }
}
