use std::sync::{Arc, Mutex};

use anyhow::{Context, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// A client that believes these roots and nothing else.
pub(super) fn config(roots: RootCertStore) -> anyhow::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificates of a PEM text, as roots.
///
/// # Errors
/// When it holds none, or one cannot be read.
pub(crate) fn roots_of(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.context("a certificate cannot be read")?).context("a certificate is no root")?;
    }
    ensure!(!roots.is_empty(), "there is no certificate in it");
    Ok(roots)
}

/// What a server showed: its chain, leaf first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

/// Makes a TLS handshake only to see the certificate, believed or not; nothing
/// is sent on the connection.
///
/// # Errors
/// When there is no TLS at the other end.
pub(crate) async fn show<S>(stream: S, name: &str) -> anyhow::Result<Shown>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let looker = Arc::new(Looker { shown: Mutex::default(), provider: provider() });
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(looker.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned())?;
    // A server that wants our certificate ends the connection after its own.
    let ended = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let shown = looker.shown.lock().map(|shown| shown.clone()).unwrap_or_default();
    match (shown.chain.is_empty(), ended) {
        (false, _) => Ok(shown),
        (true, Err(cause)) => Err(cause).context("no TLS"),
        (true, Ok(_)) => anyhow::bail!("the server showed no certificate"),
    }
}

/// Believes everything and remembers it.
#[derive(Debug)]
struct Looker {
    shown: Mutex<Shown>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Ok(mut shown) = self.shown.lock() {
            shown.chain = std::iter::once(leaf).chain(others).map(|one| one.clone().into_owned()).collect();
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
