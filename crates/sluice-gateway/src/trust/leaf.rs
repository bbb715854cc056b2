use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::TrustError;

/// A signed leaf.
pub(super) struct Leaf {
    pub(super) key: Arc<CertifiedKey>,
    /// From then on a new one is made, long before this one ends.
    pub(super) renew_at: Timestamp,
}

impl Leaf {
    /// A leaf with a key of its own for `host` and the names beside it, all of
    /// which the CA may speak for.
    pub(super) fn sign(
        host: &str,
        beside: &[String],
        issuer: &Issuer<'static, KeyPair>,
        now: Timestamp,
    ) -> Result<Self, TrustError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // No host: some verifiers hold a common name that looks like one
        // against the CA's constraints, an address as a DNS name.
        params.distinguished_name.push(DnType::CommonName, "Sluice gateway");
        params.subject_alt_names = std::iter::once(host)
            .chain(beside.iter().map(String::as_str))
            .map(alternative)
            .collect::<Result<_, _>>()?;
        params.serial_number = Some(serial()?);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, LIFE);
        let certificate = params.signed_by(&key, issuer)?.der().clone();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = super::crypto().key_provider.load_private_key(private)?;
        Ok(Self { key: Arc::new(CertifiedKey::new(vec![certificate], signer)), renew_at: after(now, LIFE / 2) })
    }
}

/// Names and IP addresses that a certificate carries, as text; none when it
/// cannot be read. At most 256.
pub fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(extension)) = parsed.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(text).take(256).collect()
}

/// How long a leaf is valid: at most a week.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600 - 2 * BACKDATE.as_secs());
/// How far back validity begins, for clients whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(3600);

/// From a little before `now` to `life` after it.
pub(super) fn set_validity(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    let at = |at: Timestamp| {
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = at(now.checked_sub(BACKDATE).unwrap_or(now));
    params.not_after = at(after(now, life));
}

/// Whether the certificate is valid at `now` and for `longer` after it.
pub(super) fn valid_for(certificate: &CertificateDer<'_>, now: Timestamp, longer: Duration) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let validity = parsed.validity();
    validity.not_before.timestamp() <= now.as_second()
        && after(now, longer).as_second() < validity.not_after.timestamp()
}

/// A random serial number: 16 bytes, positive (RFC 5280 4.1.2.2).
pub(super) fn serial() -> Result<SerialNumber, TrustError> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn alternative(name: &str) -> Result<SanType, TrustError> {
    let wrong = || TrustError::Host { host: name.to_owned() };
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.try_into().map_err(|_| wrong())?)),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn after(now: Timestamp, life: Duration) -> Timestamp {
    now.checked_add(life).unwrap_or(Timestamp::MAX)
}
