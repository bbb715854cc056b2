use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use sluice_core::Workload;

use crate::Problem;
use crate::documents;

/// When a case happens that does not say: a Monday morning.
pub(super) const DEFAULT_NOW: Timestamp = Timestamp::constant(1_767_600_000, 0);

/// A file of cases.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseFile {
    /// What the file is called, in problems.
    #[serde(skip)]
    pub(super) name: String,
    /// Files of policies and providers, relative to this one.
    pub policies: Vec<String>,
    /// Whose traffic it is.
    #[serde(default)]
    workload: CaseWorkload,
    /// Who asks, where a case does not say.
    pub subject: Option<CaseSubject>,
    /// Where it goes, where a case does not say and there are several targets.
    pub target: Option<String>,
    /// The cases.
    pub cases: Vec<Case>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CaseWorkload {
    namespace: String,
    service_account: String,
    labels: BTreeMap<String, String>,
}

impl Default for CaseWorkload {
    fn default() -> Self {
        Self { namespace: "default".to_owned(), service_account: "default".to_owned(), labels: BTreeMap::new() }
    }
}

/// One command, and what is expected of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Who asks.
    pub subject: Option<CaseSubject>,
    /// Name of the target; a host name for one that policy does not know.
    pub target: Option<String>,
    /// `list pods dev/`, `delete deployments.apps dev/web`, `logs dev/web`, or
    /// `GET /version`.
    pub command: String,
    /// The request's body.
    pub body: Option<serde_json::Value>,
    /// Why the body could not be read.
    pub body_unknown: Option<String>,
    /// Why the request is not understood at all.
    pub not_understood: Option<String>,
    /// Whether an `Impersonate-*` header is there.
    #[serde(default)]
    pub impersonates: bool,
    /// When it happens, such as `2026-01-31T08:00:00Z`.
    pub now: Option<Timestamp>,
    /// What the agent says it is for.
    pub intent: Option<String>,
    /// What must come of it.
    pub expect: Expectation,
}

/// Who asks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseSubject {
    /// The workload itself, without a token.
    pub workload: bool,
    /// Name of the `IdentityProvider` of its token.
    pub provider: Option<String>,
    /// The subject claim.
    pub id: Option<String>,
    /// Groups, unqualified.
    pub groups: Vec<String>,
    /// The token does not carry all groups.
    pub groups_unknown: bool,
    /// Roles, unqualified.
    pub roles: Vec<String>,
    /// The API server's name for the subject.
    pub kubernetes_user: Option<String>,
}

/// What must come of a command. What is absent is not looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expectation {
    /// `Allow` or `Deny`.
    pub verdict: String,
    /// `namespace/policy:rule`, `builtin:rule`, or `none`.
    pub rule: Option<String>,
    /// Code of the denial, or `none`.
    pub code: Option<String>,
    /// Whether values of Secrets are masked.
    pub masked: Option<bool>,
    /// `Process` or `Disk`.
    pub durability: Option<String>,
    /// Code of what would have denied it, or `none`.
    pub would_deny: Option<String>,
    /// Rules that matched without effect: `namespace/policy:rule Deny`.
    pub shadows: Option<Vec<String>>,
    /// Words that the denial and its near misses contain.
    pub message_contains: Option<String>,
}

impl CaseFile {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// What is wrong with it, and in which field.
    pub fn parse(name: &str, text: &str) -> Result<Self, Problem> {
        let mut file: Self = documents::read_one(name, text)?;
        file.name = name.to_owned();
        for (index, case) in file.cases.iter().enumerate() {
            if !matches!(case.expect.verdict.as_str(), "Allow" | "Deny") {
                return Err(Problem {
                    document: name.to_owned(),
                    path: format!("cases[{index}].expect.verdict"),
                    message: format!("`{}` is unknown; write `Allow` or `Deny`", case.expect.verdict),
                });
            }
        }
        Ok(file)
    }

    /// Whose traffic it is.
    pub fn workload(&self) -> Workload {
        Workload {
            namespace: self.workload.namespace.clone(),
            pod: "case".to_owned(),
            uid: "case".to_owned(),
            service_account: self.workload.service_account.clone(),
            labels: self.workload.labels.clone(),
            ..Workload::default()
        }
    }
}
