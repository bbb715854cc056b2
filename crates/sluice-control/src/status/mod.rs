//! What became of each policy, guard rail and provider.
//!
//! `Accepted`: it can be read, and what it refers to is there. `Compiled`: it
//! compiles, by itself and with the others that are about the same pods.
//! `Programmed`: every pod that it is about decides by it, as the pods report.

mod draft;
mod judge;
mod write;

pub use draft::{Draft, Finding};
pub use judge::judge;
pub use write::{Writer, write_statuses};
