//! The data path as a whole: a client, a gateway in this process, a server.

mod path;
mod pod;
mod program;
mod streams;
mod strict;
// The control plane and the collector that the link itself is tested with.
#[allow(dead_code, reason = "two suites use it, each its part")]
#[path = "../../../sluice-link/tests/link/server.rs"]
mod wire;
mod world;
