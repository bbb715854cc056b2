use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One rule: who, where, what, and whether it may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleSpec {
    /// Named in every verdict that it gives.
    pub name: String,
    /// Whom it is about.
    pub subjects: Subjects,
    /// Names under `spec.targets`, or `"*"` for all. An `Allow` must have it; a
    /// `Deny` without it is about every target, those of other policies too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
    /// Which requests to a Kubernetes API server.
    pub kubernetes: KubernetesRule,
    /// A further condition in CEL. Where its answer is not known (a body that
    /// could not be read, a field that is not there) an `Allow` does not match
    /// and a `Deny` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// `Allow` or `Deny`.
    pub action: RuleAction,
    /// `Enforce` (default), or `Audit`: evaluated and recorded, without effect.
    #[serde(default)]
    pub mode: RuleMode,
    /// Words for whoever meets a `Deny`: what to do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a rule does when it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RuleAction {
    /// Lets pass what it covers wholly, where no `Deny` matches.
    Allow,
    /// Stops what it touches, whatever else allows it.
    Deny,
}

/// Whether a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum RuleMode {
    /// It counts.
    #[default]
    Enforce,
    /// It is recorded only (a shadow).
    Audit,
}

/// Whom a rule is about: a subject that is any of these.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subjects {
    /// Groups, qualified by their provider: `entra:developers`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Application roles, qualified by their provider: `entra:Deployer`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Subject ids or Kubernetes user names, qualified by their provider:
    /// `entra:ada@example.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Service accounts of workloads that act as themselves: `name`, or
    /// `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<String>,
    /// `true`: everyone whom this policy identifies. Stands alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub anyone: bool,
}

/// Which requests. An `Allow` must cover every object and namespace that a
/// request is about; a `Deny` need only touch one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesRule {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`,
    /// `deletecollection`, or `"*"`; for `nonResourceURLs` HTTP methods in
    /// lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbs: Option<Vec<String>>,
    /// `pods`, `pods/log`, `deployments.apps`, `deployments.apps/scale`,
    /// `*.apps`, `pods/*`, or `"*"` for all, subresources included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// Namespaces; `*` stands for any characters. Requests for all namespaces
    /// and for cluster-scoped resources are covered by `"*"` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Names of objects; `*` stands for any characters. Absent: any. A request
    /// for a collection is covered by `"*"` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Paths that are no resource, such as `/metrics` or `/logs/*`.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Option::is_none")]
    pub non_resource_urls: Option<Vec<String>>,
}

/// What is masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaskSpec {
    /// Named in the record of what it masked.
    pub name: String,
    /// What is masked in the answers of a Kubernetes API server.
    pub kubernetes: KubernetesMask,
    /// Who sees the values nevertheless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub except_for: Option<Subjects>,
}

/// What is masked in the answers of a Kubernetes API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesMask {
    /// Secrets: `Values` or `Off`.
    pub secrets: SecretMask,
}

/// What is masked of a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum SecretMask {
    /// Values of `data` and `stringData`; keys stay.
    #[default]
    Values,
    /// Nothing.
    Off,
}

fn is_false(value: &bool) -> bool {
    !value
}
