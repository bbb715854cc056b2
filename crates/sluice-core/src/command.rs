use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Subject, Workload, kubernetes};

/// What a subject asks of a target: one or more actions, decided together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// When it was asked.
    pub at: Timestamp,
    /// Who asks.
    pub subject: Subject,
    /// Whose traffic it is.
    pub workload: Workload,
    /// Where it goes.
    pub target: CommandTarget,
    /// What the agent says it is for, strongest source first. Never identity.
    pub intents: Vec<Intent>,
    /// What would be done. Never empty: what is not understood is
    /// [`Action::Unknown`].
    pub actions: Vec<Action>,
}

/// The target of a command, as policy names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandTarget {
    /// Name under `spec.targets`.
    pub name: String,
    /// Host name that is dialled, lower case, without a trailing dot.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// One thing that a command would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// A request to a Kubernetes API server.
    Kubernetes(Box<kubernetes::Request>),
    /// Not understood, and why. Only an `Allow` that names `Unknown` covers it.
    Unknown(String),
}

/// A declared purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Where it was declared.
    pub source: IntentSource,
    /// The words, at most 1,024 bytes.
    pub text: String,
}

/// Where an intent was declared, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IntentSource {
    /// `X-Sluice-Intent`, removed before forwarding.
    Header,
    /// A pod annotation, or the local mode's `--intent`.
    Workload,
}
