//! Certificates that our servers show, against the roots that clients were
//! given.

use jiff::{SignedDuration, Timestamp};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::finding::Finding;
use crate::collector::{Shown, provider, roots_of};

/// A server's certificate: vouched for by `roots`, of this name, and not about
/// to end.
pub(super) fn served(object: &str, shown: &Shown, name: &str, roots: &[u8], now: Timestamp) -> Finding {
    let see = "the control plane renews it by itself: see its log, and the clocks of the nodes";
    if let Err(why) = verify(shown, name, roots, now) {
        return Finding::problem(object, format!("is not believed by who was given these roots: {why}"), see);
    }
    let Some((from, until)) = shown.chain.first().and_then(|leaf| validity(leaf)) else {
        return Finding::problem(object, "cannot be read", see);
    };
    let left = until.duration_since(now);
    // Renewed at two thirds of its life.
    if left < until.duration_since(from) / 6 {
        return Finding::warning(object, format!("ends in {}, and was not renewed", words(left)), see);
    }
    Finding::ok(object, format!("is believed, and good for {}", words(left)))
}

/// The authorities in a PEM text: one must be good for a while yet.
pub(super) fn authorities(object: &str, pem: &[u8], now: Timestamp) -> Finding {
    let see = "the control plane makes the next one by itself: see its log";
    let mut best: Option<(SignedDuration, SignedDuration)> = None;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let Ok(certificate) = certificate else { return Finding::problem(object, "holds what is no certificate", see) };
        let Some((from, until)) = validity(&certificate) else {
            return Finding::problem(object, "holds a certificate that cannot be read", see);
        };
        count += 1;
        best = best.max(Some((until.duration_since(now), until.duration_since(from))));
    }
    match best {
        None => Finding::problem(object, "holds no certificate", see),
        Some((left, _)) if left.is_negative() => {
            Finding::problem(object, format!("holds {count} certificates, all of them expired"), see)
        }
        Some((left, life)) if left < life / 10 => {
            Finding::warning(object, format!("its newest certificate ends in {}", words(left)), see)
        }
        Some((left, _)) => Finding::ok(object, format!("{count} certificates, the newest good for {}", words(left))),
    }
}

fn verify(shown: &Shown, name: &str, roots: &[u8], now: Timestamp) -> Result<(), String> {
    let roots = roots_of(roots).map_err(|error| format!("{error:#}"))?;
    let (leaf, others) = shown.chain.split_first().ok_or("it shows no certificate")?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let verified = verifier.verify_server_cert(leaf, others, &name, &[], now);
    verified.map(|_| ()).map_err(|error| error.to_string())
}

fn validity(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    let at = |seconds: i64| Timestamp::from_second(seconds).ok();
    Some((at(validity.not_before.timestamp())?, at(validity.not_after.timestamp())?))
}

fn words(left: SignedDuration) -> String {
    let (hours, minutes) = (left.as_hours(), left.as_mins());
    match (hours, minutes) {
        (hours, _) if hours >= 48 => format!("{} days", hours / 24),
        (hours, _) if hours >= 2 => format!("{hours} hours"),
        (_, minutes) => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::super::finding::Level;
    use super::*;

    fn made() -> (String, Shown) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 12, 31);
        let root = params.self_signed(&key).expect("a root");
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::new(vec!["sluice-control.ns.svc".to_owned()]).expect("parameters");
        params.not_before = date_time_ymd(2026, 6, 1);
        params.not_after = date_time_ymd(2026, 6, 11);
        let leaf = params.signed_by(&KeyPair::generate().expect("a key"), &issuer).expect("a leaf");
        (root.pem(), Shown { chain: vec![leaf.der().clone()] })
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_certificate_is_believed_while_it_is_fresh() {
        let (roots, shown) = made();
        let level = |roots: &str, name: &str, now: &str| served("it", &shown, name, roots.as_bytes(), at(now)).level;
        let name = "sluice-control.ns.svc";
        assert_eq!(level(&roots, name, "2026-06-02T00:00:00Z"), Level::Ok);
        assert_eq!(level(&roots, name, "2026-06-10T00:00:00Z"), Level::Warning);
        assert_eq!(level(&roots, name, "2026-06-12T00:00:00Z"), Level::Problem);
        assert_eq!(level(&roots, "other", "2026-06-02T00:00:00Z"), Level::Problem);
        assert_eq!(level(&made().0, name, "2026-06-02T00:00:00Z"), Level::Problem);
        assert_eq!(level("", name, "2026-06-02T00:00:00Z"), Level::Problem);
    }

    #[test]
    fn authorities_must_last() {
        let (roots, _) = made();
        let level = |pem: &str, now: &str| authorities("it", pem.as_bytes(), at(now)).level;
        assert_eq!(level(&roots, "2026-06-02T00:00:00Z"), Level::Ok);
        assert_eq!(level(&roots, "2026-12-20T00:00:00Z"), Level::Warning);
        assert_eq!(level(&roots, "2027-01-02T00:00:00Z"), Level::Problem);
        assert_eq!(level("", "2026-06-02T00:00:00Z"), Level::Problem);
    }
}
