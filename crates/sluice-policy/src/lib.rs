//! Policy: the types that people write, compiled to decisions and explained.
//!
//! ```text
//! YAML --Documents::parse--> Documents --compile(workload)--> Compiled --decide(command)--> Decision
//!                                                                 \--explain(command)--> Explanation
//! ```
//!
//! Two rules hold everywhere. *A misspelling never makes a policy wider*: what
//! is not known is refused, and an `Allow` spells out what it covers.
//! *Unknown fails closed*: where a fact is unknown an `Allow` does not match
//! and a `Deny` does.
//!
//! This crate does no I/O and knows no wire format: it reads text that others
//! fetched, and decides on facts that others established.

mod builtin;
mod bundle;
pub mod cases;
mod compile;
mod compiled;
mod decide;
mod decision;
mod documents;
mod evaluate;
mod explain;
mod matcher;
mod nearest;
mod problem;
mod revision;
pub mod spec;
mod subjects;
mod tri;
mod units;
mod wellknown;
mod when;
pub mod yaml;

pub use bundle::BundleKey;
pub use compile::{Compiled, compile};
pub use compiled::{
    Audit, AuditMode, Claims, Durability, Egress, EgressHost, Keys, Limits, Provider, Responses, Target, TargetKind,
};
pub use decision::{Decision, Obligations, Permit, Reason, RuleRef, Shadow, Verdict, code};
pub use documents::{Documents, MAX_DOCUMENTS, MAX_SOURCE_BYTES};
pub use explain::{ExplainedAction, ExplainedRule, Explanation, Lack};
pub use problem::Problem;
pub use tri::Answer;
pub use when::{condition_functions, condition_variables};
