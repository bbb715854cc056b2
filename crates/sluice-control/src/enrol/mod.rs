//! A token and a key in, a certificate out.
//!
//! Order: token (TokenReview: ours, pod-bound, not expired) → pod (known here by
//! UID, injected, of that service account) → CSR (proof of the key) → Lease (one
//! key per pod UID at a time) → certificate. Nothing is signed before all of it.

mod lease;
mod pod;
mod token;

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use sluice_core::{Clock, Secret};
use sluice_wire::{Code, EnrolRequest, EnrolResponse, Identity, Refusal, Report};
use tokio::sync::watch;
use tracing::warn;

pub use lease::{Claim, claim, is_orphaned, lease_name, pod_of, report_of, stored_report};
pub use pod::admit;
pub use token::{Holder, holder};

use crate::FIELD_MANAGER;
use crate::certificates::{Authorities, Lifetimes, fingerprint, sign_csr};
use crate::owner::Owner;
use crate::world::Caches;

/// Gives out certificates.
#[derive(Debug, Clone)]
pub struct Enroller {
    /// The API server.
    pub client: Enrolments,
    /// Pods by UID.
    pub caches: Caches,
    /// Who signs.
    pub authorities: watch::Receiver<Arc<Authorities>>,
    /// How long it is valid.
    pub lifetimes: Lifetimes,
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// The collector's service account, as `namespace/name`, and DNS names.
    pub collector: (String, Vec<String>),
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What enrolment asks of the API server.
#[derive(Clone)]
pub struct Enrolments {
    client: Client,
    namespace: String,
    owner: Owner,
}

impl std::fmt::Debug for Enrolments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrolments").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Enroller {
    /// A certificate for who holds the token.
    ///
    /// # Errors
    /// A refusal for the caller, with the fix.
    pub async fn enrol(&self, token: &Secret<String>, request: &EnrolRequest) -> Result<EnrolResponse, Refusal> {
        let holder = self.client.review(token).await?;
        let key = fingerprint(&request.csr)?;
        // Before the Lease is written: no certificate outlives it.
        let now = self.clock.now();
        let (identity, names) = if format!("{}/{}", holder.namespace, holder.service_account) == self.collector.0 {
            (Identity::Collector { trust_domain: self.trust_domain.clone() }, self.collector.1.as_slice())
        } else {
            let pod = self.caches.pod(&holder.pod_uid).ok_or_else(|| unknown(&holder))?;
            admit(&pod, &holder)?;
            self.client.claim(&holder, &key, self.clock.as_ref(), self.lifetimes).await?;
            let identity = Identity::Pod {
                trust_domain: self.trust_domain.clone(),
                namespace: holder.namespace.clone(),
                service_account: holder.service_account.clone(),
                uid: holder.pod_uid.clone(),
            };
            (identity, [].as_slice())
        };
        let authorities = self.authorities.borrow().clone();
        let signed = sign_csr(&request.csr, &identity, names, &authorities, now, &self.lifetimes)?;
        Ok(EnrolResponse { certificate: signed.certificate, roots: authorities.roots_pem(), expires: signed.expires })
    }
}

impl Enrolments {
    /// Leases lie in `namespace`, and are `owner`'s.
    pub fn new(client: Client, namespace: &str, owner: Owner) -> Self {
        Self { client, namespace: namespace.to_owned(), owner }
    }

    async fn review(&self, token: &Secret<String>) -> Result<Holder, Refusal> {
        let audience = sluice_k8s::names::CONTROL_AUDIENCE;
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.expose().clone(), audiences: Some(vec![audience.to_owned()]) },
            ..TokenReview::default()
        };
        let answered = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await;
        match answered {
            Ok(review) => holder(review.status.unwrap_or_default(), audience),
            Err(cause) => Err(unavailable("the token cannot be reviewed", &cause)),
        }
    }

    async fn claim(&self, holder: &Holder, key: &str, clock: &dyn Clock, lifetimes: Lifetimes) -> Result<(), Refusal> {
        let api: Api<Lease> = self.leases();
        let name = lease_name(&holder.pod_uid);
        let post = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        // A conflict means that another replica wrote: what it wrote decides.
        for _ in 0..3 {
            let present = api.get_opt(&name).await.map_err(|cause| unavailable("the Lease cannot be read", &cause))?;
            let written = match claim(present.as_ref(), holder, key, clock.now(), lifetimes.leaf)? {
                Claim::Create(mut lease) => {
                    lease.metadata.namespace = Some(self.namespace.clone());
                    self.owner.adopt(&mut lease.metadata);
                    api.create(&post, &lease).await
                }
                Claim::Renew(mut lease) => {
                    self.owner.adopt(&mut lease.metadata);
                    api.replace(&name, &post, &lease).await
                }
            };
            match written {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(cause) => return Err(unavailable("the Lease cannot be written", &cause)),
            }
        }
        Err(Refusal::new(Code::Unavailable, "the Lease is written by others at the same time", "try again"))
    }

    /// Keeps a sidecar's report where every replica sees it.
    ///
    /// # Errors
    /// A refusal for the caller, with the fix.
    pub async fn report(&self, pod_uid: &str, report: &Report) -> Result<(), Refusal> {
        let patch = Patch::Merge(stored_report(report));
        match self.leases().patch(&lease_name(pod_uid), &PatchParams::apply(FIELD_MANAGER), &patch).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                Err(Refusal::new(Code::NotYou, "the pod's enrolment is gone", "enrol again"))
            }
            Err(cause) => Err(unavailable("the report cannot be kept", &cause)),
        }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn unknown(holder: &Holder) -> Refusal {
    Refusal::new(
        Code::UnknownPod,
        format!("no injected pod {}/{} with UID {} is known", holder.namespace, holder.pod, holder.pod_uid),
        "try again in a moment; if it stays so, the pod carries no label sluice.dev/injected",
    )
}

fn unavailable(what: &str, cause: &kube::Error) -> Refusal {
    warn!(%cause, "{what}");
    Refusal::new(Code::Unavailable, what, "try again in a moment; the control plane's log says why")
}

#[cfg(test)]
mod tests;
