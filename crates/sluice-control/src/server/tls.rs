use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use sluice_core::Clock;
use sluice_link::CredentialsWatch;
use sluice_link::server::Shutdown;
use sluice_wire::Identity;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::certificates::{Authorities, Leaf, Lifetimes, own_leaf};

/// Whether a server asks its clients for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// It does not.
    Anonymous,
    /// One that is given must be signed by the same authorities; each path
    /// demands for itself that there is one.
    MayPresent,
}

/// What a server shows, kept fresh: the present configuration of its TLS.
#[derive(Debug)]
pub struct Credentials {
    /// Whom the certificate speaks for, beside its names.
    pub identity: Option<Identity>,
    /// DNS names of the certificate.
    pub names: Vec<String>,
    /// Whether clients show theirs.
    pub clients: Clients,
    /// How long the certificate is valid.
    pub lifetimes: Lifetimes,
    /// Time.
    pub clock: Arc<dyn Clock>,
    current: ArcSwapOption<ServerConfig>,
    shown: watch::Sender<Option<Arc<sluice_link::Credentials>>>,
}

impl Credentials {
    /// None yet; [`Credentials::keep_fresh`] makes them.
    pub fn new(
        identity: Option<Identity>,
        names: Vec<String>,
        clients: Clients,
        lifetimes: Lifetimes,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            identity,
            names,
            clients,
            lifetimes,
            clock,
            current: ArcSwapOption::empty(),
            shown: watch::Sender::default(),
        }
    }

    /// The configuration for a connection that begins now; `None` before the
    /// first authority is known.
    pub fn current(&self) -> Option<Arc<ServerConfig>> {
        self.current.load_full()
    }

    /// The same key and certificate, for asking other processes of ours. Stays
    /// `None` where the certificate speaks for nobody.
    pub fn shown(&self) -> CredentialsWatch {
        self.shown.subscribe()
    }

    /// Makes a new certificate when the authorities change and when half of the
    /// present one's life is over. Ends with `shutdown`.
    pub async fn keep_fresh(&self, mut authorities: watch::Receiver<Arc<Authorities>>, shutdown: Shutdown) {
        loop {
            let present = authorities.borrow_and_update().clone();
            let wait = match self.renew(&present) {
                Ok(None) => Duration::from_secs(3600),
                Ok(Some(wait)) => wait,
                Err(cause) => {
                    warn!(names = ?self.names, %cause, "no new server certificate; trying again");
                    Duration::from_secs(5)
                }
            };
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(wait) => {}
                changed = authorities.changed() => if changed.is_err() { return },
            }
        }
    }

    /// A new certificate, and when to make the next. `None`: no authority yet.
    ///
    /// # Errors
    /// When nothing can be signed, or `rustls` refuses what was.
    pub fn renew(&self, authorities: &Authorities) -> anyhow::Result<Option<Duration>> {
        if authorities.members().is_empty() {
            return Ok(None);
        }
        let now = self.clock.now();
        let leaf = own_leaf(self.identity.as_ref(), &self.names, authorities, now, &self.lifetimes)?;
        self.current.store(Some(Arc::new(tls_of(&leaf, authorities, self.clients)?)));
        if self.identity.is_some() {
            let roots = authorities.roots().cloned().collect();
            self.shown.send_replace(Some(Arc::new(sluice_link::Credentials::new(leaf.key.clone(), roots)?)));
        }
        let wait = leaf.renew_at.as_second().saturating_sub(now.as_second()).max(1) as u64;
        info!(names = ?self.names, renew_in_seconds = wait, "server certificate made");
        Ok(Some(Duration::from_secs(wait)))
    }
}

/// TLS 1.3 and 1.2, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When the roots are none.
pub fn tls_of(leaf: &Leaf, authorities: &Authorities, clients: Clients) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Clients::Anonymous => builder.with_no_client_auth(),
        Clients::MayPresent => {
            let mut roots = rustls::RootCertStore::empty();
            for root in authorities.roots() {
                roots.add(root.clone())?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from((*leaf.key).clone())));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would keep a certificate alive beyond its end.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
