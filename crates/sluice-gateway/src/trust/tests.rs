use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sluice_core::ManualClock;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn start() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

fn authority(hosts: &[&str], dir: Option<&Path>, clock: &Arc<ManualClock>) -> Authority {
    Authority::load_or_create(dir, &Constraints::of(hosts.iter().copied()), clock.clone()).unwrap()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(start()))
}

/// What a client that trusts only this CA says of the chain.
fn verify(ca: &CertificateDer<'_>, chain: &[CertificateDer<'static>], name: &str, at: Timestamp) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto()).build().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.as_second()).unwrap()));
    let (leaf, above) = chain.split_first().unwrap();
    verifier.verify_server_cert(leaf, above, &name, &[], at).map(drop).map_err(|error| error.to_string())
}

#[test]
fn a_client_believes_a_leaf_for_its_names_and_for_no_other() {
    let clock = clock();
    let authority = authority(&["api.example", "10.0.0.1", "fd00::1"], None, &clock);
    let upstream =
        ["x.api.example", "*.api.example", "10.0.0.1", "kubernetes", "other.example", "10.9.9.9", "not a name"]
            .map(str::to_owned);
    let leaf = authority.leaf("API.example", &upstream).unwrap();
    let ca = authority.certificate_der();
    for name in ["api.example", "x.api.example", "y.api.example", "10.0.0.1"] {
        assert_eq!(verify(ca, &leaf.cert, name, start()), Ok(()), "{name}");
    }
    for name in ["other.example", "kubernetes", "10.9.9.9", "fd00::1", "example"] {
        assert!(verify(ca, &leaf.cert, name, start()).is_err(), "{name}");
    }
    assert_eq!(names_of(&leaf.cert[0]), ["api.example", "*.api.example", "10.0.0.1", "x.api.example"]);
    let six = authority.leaf("fd00::1", &[]).unwrap();
    assert_eq!(verify(ca, &six.cert, "fd00::1", start()), Ok(()));
    // One name, no other.
    assert_eq!(names_of(&six.cert[0]), ["fd00::1"]);
}

#[test]
fn a_host_outside_gets_no_leaf() {
    let authority = authority(&["api.example"], None, &clock());
    for host in ["other.example", "example", "10.0.0.1", "::1", "", "*", "api.example\0.evil"] {
        let error = authority.leaf(host, &[]).expect_err(host).to_string();
        assert!(error.contains("restart the gateway"), "{error}");
    }
    assert!(authority.covers("api.example") && !authority.covers("other.example"));
}

#[test]
fn the_constraints_bind_even_who_has_the_key() {
    let clock = clock();
    for (hosts, inside, outside) in [
        (
            vec!["api.example", "10.0.0.1"],
            vec!["api.example", "10.0.0.1"],
            vec!["other.example", "10.0.0.2", "fd00::1"],
        ),
        (vec!["api.example"], vec!["api.example"], vec!["other.example", "10.0.0.1", "fd00::1"]),
        (vec!["10.0.0.1"], vec!["10.0.0.1"], vec!["api.example", "fd00::1"]),
        (vec![], vec![], vec!["api.example", "10.0.0.1", "fd00::1"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(&hosts, Some(folder.path()), &clock);
        let ca = authority.certificate_der();
        let issuer = stolen(folder.path());
        for name in inside {
            assert_eq!(verify(ca, &[forged(&issuer, name)], name, start()), Ok(()), "{hosts:?} {name}");
        }
        for name in outside {
            assert!(verify(ca, &[forged(&issuer, name)], name, start()).is_err(), "{hosts:?} {name}");
        }
    }
}

#[test]
fn a_ca_below_ours_is_bound_too() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(&["api.example"], Some(folder.path()), &clock());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let below = params.signed_by(&key, &stolen(folder.path())).unwrap().der().clone();
    let issuer = Issuer::new(params, key);
    for name in ["other.example", "10.0.0.1"] {
        let chain = [forged(&issuer, name), below.clone()];
        assert!(verify(authority.certificate_der(), &chain, name, start()).is_err(), "{name}");
    }
}

#[test]
fn the_certificates_say_what_they_are_for() {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let authority = authority(&["api.example"], None, &clock());
    let (_, ca) = X509Certificate::from_der(authority.certificate_der()).unwrap();
    let basic = ca.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && basic.value.ca && basic.value.path_len_constraint == Some(0));
    assert!(ca.name_constraints().unwrap().unwrap().critical);
    let usage = ca.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && !usage.digital_signature() && !usage.crl_sign());
    assert!(ca.extended_key_usage().unwrap().unwrap().value.server_auth);

    let leaf = authority.leaf("api.example", &[]).unwrap();
    let (_, leaf) = X509Certificate::from_der(&leaf.cert[0]).unwrap();
    assert!(!leaf.is_ca());
    assert!(leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert!(life <= 7 * 24 * 3600, "{life}");
    let curve = leaf.public_key().algorithm.parameters.as_ref().unwrap().as_oid().unwrap();
    assert_eq!(curve.to_id_string(), "1.2.840.10045.3.1.7");
    assert_eq!(leaf.issuer().to_string(), ca.subject().to_string());
    assert_eq!(leaf.subject().to_string(), "CN=Sluice gateway");
}

