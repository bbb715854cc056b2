use sluice_wire::Refusal;

use crate::Endpoint;

/// Why one of our processes could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {what}; {fix}")]
pub struct LinkError {
    /// What was asked.
    pub url: String,
    /// What happened.
    pub what: String,
    /// What to do.
    pub fix: String,
    /// The answer, where there was one.
    pub refusal: Option<Box<Refusal>>,
}

impl LinkError {
    /// No answer.
    pub(crate) fn new(url: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { url: url.into(), what: what.into(), fix: fix.into(), refusal: None }
    }

    /// An answer that says no.
    pub(crate) fn refused(url: impl Into<String>, refusal: Refusal) -> Self {
        let (what, fix) = (format!("refused ({:?}): {}", refusal.code, refusal.message), refusal.fix.clone());
        Self { url: url.into(), what, fix, refusal: Some(Box::new(refusal)) }
    }

    /// No connection.
    pub(crate) fn connect(endpoint: &Endpoint, what: impl Into<String>) -> Self {
        let fix = format!("check that it runs and that network policies let this pod reach port {}", endpoint.port());
        Self::new(endpoint.to_string(), what, fix)
    }
}
