//! `when`: conditions in a checked subset of CEL.
//!
//! The text is parsed by the `cel` crate and then checked and evaluated here:
//! every expression has a type before it ever runs, evaluation has a budget,
//! and its answers are three-valued. What cannot be known (a body that could
//! not be read, a field that is not there, an overflow, an exhausted budget)
//! is [`Answer::Unknown`], and `false && unknown` is `false` from both sides.
//!
//! Two differences from CEL, both towards fewer surprises in a denial: `has`
//! of a path is false where any step of it is known not to be there, and
//! comparing values of different kinds is unknown, not false.

mod check;
mod eval;
mod expression;
mod types;
mod value;

#[cfg(test)]
mod tests;

use cel::parser::Parser;

use crate::Answer;
use crate::evaluate::Question;
use expression::{Expr, Function, Root};
use types::Type;

/// Bytes of one condition.
pub(crate) const MAX_BYTES: usize = 2048;
/// How deep its brackets and operators may nest.
const MAX_DEPTH: usize = 48;
/// Stack of the thread that parses: the parser's recursion is bounded by the
/// length of the text alone.
const PARSER_STACK: usize = 64 << 20;

/// A checked condition.
#[derive(Debug)]
pub(crate) struct Program {
    source: String,
    expr: Expr,
}

impl Program {
    /// Parses and checks a condition; the error says what is wrong where.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("has {} bytes; write at most {MAX_BYTES}, or divide the rule", text.len()));
        }
        if text.trim().is_empty() {
            return Err("is empty; write a condition such as `request.dryRun`, or remove it".to_owned());
        }
        let source = text.to_owned();
        // A thread of its own: the parser recurses as deep as the text nests,
        // and should it ever panic, that is a refusal.
        let parsed = std::thread::Builder::new()
            .name("when".to_owned())
            .stack_size(PARSER_STACK)
            .spawn(move || parse(&source))
            .map_err(|error| format!("cannot be checked: no thread for it: {error}"))?
            .join();
        match parsed {
            Ok(expr) => Ok(Self { source: text.to_owned(), expr: expr? }),
            Err(_) => Err("cannot be parsed; write it more simply".to_owned()),
        }
    }

    /// The answer; with `Unknown` the reason.
    pub(crate) fn evaluate(&self, question: Question<'_>) -> (Answer, Option<String>) {
        match eval::evaluate(&self.expr, question) {
            Ok(holds) => (Answer::from_bool(holds), None),
            Err(why) => (Answer::Unknown, Some(why)),
        }
    }

    /// As it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

/// What a condition may speak of: `request.verb` and its type in words.
pub fn condition_variables() -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (name, root) in Root::ALL {
        match Type::from(root) {
            Type::Record(kind) => variables.extend(kind.fields().iter().map(|(field, found)| {
                let words = match Type::from(*found) {
                    Type::List(item) => format!("list of {item}"),
                    found => found.to_string(),
                };
                (format!("{name}.{field}"), words)
            })),
            other => variables.push((name.to_owned(), other.to_string())),
        }
    }
    variables
}

/// Functions and macros that a condition may use.
pub fn condition_functions() -> Vec<&'static str> {
    let mut functions: Vec<&str> = Function::ALL.iter().map(|(name, _)| *name).collect();
    functions.extend(["matches", "has", "all", "exists"]);
    functions
}

fn parse(text: &str) -> Result<Expr, String> {
    let parser = Parser::new().max_recursion_depth(MAX_DEPTH as u16);
    let (tree, positions) = parser.parse_with_source_info(text).map_err(|errors| syntax(&errors))?;
    check::check(&tree, &positions)
}

fn syntax(errors: &cel::ParseErrors) -> String {
    let Some(first) = errors.errors.first() else { return "is no CEL; correct it".to_owned() };
    // What the parser would have taken instead is a long list of its tokens.
    let message = first.msg.split(" expecting ").next().unwrap_or_default().replace("'<EOF>'", "the end");
    let mut message: String = message.chars().filter(|c| !c.is_control()).take(160).collect();
    if first.msg.starts_with("UNKNOWN") || message.is_empty() {
        message = "nests too deep, or is no CEL".to_owned();
    }
    format!("is no CEL: column {}: {message}", first.pos.1.max(0) + 1)
}
