//! What a client behind the gateway must trust, as a PEM file.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;

use super::{TrustError, store};

/// Writes the system's roots and these CAs. Where the system has none (an empty
/// image) they are alone.
pub(super) fn write(path: &Path, cas: &[CertificateDer<'_>]) -> Result<(), TrustError> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a system root cannot be read and is left out of the CA bundle");
    }
    let mut text = String::new();
    for root in system.certs.iter().chain(cas) {
        text.push_str(&pem(root));
    }
    store::write_whole(path, text.as_bytes(), 0o644)
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
