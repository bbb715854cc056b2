//! A CA kept in a folder: `ca.key` (0600), `ca.crt`, `ca.names`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sluice_core::Secret;

use super::authority::Material;
use super::{Constraints, TrustError, bundle};

/// The CA in `dir`; `None` where there is none, or one that cannot be read as
/// one (it is replaced: nobody can have been given it).
pub(super) fn load(dir: &Path) -> Result<Option<Material>, TrustError> {
    let (Some(key), Some(certificate), Some(names)) = (read(dir, KEY)?, read(dir, CERTIFICATE)?, read(dir, NAMES)?)
    else {
        return Ok(None);
    };
    let key = Secret::new(key);
    let (Ok(key), Ok(certificate)) =
        (KeyPair::from_pem(key.expose()), CertificateDer::from_pem_slice(certificate.as_bytes()))
    else {
        return Ok(None);
    };
    if !belongs(&key, &certificate) {
        return Ok(None);
    }
    Ok(Some(Material { key, certificate, constraints: Constraints::from_lines(&names) }))
}

/// Keeps the CA. The certificate is written last: a crash on the way leaves a
/// folder that [`load`] takes for empty.
pub(super) fn save(dir: &Path, material: &Material) -> Result<(), TrustError> {
    let failed = |source| TrustError::File { path: dir.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    remove(&dir.join(CERTIFICATE))?;
    let key = Secret::new(material.key.serialize_pem());
    write_whole(&dir.join(KEY), key.expose().as_bytes(), 0o600)?;
    write_whole(&dir.join(NAMES), material.constraints.to_lines().as_bytes(), 0o644)?;
    write_whole(&dir.join(CERTIFICATE), bundle::pem(&material.certificate).as_bytes(), 0o644)
}

/// Writes a file beside `path` and moves it there.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TrustError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    remove(&beside)?;
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| TrustError::File { path: path.to_owned(), source })
}

const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.crt";
const NAMES: &str = "ca.names";

fn read(dir: &Path, name: &str) -> Result<Option<String>, TrustError> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(None),
        Err(source) => Err(TrustError::File { path, source }),
    }
}

fn remove(path: &Path) -> Result<(), TrustError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(TrustError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Whether the certificate is for this key.
fn belongs(key: &KeyPair, certificate: &CertificateDer<'_>) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw())
}
