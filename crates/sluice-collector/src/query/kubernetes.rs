use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use sluice_wire::{Code, Refusal};

use super::access::{Access, Asking, Person, Verb};

/// Asks the API server: a `TokenReview`, then `SubjectAccessReview`s.
#[derive(Clone)]
pub struct Kubernetes {
    client: kube::Client,
}

/// API group of the resource that readers need a right to. Nothing of this
/// name is stored in the API server.
const GROUP: &str = "sluice.dev";
const RESOURCE: &str = "trails";

impl Kubernetes {
    /// Asks by this client.
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }
}

impl std::fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kubernetes")
    }
}

impl Access for Kubernetes {
    fn who<'a>(&'a self, token: &'a str) -> Asking<'a, Person> {
        Box::pin(async move {
            let review = TokenReview {
                spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
                ..TokenReview::default()
            };
            let api: Api<TokenReview> = Api::all(self.client.clone());
            let status = api.create(&PostParams::default(), &review).await.map_err(unavailable)?.status;
            let status = status.unwrap_or_default();
            let user = status.user.unwrap_or_default();
            let username = user.username.unwrap_or_default();
            if status.authenticated != Some(true) || username.is_empty() {
                let fix = "present a fresh token for the API server's audience, such as of `kubectl create token`";
                return Err(Refusal::new(Code::BadToken, "the API server does not believe the token", fix));
            }
            Ok(Person {
                username,
                uid: user.uid.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
            })
        })
    }

    fn may<'a>(&'a self, person: &'a Person, verb: Verb, namespace: &'a str) -> Asking<'a, bool> {
        Box::pin(async move {
            let attributes = ResourceAttributes {
                group: Some(GROUP.to_owned()),
                resource: Some(RESOURCE.to_owned()),
                verb: Some(verb.label().to_owned()),
                namespace: Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
                ..ResourceAttributes::default()
            };
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    user: Some(person.username.clone()),
                    uid: Some(person.uid.clone()).filter(|uid| !uid.is_empty()),
                    groups: Some(person.groups.clone()),
                    extra: Some(person.extra.clone()),
                    resource_attributes: Some(attributes),
                    non_resource_attributes: None,
                },
                ..SubjectAccessReview::default()
            };
            let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
            let answered = api.create(&PostParams::default(), &review).await.map_err(unavailable)?;
            let status = answered.status.unwrap_or_default();
            Ok(status.allowed && status.denied != Some(true))
        })
    }
}

fn unavailable(error: kube::Error) -> Refusal {
    let message = format!("the API server does not say: {error}");
    Refusal::new(
        Code::Unavailable,
        message,
        "try again; the collector needs to create tokenreviews and subjectaccessreviews",
    )
}
