//! One authority, and a leaf for the server and the peers, as PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Files of a private authority; all keys are P-256.
#[derive(Debug)]
pub(crate) struct Files {
    /// The authority's certificate.
    pub(crate) ca: PathBuf,
    /// The leaf's certificate.
    pub(crate) certificate: PathBuf,
    /// The leaf's key.
    pub(crate) key: PathBuf,
    /// Both of the leaf, as HAProxy wants them.
    pub(crate) both: PathBuf,
}

impl Files {
    /// Makes a fresh authority and a leaf for `host` in `folder`.
    pub(crate) fn create(folder: &Path, host: &str) -> Result<Self> {
        let files = Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join("leaf.pem"),
            key: folder.join("leaf-key.pem"),
            both: folder.join("leaf-both.pem"),
        };
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "the benchmark's own");
        fs::write(&files.ca, params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);

        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec![host.to_owned()])?.signed_by(&key, &issuer)?;
        fs::write(&files.certificate, leaf.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        fs::write(&files.both, leaf.pem() + &key.serialize_pem())?;
        Ok(files)
    }
}
