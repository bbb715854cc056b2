//! From a token and a key to a certificate, and to the next one before it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use sluice_core::{Clock, Secret};
use sluice_wire::{ENROL_PATH, EnrolRequest, EnrolResponse};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::credentials::anonymous_client;
use crate::kept::{Given, Kept};
use crate::link::{answered, body, connect, refusal, request};
use crate::{Backoff, Credentials, CredentialsWatch, Endpoint, LinkError, Resolve, Server, pem_certificates};

/// Longest sleep before the clock, which may jump, and a file of roots are
/// looked at again.
const LOOK: Duration = Duration::from_secs(5);
/// Bytes of a token.
const MAX_TOKEN: usize = 16 * 1024;

/// How a process enrols.
#[derive(Debug, Clone)]
pub struct EnrolOptions {
    /// The control plane.
    pub control: Endpoint,
    /// Whom to believe before the first enrolment.
    pub roots: FirstRoots,
    /// Trust domain of the control plane and of what it signs.
    pub trust_domain: String,
    /// File with the projected token; read for each attempt, since it is
    /// renewed.
    pub token_file: PathBuf,
    /// Where key and certificate are kept, so that the process goes on with
    /// them when it starts again; made with mode 0700. `None`: nowhere.
    pub folder: Option<PathBuf>,
    /// Looks the control plane's name up.
    pub resolver: Arc<dyn Resolve>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Pauses between attempts.
    pub backoff: Backoff,
}

/// Whom to believe before anybody said.
#[derive(Debug, Clone)]
pub enum FirstRoots {
    /// These, PEM, until the first enrolment: its answer says which roots
    /// count from then on.
    Pem(String),
    /// Those of a file that others keep fresh (a mounted ConfigMap), beside
    /// those of the last enrolment. It need not be there yet. When it changes
    /// there is another enrolment, so that whoever the new roots vouch for is
    /// believed at once.
    File(PathBuf),
}

/// How enrolment is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnrolStatus {
    /// Certificates that were given since the start.
    pub enrolments: u64,
    /// When the present certificate ends.
    pub expires: Option<Timestamp>,
    /// Why there is no newer one, while it is being tried.
    pub failing: Option<LinkError>,
}

/// Keeps a process enrolled for as long as it is held.
#[derive(Debug)]
pub struct Enrolment {
    credentials: CredentialsWatch,
    status: watch::Receiver<EnrolStatus>,
    task: JoinHandle<()>,
}

