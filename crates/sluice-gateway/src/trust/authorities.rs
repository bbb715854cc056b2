use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use sluice_core::Clock;

use super::{Authority, Constraints, TrustError, bundle, store};

/// The CAs of one gateway. The first speaks for the hosts of the start; where
/// policy names more later, another is made for those, and what was given out
/// stays true.
#[derive(Debug)]
pub struct Authorities {
    members: RwLock<Vec<Arc<Authority>>>,
    /// Where they are kept, each in a folder of its own.
    dir: Option<PathBuf>,
    clock: Arc<dyn Clock>,
}

/// More are not made: somebody edits policy in a loop.
const MOST: usize = 64;

impl Authorities {
    /// Those that are kept in `dir`, and one more for what they may not speak
    /// for. Without a folder a new one.
    ///
    /// # Errors
    /// The folder cannot be read or written, or no key can be made.
    pub fn open<'a>(
        dir: Option<&Path>,
        hosts: impl IntoIterator<Item = &'a str>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TrustError> {
        let hosts: Vec<&str> = hosts.into_iter().collect();
        let mut members = Vec::new();
        if let Some(dir) = dir {
            while let Some(kept) = Authority::kept(&place(dir, members.len()), clock.clone())? {
                members.push(Arc::new(kept));
            }
        }
        let authorities = Self { members: RwLock::new(members), dir: dir.map(Path::to_owned), clock };
        if authorities.members().is_empty() {
            authorities.add(&Constraints::of(hosts))?;
        } else {
            authorities.extend(hosts)?;
        }
        Ok(authorities)
    }

    /// Makes a CA more for those hosts that none may speak for. `false`: there
    /// are none.
    ///
    /// # Errors
    /// It cannot be made or kept.
    pub fn extend<'a>(&self, hosts: impl IntoIterator<Item = &'a str>) -> Result<bool, TrustError> {
        let new: Vec<&str> = hosts.into_iter().filter(|host| !self.covers(host)).collect();
        if new.is_empty() || self.members().len() >= MOST {
            return Ok(false);
        }
        self.add(&Constraints::of(new))?;
        Ok(true)
    }

    /// Whether one of them may speak for this host.
    pub fn covers(&self, host: &str) -> bool {
        self.members().iter().any(|authority| authority.covers(host))
    }

    /// Key and certificate for a host; see [`Authority::leaf`].
    ///
    /// # Errors
    /// [`TrustError::Outside`] when none may speak for the host.
    pub fn leaf(&self, host: &str, upstream_sans: &[String]) -> Result<Arc<CertifiedKey>, TrustError> {
        let authority = self.members().into_iter().find(|authority| authority.covers(host));
        authority.ok_or_else(|| TrustError::Outside { host: host.to_owned() })?.leaf(host, upstream_sans)
    }

    /// Their certificates, PEM.
    pub fn certificates_pem(&self) -> String {
        self.members().iter().map(|authority| authority.certificate_pem()).collect()
    }

    /// What a client behind this gateway must trust: the system's roots, then
    /// these.
    pub fn trusted(&self) -> Vec<CertificateDer<'static>> {
        bundle::with_system_roots(self.members().iter().map(|authority| authority.certificate_der().clone()))
    }

    /// Writes [`trusted`](Self::trusted) as PEM. The file appears whole or not
    /// at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_bundle(&self, path: &Path) -> Result<(), TrustError> {
        store::write_whole(path, bundle::pem_of(&self.trusted()).as_bytes(), 0o644)
    }

    fn members(&self) -> Vec<Arc<Authority>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Called by one task at a time: the start, then the watcher of policy.
    fn add(&self, constraints: &Constraints) -> Result<(), TrustError> {
        let dir = self.dir.as_deref().map(|dir| place(dir, self.members().len()));
        let authority = Authority::load_or_create(dir.as_deref(), constraints, self.clock.clone())?;
        self.members.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(authority));
        Ok(())
    }
}

fn place(dir: &Path, number: usize) -> PathBuf {
    dir.join(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_core::SystemClock;

    fn open(dir: Option<&Path>, hosts: &[&str]) -> Authorities {
        Authorities::open(dir, hosts.iter().copied(), Arc::new(SystemClock::new())).expect("authorities")
    }

    #[test]
    fn what_was_given_out_stays_true_when_more_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let first = open(Some(folder.path()), &["a.example"]);
        let before = first.certificates_pem();
        assert!(!first.extend(["a.example"]).expect("nothing new"));
        assert!(!first.covers("b.example"));
        assert!(first.extend(["a.example", "b.example"]).expect("one more"));
        let both = first.certificates_pem();
        assert!(both.starts_with(&before) && both.len() > before.len());
        first.leaf("b.example", &[]).expect("leaf");
        assert!(first.leaf("c.example", &[]).is_err());
        drop(first);
        let again = open(Some(folder.path()), &["b.example"]);
        assert_eq!(again.certificates_pem(), both, "kept");
        let third = open(Some(folder.path()), &["c.example"]);
        assert!(third.certificates_pem().starts_with(&both) && third.covers("c.example"));
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let pem = open(None, &["a.example"]).certificates_pem();
        assert_ne!(open(None, &["a.example"]).certificates_pem(), pem);
        let none = open(None, &[]);
        assert!(!none.certificates_pem().is_empty() && !none.covers("a.example"));
    }

    #[test]
    fn there_is_an_end_to_it() {
        let authorities = open(None, &["a.example"]);
        let hosts: Vec<String> = (0..MOST).map(|number| format!("h{number}.example")).collect();
        let made = hosts.iter().filter(|host| authorities.extend([host.as_str()]).expect("made")).count();
        assert_eq!(made, MOST - 1);
    }
}
