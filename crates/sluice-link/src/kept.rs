//! What is kept over restarts: the key, and what was given for it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const KEY: &str = "workload.key";
const GIVEN: &str = "workload.json";
/// Bytes of either.
const MOST: u64 = 1024 * 1024;

/// What the control plane gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Given {
    pub(crate) certificate: String,
    pub(crate) roots: String,
    pub(crate) renew_at: Timestamp,
}

/// A folder of one process; without one nothing is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept(pub(crate) Option<PathBuf>);

/// A file of the folder is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}; name a folder that this process alone may read and write", path.display())]
pub(crate) struct KeptError {
    path: PathBuf,
    cause: io::Error,
}

impl Kept {
    /// The key, PEM.
    pub(crate) fn key(&self) -> Result<Option<String>, KeptError> {
        self.read(KEY)
    }

    pub(crate) fn keep_key(&self, pem: &str) -> Result<(), KeptError> {
        self.write(KEY, pem.as_bytes())
    }

    /// What was given; `None` too where it cannot be read: it is asked for
    /// again.
    pub(crate) fn given(&self) -> Option<Given> {
        serde_json::from_str(&self.read(GIVEN).ok()??).ok()
    }

    pub(crate) fn keep_given(&self, given: &Given) -> Result<(), KeptError> {
        self.write(GIVEN, &serde_json::to_vec(given).unwrap_or_default())
    }

    fn read(&self, name: &str) -> Result<Option<String>, KeptError> {
        let Some(folder) = &self.0 else { return Ok(None) };
        let path = folder.join(name);
        let mut text = String::new();
        match fs::File::open(&path).and_then(|file| file.take(MOST).read_to_string(&mut text)) {
            Ok(_) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(KeptError { path, cause }),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), KeptError> {
        let Some(folder) = &self.0 else { return Ok(()) };
        let path = folder.join(name);
        whole(folder, &path, bytes).map_err(|cause| KeptError { path, cause })
    }
}

/// The file appears whole or not at all, for its owner alone.
fn whole(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}
