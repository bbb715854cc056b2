use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sluice_core::Secret;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate cannot be made, or is none.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Making or signing failed.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// What is stored cannot be read.
    #[error("{what} cannot be read: {cause}; delete the Secret to have it made anew")]
    Stored {
        /// Which entry of the Secret.
        what: String,
        /// Why.
        cause: String,
    },
    /// There is no authority (yet).
    #[error("there is no authority yet; the leader makes it")]
    None,
    /// Lifetimes that leave a hole.
    #[error("{0}")]
    Lifetimes(String),
}

/// How long things are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an authority.
    pub authority: Duration,
    /// Age of the newest authority at which another is made.
    pub rotate_after: Duration,
    /// How long a new authority is among the roots before it signs.
    pub publish: Duration,
    /// Of a leaf.
    pub leaf: Duration,
}

impl Lifetimes {
    /// Refuses times by which something signed could outlive its authority, or
    /// be shown to somebody who has not heard of that authority yet.
    ///
    /// # Errors
    /// In words, with the fix.
    pub fn checked(self) -> Result<Self, CertificateError> {
        let needed = self.rotate_after + self.publish + self.leaf;
        if needed >= self.authority {
            return Err(CertificateError::Lifetimes(format!(
                "an authority lives {:?}, and rotation, publication and a leaf take {needed:?} together; make it \
                 longer or the others shorter",
                self.authority
            )));
        }
        if self.publish < self.leaf {
            return Err(CertificateError::Lifetimes(format!(
                "a new authority is published {:?} before it signs, and a certificate lives {:?}: who has one would \
                 not know the new authority yet; publish it at least as long before",
                self.publish, self.leaf
            )));
        }
        if self.authority > self.rotate_after.saturating_mul(MAX_AUTHORITIES as u32) {
            return Err(CertificateError::Lifetimes(format!(
                "at {:?} between rotations more than {MAX_AUTHORITIES} authorities would be valid at a time; rotate \
                 less often, or let them live shorter than {:?}",
                self.rotate_after, self.authority
            )));
        }
        Ok(self)
    }
}

/// Valid authorities at a time, at most.
const MAX_AUTHORITIES: usize = 16;
/// How far back validity begins, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(300);

/// One CA: key and self-signed certificate.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Certificate.
    pub certificate: CertificateDer<'static>,
    /// The same, PEM.
    pub pem: String,
    /// Key, PKCS #8 PEM.
    pub key: Secret<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// All authorities of one purpose, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Authorities {
    members: Vec<Authority>,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn create(name: &str, now: Timestamp, life: Duration) -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // The time tells authorities apart where names are all that is shown.
        params.distinguished_name.push(DnType::CommonName, format!("{name} {}", now.as_second()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        set_validity(&mut params, now, after(now, life));
        let certificate = params.self_signed(&key)?;
        Self::read(certificate.pem(), Secret::new(key.serialize_pem()))
    }

    /// One that was stored.
    ///
    /// # Errors
    /// When certificate or key is none, or they do not belong together.
    pub fn read(pem: String, key: Secret<String>) -> Result<Self, CertificateError> {
        let stored = |cause: String| CertificateError::Stored { what: "an authority".to_owned(), cause };
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| stored(format!("{error:?}")))?;
        let pair = KeyPair::from_pem(key.expose())?;
        let (created, expires) = {
            let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| stored(error.to_string()))?;
            if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
                return Err(stored("key and certificate do not belong together".to_owned()));
            }
            let at = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| stored(error.to_string()));
            let validity = parsed.validity();
            let begins = at(validity.not_before.timestamp())?;
            (after(begins, BACKDATE), at(validity.not_after.timestamp())?)
        };
        Ok(Self { certificate, pem, key, created, expires })
    }

    pub(super) fn issuer(&self) -> Result<Issuer<'static, KeyPair>, CertificateError> {
        Ok(Issuer::from_ca_cert_der(&self.certificate, KeyPair::from_pem(self.key.expose())?)?)
    }
}

impl Authorities {
    /// These, sorted by age.
    pub fn new(mut members: Vec<Authority>) -> Self {
        members.sort_by_key(|authority| authority.created);
        Self { members }
    }

    /// Oldest first.
    pub fn members(&self) -> &[Authority] {
        &self.members
    }

    /// The one that signs now: the newest that was published long enough; the
    /// oldest valid one where none was.
    pub fn signer(&self, now: Timestamp, lifetimes: &Lifetimes) -> Option<&Authority> {
        let valid = || self.members.iter().filter(|authority| now < authority.expires);
        valid().rfind(|authority| after(authority.created, lifetimes.publish) <= now).or_else(|| valid().next())
    }

    /// All certificates, PEM: whom to believe.
    pub fn roots_pem(&self) -> String {
        self.members.iter().map(|authority| authority.pem.as_str()).collect()
    }

    /// All certificates.
    pub fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.members.iter().map(|authority| &authority.certificate)
    }

    /// What should be stored instead, if anything: ended ones left out, a new
    /// one added when the newest is old enough.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn due(&self, name: &str, now: Timestamp, lifetimes: &Lifetimes) -> Result<Option<Self>, CertificateError> {
        let mut members: Vec<Authority> =
            self.members.iter().filter(|authority| now < authority.expires).cloned().collect();
        let aged = members.last().is_none_or(|newest| after(newest.created, lifetimes.rotate_after) <= now);
        if aged {
            members.push(Authority::create(name, now, lifetimes.authority)?);
        }
        let changed = aged || members.len() != self.members.len();
        Ok(changed.then_some(Self { members }))
    }
}

pub(super) fn after(at: Timestamp, life: Duration) -> Timestamp {
    at.checked_add(life).unwrap_or(Timestamp::MAX)
}

/// From a little before `now` to `end`, at whole seconds.
pub(super) fn set_validity(params: &mut CertificateParams, now: Timestamp, end: Timestamp) {
    let at = |at: Timestamp| {
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = at(now.checked_sub(BACKDATE).unwrap_or(now));
    params.not_after = at(end);
}

/// 16 random bytes, positive (RFC 5280, 4.1.2.2).
pub(super) fn serial() -> Result<SerialNumber, CertificateError> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
