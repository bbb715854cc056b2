//! Whom the gateway believes when it dials.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Roots of trust for upstream certificates.
#[derive(Debug, Clone)]
pub struct Roots {
    store: Arc<RootCertStore>,
}

impl Roots {
    /// The public roots, as Mozilla lists them; compiled in.
    pub fn public() -> Self {
        Self { store: Arc::new(public_store()) }
    }

    /// The public roots and those of a PEM file, if one is named.
    ///
    /// # Errors
    /// The file cannot be read, holds no certificate, or holds one that is
    /// none.
    pub fn with_bundle(bundle: Option<&Path>) -> Result<Self, RootsError> {
        let Some(path) = bundle else { return Ok(Self::public()) };
        let wrong = |what: String| RootsError { path: path.to_owned(), what };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let mut store = public_store();
        let mut found = 0_usize;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| wrong(format!("certificate {}: {error:?}", found + 1)))?;
            store.add(certificate).map_err(|error| wrong(format!("certificate {}: {error}", found + 1)))?;
            found += 1;
        }
        if found == 0 {
            return Err(wrong("it holds no PEM certificate (BEGIN CERTIFICATE)".to_owned()));
        }
        Ok(Self { store: Arc::new(store) })
    }

    /// TLS that believes these roots and offers the protocols `alpn`.
    pub fn client(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(crate::trust::crypto())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider has suites of both versions")
            .with_root_certificates(self.store.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("file {}: {what}", path.display())]
pub struct RootsError {
    pub(super) path: PathBuf,
    pub(super) what: String,
}

fn public_store() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}
