use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lru::LruCache;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use sluice_core::Clock;

use super::leaf::{self, Leaf};
use super::{Constraints, TrustError, bundle, store};

/// The CA of one gateway and the leaves it signed. Shared between sessions.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    constraints: Constraints,
    clock: Arc<dyn Clock>,
    /// By host and the names beside it; the least used one goes first.
    leaves: Mutex<LruCache<LeafName, Leaf>>,
}

type LeafName = (String, Vec<String>);

/// A CA's key and certificate as they are kept.
pub(super) struct Material {
    pub(super) key: KeyPair,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) constraints: Constraints,
}

impl Authority {
    /// The CA kept in `dir` if it still fits, else a new one. Without a folder
    /// the key is nowhere but in memory.
    ///
    /// A kept CA fits when its constraints are exactly `constraints` and it is
    /// valid for [`RENEW_BEFORE`] more. The folder is made with mode 0700, the
    /// key with 0600.
    ///
    /// # Errors
    /// The folder cannot be read or written, or no key can be made.
    pub fn load_or_create(
        dir: Option<&Path>,
        constraints: &Constraints,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TrustError> {
        let now = clock.now();
        let kept = match dir {
            Some(dir) => store::load(dir)?.filter(|kept| {
                kept.constraints == *constraints && leaf::valid_for(&kept.certificate, now, RENEW_BEFORE)
            }),
            None => None,
        };
        let material = match kept {
            Some(kept) => kept,
            None => {
                let made = create(constraints, now)?;
                if let Some(dir) = dir {
                    store::save(dir, &made)?;
                }
                made
            }
        };
        Self::of(material, clock)
    }

    /// The CA kept in `dir`, whatever it was made for, unless it ends soon.
    ///
    /// # Errors
    /// The folder cannot be read, or TLS does not take the key.
    pub(super) fn kept(dir: &Path, clock: Arc<dyn Clock>) -> Result<Option<Self>, TrustError> {
        let now = clock.now();
        let kept = store::load(dir)?.filter(|kept| leaf::valid_for(&kept.certificate, now, RENEW_BEFORE));
        kept.map(|kept| Self::of(kept, clock)).transpose()
    }

    fn of(material: Material, clock: Arc<dyn Clock>) -> Result<Self, TrustError> {
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&material.certificate, material.key)?,
            certificate: material.certificate,
            constraints: material.constraints,
            clock,
            leaves: Mutex::new(LruCache::new(LEAVES)),
        })
    }

    /// The CA's certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        bundle::pem(&self.certificate)
    }

    /// The CA's certificate, DER.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Whether [`leaf`](Self::leaf) can be made for this host.
    pub fn covers(&self, host: &str) -> bool {
        self.constraints.cover(host)
    }

    /// Key and certificate for a host, carrying also those of `upstream_sans`
    /// (names or IP addresses, see [`names_of`](super::names_of)) that the CA
    /// may speak for. The same answer for the same question until half of its
    /// life is over.
    ///
    /// # Errors
    /// [`TrustError::Outside`] when the CA may not speak for the host.
    pub fn leaf(&self, host: &str, upstream_sans: &[String]) -> Result<Arc<CertifiedKey>, TrustError> {
        if !self.constraints.cover(host) {
            return Err(TrustError::Outside { host: host.to_owned() });
        }
        let name = self.leaf_name(host, upstream_sans);
        let now = self.clock.now();
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leaves.get(&name).filter(|leaf| now < leaf.renew_at) {
            return Ok(leaf.key.clone());
        }
        let leaf = Leaf::sign(&name.0, &name.1, &self.issuer, now)?;
        let key = leaf.key.clone();
        leaves.put(name, leaf);
        Ok(key)
    }

    /// What the leaf will carry, in an order that does not depend on the
    /// upstream's.
    fn leaf_name(&self, host: &str, upstream_sans: &[String]) -> LeafName {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let mut beside: Vec<String> = upstream_sans
            .iter()
            .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
            .filter(|name| *name != host && self.constraints.cover(name))
            .collect();
        beside.sort_unstable();
        beside.dedup();
        beside.truncate(MAX_NAMES);
        (host, beside)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("constraints", &self.constraints).finish_non_exhaustive()
    }
}

/// How long a CA is valid. It ends with its gateway, or when policy names other
/// hosts at a start.
const LIFE: Duration = Duration::from_secs(5 * 365 * 24 * 3600);
/// A kept CA with less life than this is replaced at a start.
const RENEW_BEFORE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Leaves kept at one time.
const LEAVES: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
/// Names beside the host that one leaf carries at most.
const MAX_NAMES: usize = 100;

fn create(constraints: &Constraints, now: Timestamp) -> Result<Material, TrustError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    // The key's own identifier in the name keeps two gateways' CAs apart in one
    // client's store.
    let id: String = hex::encode(params.key_identifier(&key)).chars().take(16).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Sluice interception CA {id}"));
    params.serial_number = Some(leaf::serial()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.name_constraints = Some(constraints.extension());
    leaf::set_validity(&mut params, now, LIFE);
    let certificate = params.self_signed(&key)?.der().clone();
    Ok(Material { key, certificate, constraints: constraints.clone() })
}
