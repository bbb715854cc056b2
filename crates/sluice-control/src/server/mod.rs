//! TLS and HTTP for both servers.

mod http;
mod tls;

pub use http::{Answer, Peer, Reply, read_body, refuse, serve, serve_plain, text};
pub use tls::{Clients, Credentials, tls_of};
