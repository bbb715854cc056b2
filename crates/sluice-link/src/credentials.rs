use std::sync::Arc;

use jiff::Timestamp;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sluice_wire::Identity;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::verify::{Expect, identity_of};

/// What a process shows, and whom it believes.
#[derive(Debug, Clone)]
pub struct Credentials {
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    root_certificates: Arc<[CertificateDer<'static>]>,
    identity: Identity,
    expires: Timestamp,
}

/// Whether a server asks its clients for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// It does not.
    Anonymous,
    /// One that is given must be under the roots.
    MayPresent,
    /// There must be one, under the roots.
    MustPresent,
}

/// Key, certificate and roots that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CredentialsError(String);

fn wrong(what: impl Into<String>) -> CredentialsError {
    CredentialsError(what.into())
}

impl Credentials {
    /// Key and chain (its own certificate first), and whom to believe.
    ///
    /// # Errors
    /// Which of them is of no use.
    pub fn new(key: Arc<CertifiedKey>, roots: Vec<CertificateDer<'static>>) -> Result<Self, CredentialsError> {
        let leaf = key.cert.first().ok_or_else(|| wrong("there is no certificate"))?;
        let identity = identity_of(leaf).ok_or_else(|| wrong("the certificate has no SPIFFE ID of ours"))?;
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|error| wrong(format!("the certificate cannot be read: {error}")))?;
        let expires = Timestamp::from_second(parsed.validity().not_after.timestamp())
            .map_err(|error| wrong(format!("the certificate's end is no time: {error}")))?;
        if let Err(error @ rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) = key.keys_match() {
            return Err(wrong(format!("the certificate is for another key: {error}")));
        }
        Ok(Self { roots: Arc::new(store(&roots)?), root_certificates: roots.into(), identity, expires, key })
    }

    /// From PEM: a private key, a chain, roots.
    ///
    /// # Errors
    /// Which of them is of no use.
    pub fn from_pem(key: &str, chain: &str, roots: &str) -> Result<Self, CredentialsError> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| wrong(format!("the key cannot be read: {error}")))?;
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|error| wrong(format!("the key is of no use: {error}")))?;
        Self::new(Arc::new(CertifiedKey::new(pem_certificates(chain)?, signing)), pem_certificates(roots)?)
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// When the certificate ends.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Key and chain.
    pub fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Whom it believes.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.root_certificates
    }

    /// TLS 1.3 and HTTP/2 to a server that must be `server`, showing the
    /// certificate.
    pub fn client_config(&self, server: &Identity) -> Arc<ClientConfig> {
        let expect = Expect::new(server.clone(), self.roots.clone());
        let resolver = Arc::new(SingleCertAndKey::from((*self.key).clone()));
        let mut config = client(expect).with_client_cert_resolver(resolver);
        finish(&mut config);
        Arc::new(config)
    }

    /// What a server of ours shows: TLS 1.3 and 1.2, HTTP/2 and HTTP/1.1. Take
    /// it anew for each connection, since credentials change.
    ///
    /// # Errors
    /// The roots are of no use.
    pub fn server_config(&self, clients: Clients) -> Result<Arc<ServerConfig>, CredentialsError> {
        let builder = ServerConfig::builder_with_provider(crate::crypto())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?;
        let verifier = || WebPkiClientVerifier::builder_with_provider(self.roots.clone(), crate::crypto());
        let verifier = match clients {
            Clients::Anonymous => None,
            Clients::MayPresent => Some(verifier().allow_unauthenticated().build()),
            Clients::MustPresent => Some(verifier().build()),
        };
        let builder = match verifier {
            None => builder.with_no_client_auth(),
            Some(built) => builder.with_client_cert_verifier(built.map_err(|error| wrong(error.to_string()))?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from((*self.key).clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A resumed session would keep a certificate alive beyond its end.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// TLS to a server that must be `server`, under `roots`, showing nothing: for
/// who has no certificate yet.
pub(crate) fn anonymous_client(
    server: &Identity,
    roots: &[CertificateDer<'static>],
) -> Result<Arc<ClientConfig>, CredentialsError> {
    let expect = Expect::new(server.clone(), Arc::new(store(roots)?));
    let mut config = client(expect).with_no_client_auth();
    finish(&mut config);
    Ok(Arc::new(config))
}

fn client(expect: Expect) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(crate::crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(expect))
}

fn finish(config: &mut ClientConfig) {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
}

fn store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, CredentialsError> {
    let mut store = RootCertStore::empty();
    for (index, root) in roots.iter().enumerate() {
        store.add(root.clone()).map_err(|error| wrong(format!("root {} is of no use: {error}", index + 1)))?;
    }
    if store.is_empty() { Err(wrong("there are no roots")) } else { Ok(store) }
}

/// The certificates of a PEM text.
///
/// # Errors
/// Which one is none.
pub fn pem_certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .enumerate()
        .map(|(index, read)| read.map_err(|error| wrong(format!("PEM certificate {} is none: {error}", index + 1))))
        .collect()
}
