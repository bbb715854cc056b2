//! Bytes onto the disk: there after a crash, or not there at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Why bytes are not stored.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Nothing is changed.
    Undone(io::Error),
    /// Nobody knows what the disk holds: only reading it again tells.
    Unknown(io::Error),
}

/// Makes a file that is there whole or not at all. What was being made when the
/// process died ends with [`UNFINISHED`].
pub(super) fn create(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
    let temporary = folder.join(format!("{name}{UNFINISHED}"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, folder.join(name))
    };
    if let Err(error) = write() {
        let _ = std::fs::remove_file(&temporary);
        return Err(WriteError::Undone(error));
    }
    sync_folder(folder).map_err(WriteError::Unknown)
}

/// Writes behind the `at` bytes that a file has.
pub(super) fn append(path: &Path, at: u64, bytes: &[u8]) -> Result<(), WriteError> {
    let file = OpenOptions::new().write(true).open(path).map_err(WriteError::Undone)?;
    let len = file.metadata().map_err(WriteError::Undone)?.len();
    if len != at {
        let why = format!("{} has {len} bytes, not {at}: somebody else writes it", path.display());
        return Err(WriteError::Unknown(io::Error::other(why)));
    }
    if let Err(error) = file.write_all_at(bytes, at) {
        // The part that was written was never told to anybody.
        return Err(match file.set_len(at).and_then(|()| file.sync_data()) {
            Ok(()) => WriteError::Undone(error),
            Err(_) => WriteError::Unknown(error),
        });
    }
    // A sync that failed is not tried again: the kernel may have dropped what
    // it could not write, and would say yes the second time.
    file.sync_data().map_err(WriteError::Unknown)
}

/// Moves what stands behind the first `len` bytes of a file into another beside
/// it, and says which. Durable before the first is cut.
pub(super) fn set_aside(path: &Path, len: u64) -> io::Result<PathBuf> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(len))?;
    Read::by_ref(&mut file).take(MAX_ASIDE).read_to_end(&mut tail)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().unwrap_or(Path::new("."));
    let aside = beside(folder, |time| format!("{name}.{len}.{time}.torn"), &tail)?;
    file.set_len(len)?;
    file.sync_all()?;
    Ok(aside)
}

/// Leaves word in a folder of what is wrong with it, until a person takes it
/// away; says in which file.
pub(super) fn note_damage(folder: &Path, what: &serde_json::Value) -> io::Result<PathBuf> {
    beside(folder, |time| format!("{DAMAGE}{time}.json"), what.to_string().as_bytes())
}

/// Whether there is such word.
pub(super) fn has_damage(folder: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        if entry?.file_name().to_string_lossy().starts_with(DAMAGE) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes a file of the first name that is free: the same can happen again and
/// again.
fn beside(folder: &Path, name: impl Fn(u32) -> String, bytes: &[u8]) -> io::Result<PathBuf> {
    let free = (1..u32::MAX).map(name).find(|name| !folder.join(name).exists());
    let name = free.ok_or(io::ErrorKind::AlreadyExists)?;
    create(folder, &name, bytes).map_err(|error| match error {
        WriteError::Undone(error) | WriteError::Unknown(error) => error,
    })?;
    Ok(folder.join(name))
}

/// Writes to the disk whatever a process before this one had written and not
/// synced when it was killed: a reader cannot tell it from what is stored.
pub(super) fn sync_all(folder: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

/// What is read of a file from here on comes from the disk. After a sync that
/// failed the kernel's memory may hold what the disk does not.
pub(super) fn forget(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// Makes a folder that nobody else may look into.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Takes the folder for this process alone, for as long as the file lives.
/// `None`: another has it.
pub(super) fn lock(folder: &Path) -> io::Result<Option<File>> {
    let directory = File::open(folder)?;
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(directory)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same, once nobody looks whether it is held.
pub(super) fn lock_to_write(folder: &Path) -> io::Result<File> {
    let directory = File::open(folder)?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)?;
    Ok(directory)
}

/// Bytes of the volume, and bytes of it that are free.
pub(super) fn volume(folder: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok((stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// What a file of `len` bytes takes of the disk, about; so that very many small
/// files count too.
pub(super) fn taken(len: u64) -> u64 {
    len.next_multiple_of(BLOCK)
}

/// Ends the name of what is being made.
pub(super) const UNFINISHED: &str = ".new";
const BLOCK: u64 = 4096;
/// Begins the name of word of damage.
const DAMAGE: &str = "damage-";
/// The longest batch is much shorter.
const MAX_ASIDE: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_whole_and_grow_only_where_they_end() {
        let folder = tempfile::tempdir().unwrap();
        create(folder.path(), "a", b"one").unwrap();
        let path = folder.path().join("a");
        append(&path, 3, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwo");
        assert!(matches!(append(&path, 3, b"three"), Err(WriteError::Unknown(_))));
        assert!(matches!(append(&folder.path().join("b"), 0, b"x"), Err(WriteError::Undone(_))));
        assert!(matches!(create(&folder.path().join("none"), "a", b"x"), Err(WriteError::Undone(_))));
        let aside = set_aside(&path, 4).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"onet");
        assert_eq!(std::fs::read(aside).unwrap(), b"wo");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(first.is_some());
        assert!(lock(folder.path()).unwrap().is_none());
        drop(first);
        assert!(lock(folder.path()).unwrap().is_some());
    }
}
