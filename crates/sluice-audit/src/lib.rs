//! The trail: what was asked, what was decided and what came of it, in a form
//! that nobody can quietly change.
//!
//! ```text
//! Record --canonical bytes--> leaf --frame--> segment --segment--> epoch --> epoch
//!             (sha-256 of each leaf in the next leaf)   (signed heads)  (predecessor)
//! ```
//!
//! One process writes one *epoch* with one key that lives in its memory only.
//! A leaf carries the hash of the leaf before it; a *head* signs the hash of
//! the newest leaf, and with it all before. The first leaf of an epoch names
//! the last leaf of the epoch before. `docs/trail-format.md` has the bytes.
//!
//! [`Trail`] writes, [`read`] follows and filters, [`verify`] judges a folder
//! and trusts nothing in it but public keys.
//!
//! This crate knows no policy, no protocol and no network. What goes into the
//! body of a record is the business of who writes it; secrets must have been
//! masked before.

mod body;
mod canonical;
mod commitment;
mod error;
pub mod failpoint;
mod format;
mod hash;
mod head;
pub mod intake;
mod key;
mod leaf;
mod mark;
pub mod read;
mod record;
mod recovery;
mod scan;
pub mod ship;
mod spool;
mod sync;
mod trail;
pub mod verify;
mod writer;

pub use body::{Config, Decided, Outcome, Progress, Reason, Rule, Shadow, Verdict};
pub use commitment::{Commitment, CommitmentBuilder};
pub use error::TrailError;
pub use hash::Hash;
pub use key::PublicKey;
pub use leaf::{Leaf, Of, Response};
pub use record::{Kind, Record, RecordId};
pub use recovery::Recovery;
pub use trail::{Durability, Intent, Receipt, Trail, TrailOptions, TrailStatus};

/// Largest leaf in bytes: the limit of C2SP tlog-tiles, and of the 16-bit
/// length of a frame.
pub const MAX_LEAF: usize = 65_535;
