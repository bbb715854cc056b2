//! Hands a trail over to a collector: what was written, in its order, each
//! record once, while the trail is being written.
//!
//! ```text
//! writer --frames--> segments --Outbox--> Batch --Transport--> collector
//!    ^------ gives whole segments back <---- acknowledged ------'
//! ```
//!
//! How bytes travel is the business of a [`Transport`].

mod outbox;
mod shipper;

pub use outbox::{Batch, Outbox, ShipError};
pub use shipper::{SendError, ShipOptions, ShipStatus, Shipper, Shipping, Transport};

/// Most bytes of a batch.
pub const MAX_BATCH: usize = 1 << 20;
