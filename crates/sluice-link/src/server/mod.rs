//! The server's side: listeners of the control plane and of the collector.
//! Bounded in connections, in those of one address, in streams and in time, and
//! ended without losing what is under way.

mod places;
mod serve;
mod shutdown;

pub use serve::{Peer, Serving, read_body};
pub use shutdown::Shutdown;
