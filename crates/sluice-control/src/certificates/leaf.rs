use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use sluice_wire::{Code, Identity, Refusal};

use super::authorities::{Authorities, CertificateError, Lifetimes, after, serial, set_validity};

/// A certificate for somebody else's key.
#[derive(Debug, Clone)]
pub struct Signed {
    /// PEM.
    pub certificate: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// Our own key and certificate, as `rustls` wants them.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Key and chain.
    pub key: Arc<CertifiedKey>,
    /// When another should take its place: after half of its life.
    pub renew_at: Timestamp,
}

/// Reads a CSR: the key that it proves. What else it asks for counts for
/// nothing.
///
/// # Errors
/// `BadCsr`, for what is none, or holds a key of another kind.
fn read_csr(pem: &str) -> Result<rcgen::PublicKey, Refusal> {
    let csr = CertificateSigningRequestParams::from_pem(pem).map_err(|error| {
        Refusal::new(
            Code::BadCsr,
            format!("`csr` is none: {error}"),
            "send a PKCS #10 request as PEM, without extensions",
        )
    })?;
    let known = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519];
    if !known.contains(&csr.public_key.algorithm()) {
        return Err(Refusal::new(Code::BadCsr, "`csr` holds a key of another kind", "use ECDSA P-256 or Ed25519"));
    }
    Ok(csr.public_key)
}

/// Names the key of a CSR: SHA-256 of its `SubjectPublicKeyInfo`, in hex.
///
/// # Errors
/// As [`sign_csr`].
pub fn fingerprint(csr: &str) -> Result<String, Refusal> {
    let key = read_csr(csr)?;
    Ok(hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.subject_public_key_info())))
}

/// Signs the key of a CSR for `identity`, for client and server use. `names`:
/// DNS names beside it.
///
/// # Errors
/// `BadCsr`, or `Unavailable` where nothing can be signed now.
pub fn sign_csr(
    csr: &str,
    identity: &Identity,
    names: &[String],
    authorities: &Authorities,
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Result<Signed, Refusal> {
    let key = read_csr(csr)?;
    sign(&key, Some(identity), names, authorities, now, lifetimes)
        .map(|(certificate, expires)| Signed { certificate: certificate.pem(), expires })
        .map_err(|error| Refusal::new(Code::Unavailable, error.to_string(), "try again in a moment"))
}

/// A key of our own with a certificate for these names.
///
/// # Errors
/// When nothing can be signed now.
pub fn own_leaf(
    identity: Option<&Identity>,
    names: &[String],
    authorities: &Authorities,
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Result<Leaf, CertificateError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let (certificate, expires) = sign(&key, identity, names, authorities, now, lifetimes)?;
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der)
        .map_err(|error| CertificateError::Stored { what: "the new key".to_owned(), cause: error.to_string() })?;
    let life = expires.as_second().saturating_sub(now.as_second()).max(0) as u64;
    Ok(Leaf {
        key: Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing)),
        renew_at: after(now, std::time::Duration::from_secs(life / 2)),
    })
}

fn sign(
    key: &impl PublicKeyData,
    identity: Option<&Identity>,
    names: &[String],
    authorities: &Authorities,
    now: Timestamp,
    lifetimes: &Lifetimes,
) -> Result<(rcgen::Certificate, Timestamp), CertificateError> {
    let authority = authorities.signer(now, lifetimes).ok_or(CertificateError::None)?;
    let expires = after(now, lifetimes.leaf).min(authority.expires);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial()?);
    if let Some(identity) = identity {
        params.subject_alt_names.push(SanType::URI(identity.to_string().try_into()?));
    }
    for name in names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    set_validity(&mut params, now, expires);
    Ok((params.signed_by(key, &authority.issuer()?)?, expires))
}
