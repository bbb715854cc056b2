use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A service that the gateway opens a way to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// By which rules and records name it.
    pub name: String,
    /// Host name, lower case, without a trailing dot.
    pub host: String,
    /// TCP ports; never empty.
    pub ports: Vec<u16>,
    /// Which protocol it speaks.
    pub kind: TargetKind,
    /// A token must carry one of them; never empty.
    pub audiences: Vec<String>,
    /// PEM file with roots beside the public ones.
    pub ca_bundle: Option<PathBuf>,
    /// Names of the providers whose tokens are accepted here: those of every
    /// policy that names the target.
    pub providers: Vec<String>,
}

/// Which protocol a target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TargetKind {
    /// The API of a Kubernetes API server.
    Kubernetes,
}

/// Who vouches for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Qualifies groups, roles and users.
    pub name: String,
    /// Values of `iss` that are accepted; never empty.
    pub issuers: Vec<String>,
    /// Where its keys are.
    pub keys: Keys,
    /// PEM file with roots for the provider's own server.
    pub ca_bundle: Option<PathBuf>,
    /// Values of `tid` that are accepted; empty: not looked at.
    pub tenants: Vec<String>,
    /// Asymmetric signature algorithms by their JWA names; never empty.
    pub algorithms: Vec<String>,
    /// Which claims mean what.
    pub claims: Claims,
}

/// Where the keys of a provider are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// By OpenID Connect discovery at each issuer.
    Discovery,
    /// At this `https` URL.
    JwksUri(String),
    /// Here: a JSON Web Key Set.
    Inline(String),
}

/// Names of claims; a dot goes one level down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who it is.
    pub subject: String,
    /// Groups.
    pub groups: String,
    /// Application roles.
    pub roles: String,
    /// The API server's name for the subject, where the provider maps it.
    pub kubernetes_user: Option<String>,
}

/// Destinations that are no target and are passed through unread.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Egress {
    /// Empty: nothing else is reached.
    pub allow: Vec<EgressHost>,
}

/// A host that is passed through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EgressHost {
    /// Lower case name, or `*.` and a name for every name below it.
    pub host: String,
    /// TCP ports; never empty.
    pub ports: Vec<u16>,
}

impl Egress {
    /// Whether `host` (any case, a trailing dot is ignored) may be reached on
    /// `port`. `*.x` is every name below `x`, not `x` itself.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.allow.iter().any(|rule| rule.ports.contains(&port) && rule.covers(&host))
    }

    /// Whether `host` may be reached on any port: what a resolver asks.
    pub fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.allow.iter().any(|rule| rule.covers(&host))
    }
}

impl EgressHost {
    fn covers(&self, host: &str) -> bool {
        match self.host.strip_prefix("*.") {
            Some(parent) => host.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            None => self.host == host,
        }
    }
}

/// Upper bounds; `None`: no bound by policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Commands of the workload in a minute.
    pub commands_per_minute: Option<u32>,
    /// Bytes of one response body.
    pub response_bytes: Option<u64>,
    /// Connections of the workload at one time.
    pub concurrent_sessions: Option<u32>,
}

/// How commands are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// What happens to a command that cannot be recorded.
    pub mode: AuditMode,
    /// How safe a record must be. For one command ask
    /// [`Obligations`](crate::Obligations), where `Auto` is resolved.
    pub durability: Durability,
    /// What is kept of responses.
    pub responses: Responses,
    /// Past it without contact to where policy comes from, deny.
    pub max_policy_age: Duration,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            mode: AuditMode::Strict,
            durability: Durability::Auto,
            responses: Responses::Digest,
            max_policy_age: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// What happens to a command that cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum AuditMode {
    /// It is denied.
    #[default]
    Strict,
    /// It goes on, counted and flagged.
    BestEffort,
}

/// How safe a record must be before its command goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    /// For what changes state `Collector` where there is one, else `Disk`; for
    /// the rest `Process`.
    #[default]
    Auto,
    /// With the kernel: it survives the end of the gateway.
    Process,
    /// On the disk: it survives the end of the machine.
    Disk,
    /// At the collector: it survives the loss of the machine. Without a
    /// collector every command is denied.
    Collector,
}

/// What is kept of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Responses {
    /// Length and digest.
    #[default]
    Digest,
    /// Nothing.
    None,
}
