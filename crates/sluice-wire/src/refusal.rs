use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a process was refused by another: the body of every answer that is no
/// success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// What is wrong, with field and value.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// Stable words of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// The request cannot be read.
    BadRequest,
    /// No token, or one that the API server does not believe, or one for
    /// another audience, or not bound to a pod.
    BadToken,
    /// The CSR cannot be read, or its signature is wrong, or its key is of
    /// another kind.
    BadCsr,
    /// No such pod is known. It may be known in a moment: ask again.
    UnknownPod,
    /// The pod carries no unaltered gateway.
    NotInjected,
    /// The pod is enrolled with another key.
    AlreadyEnrolled,
    /// No client certificate, or one of somebody else.
    NotYou,
    /// Known, but without the right to it.
    Forbidden,
    /// There is nothing at this path.
    NotFound,
    /// The server cannot answer now: ask again.
    Unavailable,
    /// A word of a newer version.
    #[serde(other)]
    Other,
}

impl Code {
    /// Whether the same request can succeed later.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::UnknownPod | Self::Unavailable)
    }

    /// HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::BadCsr | Self::Other => 400,
            Self::BadToken | Self::NotYou => 401,
            Self::NotInjected | Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::AlreadyEnrolled => 409,
            Self::UnknownPod | Self::Unavailable => 503,
        }
    }
}

impl Refusal {
    /// A refusal in words.
    pub fn new(code: Code, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, message: message.into(), fix: fix.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
