//! What a client behind the gateway must trust.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

/// The system's roots, then these CAs. Where the system has none (an empty
/// image) they are alone.
pub(super) fn with_system_roots(
    cas: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Vec<CertificateDer<'static>> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a system root cannot be read and is left out of the CA bundle");
    }
    system.certs.into_iter().chain(cas).collect()
}

/// Certificates, one after the other.
pub(crate) fn pem_of(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(pem).collect()
}

/// One certificate, RFC 7468.
pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    let body = STANDARD.encode(certificate);
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
