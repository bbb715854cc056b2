use std::future::{Ready, ready};
use std::task::{self, Poll};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use http_body_util::Empty;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use kube::client::ConfigExt;
use sluice_core::Secret;
use tower::{BoxError, Layer, Service};

use super::Cluster;

impl Cluster {
    /// A bearer token that the API server believes: the kubeconfig's own, also
    /// one that its credential plugin makes; where it has none (client
    /// certificates), one for the service account [`READER`].
    ///
    /// # Errors
    /// When the plugin fails, or the token may not be asked for.
    pub(crate) async fn bearer(&self) -> anyhow::Result<Secret<String>> {
        if let Some(token) = self.own_bearer().await? {
            return Ok(token);
        }
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(LIFE), ..TokenRequestSpec::default() }),
            ..TokenRequest::default()
        };
        let made = api.create_token_request(READER, &PostParams::default(), &request).await.map_err(|error| self.said(error)).with_context(|| {
            format!(
                "the kubeconfig has no bearer token, and none can be had for service account {}/{READER} (it takes the \
                 right to `create serviceaccounts/token` there); or give one with --token-file",
                self.namespace
            )
        })?;
        match made.status.and_then(|status| status.token) {
            Some(token) => Ok(Secret::new(token)),
            None => bail!("the API server answered a TokenRequest for {READER} without a token"),
        }
    }

    /// What the kubeconfig's user shows, if that is a bearer token.
    async fn own_bearer(&self) -> anyhow::Result<Option<Secret<String>>> {
        let Some(layer) = self.config.auth_layer().context("the kubeconfig's credentials cannot be used")? else {
            return Ok(None);
        };
        let shown = layer.layer(Shown).call(Request::new(Empty::<Bytes>::new())).await;
        let shown = shown.map_err(|cause| anyhow::anyhow!("the kubeconfig's credentials: {cause}"))?.into_body();
        // Basic credentials say nothing to a TokenReview.
        let token =
            shown.as_ref().and_then(|shown| shown.to_str().ok()).and_then(|shown| shown.strip_prefix("Bearer "));
        Ok(token.map(|token| Secret::new(token.to_owned())))
    }
}

/// Answers a request with what it carries as credentials.
#[derive(Clone)]
struct Shown;

impl Service<Request<Empty<Bytes>>> for Shown {
    type Response = Response<Option<HeaderValue>>;
    type Error = BoxError;
    type Future = Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        ready(Ok(Response::new(request.headers().get(AUTHORIZATION).cloned())))
    }
}

/// Service account of the chart that may read the trail.
const READER: &str = "sluice-audit-reader";
/// Life of a token that is asked for, in seconds; the shortest there is.
const LIFE: i64 = 600;
