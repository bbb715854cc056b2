use serde::{Deserialize, Serialize};

/// Something that was established, or the reason why it was not.
///
/// There is no default and no `unwrap_or`: an unknown fact must be decided on
/// by whoever needs it (an `Allow` does not match it, a `Deny` does).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fact<T> {
    /// Established.
    Known(T),
    /// Not established, and why, in words for people.
    Unknown(String),
}

impl<T> Fact<T> {
    /// An unknown with its reason.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }

    /// The value, if it was established.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Why it was not established, if it was not.
    pub fn why_unknown(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(why) => Some(why),
        }
    }

    /// The same fact about something derived from the value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known(value) => Fact::Known(f(value)),
            Self::Unknown(why) => Fact::Unknown(why),
        }
    }
}
