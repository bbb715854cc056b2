//! What every part of Sluice speaks of.
//!
//! ```text
//! Subject  --asks a-->  Target  for a  Command = [Action, ...]
//! (who)                 (where)        (what, as facts)
//! ```
//!
//! This crate knows no policy and no wire format. A fact that could not be
//! established is [`Fact::Unknown`], never a default: whoever decides must
//! say what an unknown means.

mod clock;
mod command;
mod fact;
pub mod kubernetes;
mod secret;
mod subject;

pub use clock::{Clock, ManualClock, SystemClock};
pub use command::{Action, Command, CommandTarget, Intent, IntentSource};
pub use fact::Fact;
pub use secret::Secret;
pub use subject::{Subject, SubjectKind, Workload};