#[test]
fn a_leaf_is_kept_until_half_its_life_is_over() {
    let clock = clock();
    let authority = authority(&["api.example"], None, &clock);
    let names = |order: [&str; 2]| order.map(str::to_owned);
    let first = authority.leaf("api.example", &names(["a.api.example", "b.api.example"])).unwrap();
    let again = authority.leaf("Api.Example.", &names(["B.api.example", "a.api.example"])).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let other = authority.leaf("api.example", &[]).unwrap();
    assert!(!Arc::ptr_eq(&first, &other));
    clock.advance(4 * DAY);
    let renewed = authority.leaf("api.example", &names(["a.api.example", "b.api.example"])).unwrap();
    assert!(!Arc::ptr_eq(&first, &renewed));
    let ca = authority.certificate_der();
    let later = start().checked_add(8 * DAY).unwrap();
    assert!(verify(ca, &first.cert, "api.example", later).is_err());
    assert_eq!(verify(ca, &renewed.cert, "api.example", later), Ok(()));
}

#[test]
fn leaves_are_bounded_in_number() {
    let authority = authority(&["api.example"], None, &clock());
    let first = authority.leaf("api.example", &[]).unwrap();
    for number in 0..300 {
        authority.leaf(&format!("n{number}.api.example"), &[]).unwrap();
    }
    assert!(!Arc::ptr_eq(&first, &authority.leaf("api.example", &[]).unwrap()));
}

#[test]
fn a_kept_ca_comes_back_while_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("trust/ca");
    let clock = clock();
    let made = authority(&["api.example"], Some(&dir), &clock).certificate_pem();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join("ca.key"))), (0o700, 0o600));

    let back = authority(&["api.example"], Some(&dir), &clock);
    assert_eq!(back.certificate_pem(), made);
    let leaf = back.leaf("api.example", &[]).unwrap();
    assert_eq!(verify(back.certificate_der(), &leaf.cert, "api.example", start()), Ok(()));

    // Other hosts, another CA; and never one that is about to end.
    let wider = authority(&["api.example", "b.example"], Some(&dir), &clock).certificate_pem();
    assert_ne!(wider, made);
    clock.advance(4 * 365 * DAY + DAY);
    assert_ne!(authority(&["api.example", "b.example"], Some(&dir), &clock).certificate_pem(), wider);
}

#[test]
fn what_is_no_ca_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let other = tempfile::tempdir().unwrap();
    let foreign = authority(&["api.example"], Some(other.path()), &clock);
    for (file, bytes) in [
        ("ca.key", b"".to_vec()),
        ("ca.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec()),
        ("ca.crt", vec![0xff, 0xfe]),
        ("ca.crt", foreign.certificate_pem().into_bytes()),
        ("ca.names", b"other.example\n".to_vec()),
    ] {
        let before = authority(&["api.example"], Some(folder.path()), &clock).certificate_pem();
        fs::write(folder.path().join(file), bytes).unwrap();
        let after = authority(&["api.example"], Some(folder.path()), &clock);
        assert_ne!(after.certificate_pem(), before, "{file}");
        let leaf = after.leaf("api.example", &[]).unwrap();
        assert_eq!(verify(after.certificate_der(), &leaf.cert, "api.example", start()), Ok(()), "{file}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let constraints = Constraints::of(["api.example"]);
    let error = Authority::load_or_create(Some(&file.join("ca")), &constraints, clock()).unwrap_err().to_string();
    assert!(error.contains("file/ca") && error.contains("name a folder"), "{error}");
}

#[test]
fn the_bundle_ends_with_the_ca() {
    let folder = tempfile::tempdir().unwrap();
    let authorities = Authorities::open(None, ["api.example"], clock()).unwrap();
    let path = folder.path().join("bundle.pem");
    fs::write(&path, "old").unwrap();
    authorities.write_bundle(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.ends_with(&authorities.certificates_pem()));
    let certificates: Vec<CertificateDer<'_>> =
        CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap();
    assert_eq!(certificates, authorities.trusted());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn a_certificate_that_is_none_has_no_names() {
    assert!(names_of(&CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff, 1])).is_empty());
    assert!(names_of(&CertificateDer::from(Vec::new())).is_empty());
}

/// The CA's key in somebody else's hands.
fn stolen(dir: &Path) -> Issuer<'static, KeyPair> {
    let key = KeyPair::from_pem(&fs::read_to_string(dir.join("ca.key")).unwrap()).unwrap();
    Issuer::from_ca_cert_pem(&fs::read_to_string(dir.join("ca.crt")).unwrap(), key).unwrap()
}

fn forged(issuer: &Issuer<'static, KeyPair>, name: &str) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
}
