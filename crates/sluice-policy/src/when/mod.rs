//! `when`: stands in until the checked subset of CEL follows.

/// A checked condition.
#[derive(Debug)]
pub(crate) struct Program;

impl Program {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Err(format!("`{text}` cannot be read yet; remove it"))
    }

    pub(crate) fn evaluate(&self, _: crate::evaluate::Question<'_>) -> (crate::tri::Answer, Option<String>) {
        (crate::tri::Answer::Unknown, None)
    }

    pub(crate) fn source(&self) -> &str {
        ""
    }
}
