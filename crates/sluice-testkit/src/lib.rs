//! Peers and harness for tests.
//!
//! ```text
//! Client / Raw / frames --> Gateway (the real binary) --> Upstream (ours)
//!        kubectl, client-go                           --> Cluster (a real API server)
//! ```
//!
//! Everything here owns what it starts: a process is ended when its handle is
//! dropped, ports come from the kernel, files live in a folder of the handle.
//! Waits end on an event; their limits are generous, so that a slow machine
//! makes a test slow and never red. It knows nothing of the gateway's insides:
//! only its command line, its files and what it says on the wire.

pub mod binaries;
mod client;
mod cluster;
mod connect;
pub mod frames;
mod gateway;
mod h2;
mod http1;
mod java;
pub mod pki;
mod process;
mod provider;
mod raw;
mod seat;
pub mod tokens;
mod trail;
mod upstream;
mod wait;

pub use client::{Client, Protocol, Request};
pub use cluster::{Cluster, Namespace};
pub use connect::ConnectProxy;
pub use gateway::{Builder, Gateway, Refused};
pub use h2::Http2;
pub use http1::Response;
pub use java::ASK_JAVA;
pub use process::{Finished, Process, run};
pub use provider::Provider;
pub use raw::Raw;
pub use seat::Seat;
pub use trail::{Trail, Verified};
pub use upstream::{Answer, Seen, Upstream};
pub use wait::{LONG, eventually};
