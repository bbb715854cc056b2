//! The data path: from an agent's connection to a decided, masked and recorded
//! answer.
//!
//! ```text
//! accept -> tls -> http -> identify -> kubernetes (decode) -> decide
//!        -> record: intent -> forward -> mask -> record: outcome
//! ```
//!
//! `session.rs` is the only file that knows that order. A denial is a value;
//! an error closes the door. [`Gateway`] is the whole as a library: the
//! program `sluice-gateway` and `sluice run` start it with other sockets.
//!
//! This crate links no Kubernetes client and no user interface.

mod accept;
mod admin;
mod config;
mod connection;
mod deny;
pub mod dial;
mod egress;
mod forward;
mod gateway;
mod http;
mod identify;
pub mod identity;
pub mod kubernetes;
mod limits;
mod mask;
mod metrics;
pub mod names;
pub mod pod;
pub mod probe;
mod record;
pub mod redirect;
mod relay;
mod session;
mod shared;
mod tls;
pub mod trust;
mod watch;
mod way;

pub use accept::Listener;
pub use config::PolicyError;
pub use gateway::{Gateway, GatewayOptions, Ready, StartError};
pub use session::FAILPOINTS;
