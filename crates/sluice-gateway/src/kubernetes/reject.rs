use http::StatusCode;

/// A request that is not decided at all, because it can be read in two ways or
/// cannot be read. Becomes a `Status` by [`Reject::status`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}. {fix}")]
pub struct Reject {
    /// HTTP status code of the answer: 400, 405, 413 or 415.
    pub code: StatusCode,
    /// Names the part and the value.
    pub message: String,
    /// What to send instead.
    pub fix: String,
}

impl Reject {
    /// 400.
    pub(crate) fn bad(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::with(StatusCode::BAD_REQUEST, message, fix)
    }

    /// Any code.
    pub(crate) fn with(code: StatusCode, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, message: message.into(), fix: fix.into() }
    }
}

/// A value from outside for use in a message: control characters escaped, at
/// most 80 characters.
pub(crate) fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(80).flat_map(char::escape_debug).collect();
    if value.chars().nth(80).is_some() {
        text.push('…');
    }
    format!("\"{text}\"")
}
