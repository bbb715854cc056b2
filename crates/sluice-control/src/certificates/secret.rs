use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubernetesSecret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sluice_core::Secret;

use super::authorities::{Authorities, Authority, CertificateError};

/// All certificates together, for people and for other programs.
const ROOTS: &str = "roots.crt";
const CERTIFICATE: &str = ".crt";
const KEY: &str = ".key";
/// Before the second in which an authority was made.
const AUTHORITY: &str = "authority-";

/// The authorities as a Secret. `metadata`: of the one that it replaces, with
/// its resource version; or none of it, where there must be none yet.
pub fn to_secret(authorities: &Authorities, namespace: &str, name: &str, metadata: ObjectMeta) -> KubernetesSecret {
    let mut data = BTreeMap::from([(ROOTS.to_owned(), ByteString(authorities.roots_pem().into_bytes()))]);
    for authority in authorities.members() {
        let stem = format!("{AUTHORITY}{}", authority.created.as_second());
        data.insert(format!("{stem}{CERTIFICATE}"), ByteString(authority.pem.clone().into_bytes()));
        data.insert(format!("{stem}{KEY}"), ByteString(authority.key.expose().clone().into_bytes()));
    }
    let mut labels = metadata.labels.clone().unwrap_or_default();
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "sluice-control".to_owned());
    KubernetesSecret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            managed_fields: None,
            ..metadata
        },
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..KubernetesSecret::default()
    }
}

/// The authorities of a Secret. An empty Secret holds none.
///
/// # Errors
/// When an entry cannot be read.
pub fn from_secret(secret: &KubernetesSecret) -> Result<Authorities, CertificateError> {
    let empty = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    let text = |key: &str| -> Result<String, CertificateError> {
        let stored = |cause: &str| CertificateError::Stored { what: format!("`{key}`"), cause: cause.to_owned() };
        let bytes = data.get(key).ok_or_else(|| stored("it is missing"))?;
        String::from_utf8(bytes.0.clone()).map_err(|_| stored("it is no text"))
    };
    let mut members = Vec::new();
    for key in data.keys().filter(|key| key.starts_with(AUTHORITY)) {
        let Some(stem) = key.strip_suffix(CERTIFICATE) else { continue };
        members.push(Authority::read(text(key)?, Secret::new(text(&format!("{stem}{KEY}"))?))?);
    }
    Ok(Authorities::new(members))
}
