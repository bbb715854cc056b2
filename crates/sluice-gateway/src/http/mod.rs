//! HTTP/1.1 and HTTP/2, both sides. What is here knows messages and limits,
//! and neither policy nor Kubernetes.

pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod serve;
pub(crate) mod strict;
pub(crate) mod upstream;
