use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::format::Named;
use crate::key::PublicKey;

/// Keys that were kept outside the trail.
#[derive(Debug, Default)]
pub(super) struct Trusted {
    pub(super) keys: HashSet<PublicKey>,
    /// Epochs that there must be, by the names of the files.
    pub(super) epochs: BTreeMap<(u64, Uuid), PublicKey>,
}

impl Trusted {
    /// A file of keys, or a folder of such files. A file that has the name of an
    /// epoch's key also says that there must be that epoch, whichever way it is
    /// given; a file of any other name only says whose heads are believed.
    pub(super) fn read(path: &Path) -> Result<Self, (PathBuf, String)> {
        let mut trusted = Self::default();
        if !path.is_dir() {
            trusted.take(path)?;
            return Ok(trusted);
        }
        let unlistable =
            |error: std::io::Error| (path.to_owned(), format!("the folder of keys cannot be listed: {error}"));
        for entry in std::fs::read_dir(path).map_err(unlistable)? {
            let file = entry.map_err(unlistable)?.path();
            if file.extension().is_some_and(|extension| extension == "pub" || extension == "pem") {
                trusted.take(&file)?;
            }
        }
        if trusted.keys.is_empty() {
            return Err((path.to_owned(), "there is no public key (*.pub, *.pem) in this folder".into()));
        }
        Ok(trusted)
    }

    fn take(&mut self, file: &Path) -> Result<(), (PathBuf, String)> {
        let keys = read_keys(file)?;
        let named = file.file_name().and_then(|name| name.to_str()).map_or(Named::Other, Named::parse);
        if let (Named::PublicKey { ordinal, epoch }, [key]) = (named, keys.as_slice()) {
            self.epochs.insert((ordinal, epoch), *key);
        }
        self.keys.extend(keys);
        Ok(())
    }
}

fn read_keys(path: &Path) -> Result<Vec<PublicKey>, (PathBuf, String)> {
    let bytes = read_small(path).map_err(|error| (path.to_owned(), format!("the key cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| (path.to_owned(), "the key is not PEM text".to_owned()))?;
    PublicKey::parse_pem(&text).map_err(|why| (path.to_owned(), format!("the key cannot be read: {why}")))
}

/// At most 1 MiB of a file.
pub(super) fn read_small(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Keys may be named by links and pipes; the trail's own are plain files.
    std::fs::File::open(path)?.take(1 << 20).read_to_end(&mut bytes)?;
    Ok(bytes)
}
