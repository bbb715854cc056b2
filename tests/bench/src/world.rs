//! What all measurements share: the server, the certificates, the token.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use sluice_testkit::pki as kit;
use sluice_testkit::tokens::Signer;
use tempfile::TempDir;

use crate::load::Site;
use crate::pki::Files;
use crate::proxy::{Kind, Proxy};
use crate::{Arguments, server, sluice};

/// Name of the server, in every certificate.
pub(crate) const HOST: &str = "api.sluice.test";

/// The server and what it takes to start a proxy before it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) files: Files,
    pub(crate) server: SocketAddr,
    pub(crate) signer: Signer,
    authorization: Arc<str>,
    programs: [PathBuf; 3],
}

impl World {
    /// Starts the server; everything lives in a folder that goes with it.
    pub(crate) async fn new(arguments: &Arguments) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sluice-bench-").tempdir()?;
        let files = Files::create(folder.path(), HOST)?;
        let signer = Signer::new("key-1")?;
        let authorization = format!("Bearer {}", signer.token(&sluice::claims())?).into();
        let server = server::start(&files).await?;
        let programs = [arguments.gateway.clone(), arguments.envoy.clone(), arguments.haproxy.clone()];
        Ok(Self { folder, files, server, signer, authorization, programs })
    }

    /// The program of that kind.
    pub(crate) fn program(&self, kind: Kind) -> &PathBuf {
        let [gateway, envoy, haproxy] = &self.programs;
        match kind {
            Kind::Sluice => gateway,
            Kind::Envoy => envoy,
            Kind::Haproxy => haproxy,
        }
    }

    /// The server itself, with nothing between.
    pub(crate) fn direct(&self) -> Result<Site> {
        self.site(self.server, &self.files.ca)
    }

    /// An address whose certificate the authority in `ca` vouches for.
    pub(crate) fn site(&self, address: SocketAddr, ca: &std::path::Path) -> Result<Site> {
        let mut tls = kit::client_config(&kit::roots(ca)?);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Every connection is a full handshake, for every proxy.
        tls.resumption = rustls::client::Resumption::disabled();
        Ok(Site { address, tls: Arc::new(tls), authorization: self.authorization.clone() })
    }

    /// Starts a proxy and checks that it does what it is measured at: the
    /// peers pass the Secret on, the gateway masks it.
    pub(crate) async fn start(&self, kind: Kind) -> Result<Proxy> {
        let proxy = Proxy::start(self, kind).await?;
        let body = proxy.site.connect().await?.ask().await?;
        let shown = String::from_utf8_lossy(&body).contains(server::VALUE);
        ensure!(
            shown != (kind == Kind::Sluice),
            "{kind} answers with the wrong body: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(proxy)
    }
}