impl Enrolment {
    /// Starts, in a task of its own: with what is kept if that is still good,
    /// else by asking the control plane until it gives a certificate.
    ///
    /// # Errors
    /// The folder cannot be used, or no key can be made.
    pub fn start(options: EnrolOptions) -> Result<Self, LinkError> {
        let url = options.control.url(ENROL_PATH);
        let kept = Kept(options.folder.clone());
        let wrong = |error: &dyn std::fmt::Display| {
            LinkError::new(&url, format!("there is no key to enrol with: {error}"), "see what it says")
        };
        let key = match kept.key().map_err(|error| wrong(&error))? {
            Some(pem) => Secret::new(pem),
            None => {
                let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| wrong(&error))?;
                let pem = Secret::new(key.serialize_pem());
                // Before it is used: a pod has one key at a time.
                kept.keep_key(pem.expose()).map_err(|error| wrong(&error))?;
                pem
            }
        };
        let key_pair = KeyPair::from_pem(key.expose()).map_err(|error| wrong(&error))?;
        let now = options.clock.now();
        let present = kept.given().and_then(|given| {
            let credentials = Credentials::from_pem(key.expose(), &given.certificate, &given.roots).ok()?;
            (credentials.expires() > now)
                .then(|| Present { credentials: Arc::new(credentials), renew_at: given.renew_at })
        });
        let status = EnrolStatus {
            expires: present.as_ref().map(|present| present.credentials.expires()),
            ..EnrolStatus::default()
        };
        let (published, credentials) = watch::channel(present.as_ref().map(|present| present.credentials.clone()));
        let (status, watched) = watch::channel(status);
        let work = Work { options, url, kept, key, key_pair, present, roots_seen: None, published, status };
        Ok(Self { credentials, status: watched, task: tokio::spawn(work.run()) })
    }

    /// The credentials of the moment, and those that follow.
    pub fn credentials(&self) -> CredentialsWatch {
        self.credentials.clone()
    }

    /// How it is doing.
    pub fn status(&self) -> watch::Receiver<EnrolStatus> {
        self.status.clone()
    }

    /// Waits for the first credentials. Ends only with them.
    pub async fn enrolled(&self) -> Arc<Credentials> {
        let mut credentials = self.credentials.clone();
        loop {
            if let Some(present) = credentials.borrow_and_update().clone() {
                return present;
            }
            if credentials.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Present {
    credentials: Arc<Credentials>,
    renew_at: Timestamp,
}

struct Work {
    options: EnrolOptions,
    url: String,
    kept: Kept,
    key: Secret<String>,
    key_pair: KeyPair,
    present: Option<Present>,
    /// What the file of roots held at the last enrolment.
    roots_seen: Option<Vec<u8>>,
    published: watch::Sender<Option<Arc<Credentials>>>,
    status: watch::Sender<EnrolStatus>,
}

impl Work {
    async fn run(mut self) {
        loop {
            self.until_due().await;
            let roots = self.roots_file().await;
            match self.enrol().await {
                Ok(present) => {
                    self.roots_seen = roots;
                    self.take(present);
                }
                Err(error) => {
                    warn!(%error, "not enrolled; trying again");
                    self.status.send_modify(|status| status.failing = Some(error));
                    tokio::time::sleep(self.options.backoff.pause()).await;
                }
            }
        }
    }

    async fn until_due(&self) {
        let Some(present) = &self.present else { return };
        loop {
            let left = present.renew_at.duration_since(self.options.clock.now());
            let Ok(left) = Duration::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK)).await;
            let roots = self.roots_file().await;
            if roots.is_some() && roots != self.roots_seen {
                return;
            }
        }
    }

    /// `None` where there is no such file, or it cannot be read now.
    async fn roots_file(&self) -> Option<Vec<u8>> {
        let FirstRoots::File(path) = &self.options.roots else { return None };
        tokio::fs::read(path).await.ok()
    }

    fn take(&mut self, present: Present) {
        self.options.backoff.reset();
        let expires = present.credentials.expires();
        info!(identity = %present.credentials.identity(), %expires, renew_at = %present.renew_at, "enrolled");
        self.published.send_replace(Some(present.credentials.clone()));
        self.present = Some(present);
        self.status.send_modify(|status| {
            status.enrolments += 1;
            status.expires = Some(expires);
            status.failing = None;
        });
    }

    async fn enrol(&self) -> Result<Present, LinkError> {
        let no = |what: String, fix: &str| LinkError::new(&self.url, what, fix);
        let token = self.token().await?;
        let csr = CertificateParams::default()
            .serialize_request(&self.key_pair)
            .and_then(|csr| csr.pem())
            .map_err(|error| no(format!("no CSR can be made: {error}"), "remove the kept key and start again"))?;
        let server = Server::Control.identity(&self.options.trust_domain);
        let config = anonymous_client(&server, &self.roots().await?)
            .map_err(|error| no(error.to_string(), "give the roots of the workload CA as PEM"))?;
        let mut sender = connect(&self.options.control, self.options.resolver.as_ref(), config).await?;
        let asked = serde_json::to_vec(&EnrolRequest { csr }).unwrap_or_default();
        let request = request(Method::POST, &self.url, Some(token.expose()), Bytes::from(asked))?;
        let begun = self.options.clock.now();
        let response = answered(&self.url, sender.send_request(request)).await?;
        let (status, body) = body(&self.url, response).await?;
        if !status.is_success() {
            return Err(refusal(&self.url, status, &body));
        }
        const FIX: &str = "check that the control plane is of a version that goes with this one";
        let given: EnrolResponse =
            serde_json::from_slice(&body).map_err(|error| no(format!("the answer cannot be read: {error}"), FIX))?;
        let credentials = Credentials::from_pem(self.key.expose(), &given.certificate, &given.roots)
            .map_err(|error| no(format!("the answer is of no use: {error}"), FIX))?;
        let domain = credentials.identity().trust_domain();
        if domain != self.options.trust_domain {
            let what = format!("gave a certificate of trust domain {domain}, not {}", self.options.trust_domain);
            return Err(no(what, "set the same trust domain on both"));
        }
        let renew_at = two_thirds(begun, credentials.expires());
        let given = Given { certificate: given.certificate, roots: given.roots, renew_at };
        if let Err(error) = self.kept.keep_given(&given) {
            warn!(%error, "the certificate is not kept: the next start asks for another");
        }
        Ok(Present { credentials: Arc::new(credentials), renew_at })
    }

    async fn token(&self) -> Result<Secret<String>, LinkError> {
        let path = &self.options.token_file;
        let no = |what: String| {
            let fix = "mount the projected token for audience control.sluice.dev there";
            LinkError::new(&self.url, format!("the token file {} {what}", path.display()), fix)
        };
        let text = tokio::fs::read_to_string(path).await.map_err(|error| no(format!("cannot be read: {error}")))?;
        let text = Secret::new(text);
        match text.expose().trim() {
            "" => Err(no("is empty".to_owned())),
            token if token.len() > MAX_TOKEN => Err(no(format!("has {} bytes", token.len()))),
            token => Ok(Secret::new(token.to_owned())),
        }
    }

    /// Whom to believe now.
    async fn roots(&self) -> Result<Vec<CertificateDer<'static>>, LinkError> {
        let mut roots = self.present.as_ref().map(|present| present.credentials.roots().to_vec()).unwrap_or_default();
        let no = |what: String, fix: &str| LinkError::new(&self.url, what, fix);
        match &self.options.roots {
            FirstRoots::Pem(_) if !roots.is_empty() => {}
            FirstRoots::Pem(pem) => {
                roots = pem_certificates(pem)
                    .map_err(|error| no(format!("the first roots: {error}"), "set SLUICE_ROOTS to PEM certificates"))?;
            }
            FirstRoots::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(pem) => roots.extend(pem_certificates(&pem).map_err(|error| {
                    no(format!("the roots in {}: {error}", path.display()), "write PEM certificates there")
                })?),
                Err(_) if !roots.is_empty() => {}
                Err(error) => {
                    let what = format!("the roots in {} cannot be read: {error}", path.display());
                    return Err(no(what, "wait: the control plane writes them when it has started"));
                }
            },
        }
        Ok(roots)
    }
}

/// When two thirds of what is left at `from` are over.
fn two_thirds(from: Timestamp, expires: Timestamp) -> Timestamp {
    let left = Duration::try_from(expires.duration_since(from)).unwrap_or_default();
    from.checked_add(left.mul_f64(2.0 / 3.0)).unwrap_or(expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_after_two_thirds() {
        let at = |second| Timestamp::from_second(second).expect("time");
        assert_eq!(two_thirds(at(1_000), at(1_900)).as_second(), 1_600);
        assert_eq!(two_thirds(at(1_000), at(900)), at(1_000));
    }
}
