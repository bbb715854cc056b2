//! Who is at the other end.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sluice_wire::Identity;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who a certificate speaks for: its only URI name. `None`: nobody of ours.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => uri.parse().ok(),
        _ => None,
    }
}

/// Believes one identity, under these roots. The name that was dialled counts
/// for nothing: names are given by whoever runs the name servers.
#[derive(Debug)]
pub(crate) struct Expect {
    identity: Identity,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl Expect {
    pub(crate) fn new(identity: Identity, roots: Arc<RootCertStore>) -> Self {
        Self { identity, roots, provider: crate::crypto() }
    }
}

/// The certificate is of somebody else.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is of {found}, not of {wanted}")]
pub(crate) struct SomebodyElse {
    wanted: Identity,
    found: String,
}

impl ServerCertVerifier for Expect {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        let found = identity_of(end_entity);
        if found.as_ref() == Some(&self.identity) {
            return Ok(ServerCertVerified::assertion());
        }
        let found = found.map_or_else(|| "nobody of ours".to_owned(), |found| found.to_string());
        let other = SomebodyElse { wanted: self.identity.clone(), found };
        Err(CertificateError::Other(rustls::OtherError(Arc::new(other))).into())
    }

    /// TLS 1.3 alone is offered.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
