use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bounds::{self, OutOfBounds};

/// Bytes of a CSR; one for a P-256 key has about 500.
const MAX_CSR: usize = 16 * 1024;
/// Bytes of a chain or of roots, PEM.
const MAX_PEM: usize = 128 * 1024;

/// Asks for a certificate; the bearer token of the request says who asks, so
/// names in the CSR count for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawRequest")]
pub struct EnrolRequest {
    /// PKCS #10, PEM: proof that the asker holds the key.
    pub csr: String,
}

/// A certificate, and whom to believe from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawResponse")]
pub struct EnrolResponse {
    /// The certificate, then intermediates if there are any; PEM.
    pub certificate: String,
    /// All roots that count now, PEM. They replace those known before.
    pub roots: String,
    /// When the certificate ends. Ask again when two thirds of its life are over.
    pub expires: Timestamp,
}

#[derive(Deserialize)]
struct RawRequest {
    csr: String,
}

impl TryFrom<RawRequest> for EnrolRequest {
    type Error = OutOfBounds;

    fn try_from(raw: RawRequest) -> Result<Self, OutOfBounds> {
        bounds::bytes("csr", &raw.csr, MAX_CSR)?;
        Ok(Self { csr: raw.csr })
    }
}

#[derive(Deserialize)]
struct RawResponse {
    certificate: String,
    roots: String,
    expires: Timestamp,
}

impl TryFrom<RawResponse> for EnrolResponse {
    type Error = OutOfBounds;

    fn try_from(raw: RawResponse) -> Result<Self, OutOfBounds> {
        bounds::bytes("certificate", &raw.certificate, MAX_PEM)?;
        bounds::bytes("roots", &raw.roots, MAX_PEM)?;
        Ok(Self { certificate: raw.certificate, roots: raw.roots, expires: raw.expires })
    }
}
