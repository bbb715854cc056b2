//! `sluice-gateway init` in network namespaces of the tests' own, judged by
//! real sockets and by `nft`. Needs root, `ip`, `nft`, `nsenter`, `setpriv`.

mod inbound;
mod leaving;
mod pod;
mod rules;
mod turning;
mod wire;
