//! Facts about a request to a Kubernetes API server, as the API server itself
//! computes them (`k8s.io/apiserver/pkg/endpoints/request`), with two
//! differences: an upgrade is `create` on its subresource whatever its method,
//! and a body that could not be read is [`Fact::Unknown`].

use serde::{Deserialize, Serialize};

use crate::Fact;

/// Attributes of one request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`,
    /// `deletecollection`; for a non-resource path the method in lower case.
    pub verb: String,
    /// What it is about.
    pub scope: Scope,
    /// HTTP method as sent.
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// `labelSelector`, as sent.
    pub label_selector: Option<String>,
    /// `fieldSelector`, as sent.
    pub field_selector: Option<String>,
    /// Whether nothing would be stored (`dryRun=All`).
    pub dry_run: bool,
    /// `fieldManager`.
    pub field_manager: Option<String>,
    /// `User-Agent`, at most 256 bytes.
    pub user_agent: Option<String>,
    /// `Kubectl-Command` header: which kubectl command this belongs to.
    pub kubectl_command: Option<String>,
    /// Whether any header is there that would say who asks: `Impersonate-*`, or
    /// `X-Remote-*` as a front proxy sends them.
    pub impersonates: bool,
    /// Whether it asks for an upgrade (exec, attach, port-forward, proxies).
    pub upgrades: bool,
    /// How the body of a `patch` is to be read.
    pub patch: Option<Patch>,
    /// The decoded body: `Known(None)` where there is none by the API's rules.
    pub object: Fact<Option<serde_json::Value>>,
}

/// A resource of an API group, or a path beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// `/api/v1/...` or `/apis/GROUP/VERSION/...`.
    Resource(Resource),
    /// Anything else: `/version`, `/openapi/v3`, `/apis`; the decoded path.
    NonResource(String),
}

/// Which objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// API version, such as `v1`.
    pub version: String,
    /// Plural resource name, such as `pods`.
    pub resource: String,
    /// Such as `log`, `exec`, `status`; for proxies `proxy`.
    pub subresource: Option<String>,
    /// `None`: cluster-scoped, or all namespaces.
    pub namespace: Option<String>,
    /// `None`: a collection.
    pub name: Option<String>,
}

/// Content type of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Patch {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl Resource {
    /// As policy writes it: `pods`, `pods/log`, `deployments.apps/scale`.
    pub fn qualified(&self) -> String {
        let mut name = self.resource.clone();
        if !self.group.is_empty() {
            name.push('.');
            name.push_str(&self.group);
        }
        if let Some(subresource) = &self.subresource {
            name.push('/');
            name.push_str(subresource);
        }
        name
    }
}

impl Request {
    /// Whether it can change state at the server. What is not known to be
    /// read-only changes state.
    pub fn changes_state(&self) -> bool {
        self.upgrades || !matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }

    /// The resource, if it is about one.
    pub fn resource(&self) -> Option<&Resource> {
        match &self.scope {
            Scope::Resource(resource) => Some(resource),
            Scope::NonResource(_) => None,
        }
    }
}
