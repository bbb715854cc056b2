//! Who may say that a policy changed. API servers show webhooks no certificate,
//! and everybody in the cluster reaches ours: what tells the API server apart
//! is a path that is written into its configuration, beside `caBundle`, and
//! follows from a key that only the control plane has.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use sluice_k8s::webhooks::VALIDATE_PATH;

use crate::certificates::{Authorities, Authority};

/// The path that follows from an authority's key.
pub(crate) fn path(authority: &Authority) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, authority.key.expose().as_bytes());
    format!("{VALIDATE_PATH}/{}", hex::encode(hmac::sign(&key, b"path of the validating webhook")))
}

/// Whether a path follows from one of these: the API server may still use that
/// of the authority before.
pub(crate) fn is_known(asked: &str, authorities: &Authorities) -> bool {
    authorities.members().iter().any(|one| verify_slices_are_equal(path(one).as_bytes(), asked.as_bytes()).is_ok())
}
