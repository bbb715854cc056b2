//! What both servers show, and how they answer.

mod http;
mod tls;

pub use http::{Answer, Reply, refuse, text};
pub use tls::{Clients, Credentials, tls_of};
