//! TLS and HTTP for all listeners.

mod answer;
mod places;
mod serve;

pub use answer::{Answer, Lines, Reply, refuse, stream, text};
pub use serve::{Peer, read_body, serve, serve_plain};
