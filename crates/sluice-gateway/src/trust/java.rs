//! What a client behind the gateway must trust, as Java reads it.
//!
//! A PKCS #12 store (RFC 7292) of certificates alone, without encryption and
//! without a seal: it holds no secret, and is what the JDK's own `cacerts` has
//! been since JDK 18 (JDK-8275253). JDK 17 reads it, with whatever password and
//! with none; of JDK 8 only its loader was read. Java takes a certificate for trusted only with the
//! attribute *trustedKeyUsage*, which is Oracle's own.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A trust store with these certificates. What is no certificate is left out:
/// Java would take nothing from a store that holds one.
pub fn java_store<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> Vec<u8> {
    let readable = certificates.into_iter().filter(|certificate| is_readable(certificate));
    let bags: Vec<u8> = readable.enumerate().flat_map(|(number, certificate)| bag(number, certificate)).collect();
    let safe = data(&der(SEQUENCE, &[&bags]));
    der(SEQUENCE, &[&VERSION_3, &data(&der(SEQUENCE, &[&safe]))])
}

/// [`java_store`] with the certificates of a PEM text.
pub fn java_store_of_pem(pem: &[u8]) -> Vec<u8> {
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    java_store(&certificates)
}

fn is_readable(certificate: &CertificateDer<'_>) -> bool {
    let readable = X509Certificate::from_der(certificate).is_ok_and(|(rest, _)| rest.is_empty());
    if !readable {
        tracing::warn!(bytes = certificate.len(), "what is no X.509 certificate is left out of the Java trust store");
    }
    readable
}

/// `SafeBag`, RFC 7292 4.2.3 (`CertBag`); the name must be another for each.
fn bag(number: usize, certificate: &CertificateDer<'_>) -> Vec<u8> {
    let name: Vec<u8> = format!("sluice-{number}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let name = der(SEQUENCE, &[&FRIENDLY_NAME, &der(SET, &[&der(BMP_STRING, &[&name])])]);
    let trusted = der(SEQUENCE, &[&TRUSTED_KEY_USAGE, &der(SET, &[&ANY_EXTENDED_KEY_USAGE])]);
    let value = der(SEQUENCE, &[&X509_CERTIFICATE, &der(EXPLICIT_0, &[&der(OCTET_STRING, &[certificate])])]);
    der(SEQUENCE, &[&CERT_BAG, &der(EXPLICIT_0, &[&value]), &der(SET, &[&name, &trusted])])
}

/// `ContentInfo` of type *data*, RFC 2315 7 and 8.
fn data(content: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[&DATA, &der(EXPLICIT_0, &[&der(OCTET_STRING, &[content])])])
}

/// One element: tag, length, the parts one after the other.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut element = Vec::with_capacity(length + 6);
    element.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => element.push(short),
        _ => {
            let octets = length.to_be_bytes().into_iter().skip_while(|octet| *octet == 0);
            element.push(octets.clone().fold(0x80, |count, _| count + 1));
            element.extend(octets);
        }
    }
    parts.iter().for_each(|part| element.extend_from_slice(part));
    element
}

const OCTET_STRING: u8 = 0x04;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_0: u8 = 0xa0;

const VERSION_3: [u8; 3] = [0x02, 1, 3];
/// 1.2.840.113549.1.7.1
const DATA: [u8; 11] = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// 1.2.840.113549.1.12.10.1.3
const CERT_BAG: [u8; 13] = [0x06, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
/// 1.2.840.113549.1.9.22.1
const X509_CERTIFICATE: [u8; 12] = [0x06, 10, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// 1.2.840.113549.1.9.20
const FRIENDLY_NAME: [u8; 11] = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
/// 2.16.840.1.113894.746875.1.1
const TRUSTED_KEY_USAGE: [u8; 14] = [0x06, 12, 0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01];
/// 2.5.29.37.0
const ANY_EXTENDED_KEY_USAGE: [u8; 6] = [0x06, 4, 0x55, 0x1d, 0x25, 0x00];

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::Arc;

    use sluice_core::SystemClock;

    use super::*;
    use crate::trust::Authorities;

    /// What `keytool` lists of a store, read with these options.
    fn listed(store: &[u8], options: &[&str]) -> String {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("java.p12");
        std::fs::write(&file, store).expect("store");
        let output = Command::new("keytool")
            .args(["-J-Duser.language=en", "-list", "-keystore"])
            .arg(&file)
            .args(options)
            .output()
            .expect("keytool, of a JDK (Debian: apt-get install default-jdk-headless)");
        assert!(output.status.success(), "{options:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn entries(listed: &str) -> usize {
        listed.lines().filter(|line| line.contains("trustedCertEntry")).count()
    }

    #[test]
    fn java_reads_it_with_a_password_and_as_its_old_format() {
        let cas = Authorities::open(None, ["a.example"], Arc::new(SystemClock::new())).expect("CAs");
        cas.extend(["b.example"]).expect("one more");
        let store = java_store_of_pem(format!("words\n{}", cas.certificates_pem()).as_bytes());
        for kind in ["PKCS12", "JKS"] {
            let listed = listed(&store, &["-storetype", kind, "-storepass", "changeit"]);
            assert_eq!(entries(&listed), 2, "{listed}");
            assert!(listed.contains("sluice-0,") && listed.contains("sluice-1,"), "{listed}");
        }
    }

    #[test]
    fn every_root_of_the_system_is_in_it_and_nothing_that_is_none() {
        let system = rustls_native_certs::load_native_certs().certs;
        let broken = CertificateDer::from(vec![0x30, 1, 0]);
        let store = java_store(system.iter().chain([&broken]));
        assert_eq!(entries(&listed(&store, &["-storepass", "changeit"])), system.len());
    }

    #[test]
    fn an_empty_store_is_one() {
        assert_eq!(entries(&listed(&java_store([]), &["-storepass", "changeit"])), 0);
    }
}
