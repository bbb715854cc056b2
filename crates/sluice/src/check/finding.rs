use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Works, but should be looked at.
    Warning,
    /// It could not be found out.
    Unknown,
    /// Something does not work, or does not protect.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// `Deployment sluice-system/sluice-control`
    pub(super) object: String,
    /// What is so.
    pub(super) what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) fix: String,
}

impl Finding {
    pub(super) fn ok(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, object: object.into(), what: what.into(), fix: String::new() }
    }

    pub(super) fn warning(object: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warning, object: object.into(), what: what.into(), fix: fix.into() }
    }

    pub(super) fn problem(object: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Problem, object: object.into(), what: what.into(), fix: fix.into() }
    }

    pub(super) fn unknown(object: impl Into<String>, why: impl Into<String>) -> Self {
        let fix = "solve the problems that are named here, see that the kubeconfig's user may read it, and check again";
        Self { level: Level::Unknown, object: object.into(), what: why.into(), fix: fix.to_owned() }
    }
}

impl Level {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Problem => "PROBLEM",
        }
    }
}
