//! How targets are reached: by name, over TLS, believing the public roots and
//! those that the target names.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use sluice_policy::{Compiled, Problem};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::dial::{DialError, Dialer, Place, Roots};
use crate::http::upstream::Dial;
use crate::pod::is_in_cluster;
use crate::tls::Alpn;

/// TLS settings for every target of a policy, by host.
#[derive(Default)]
pub(crate) struct Ways(HashMap<String, Arc<Configs>>);

struct Configs {
    either: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// The way to one target.
#[derive(Clone)]
pub(crate) struct Way {
    dialer: Dialer,
    host: Arc<str>,
    port: u16,
    configs: Arc<Configs>,
}

impl Ways {
    /// Reads the roots of every target. `in_cluster`: those of the pod's own
    /// API server, where its target names none.
    ///
    /// # Errors
    /// CA files that cannot be used.
    pub(crate) fn of(compiled: &Compiled, in_cluster: Option<&Path>, place: Place) -> Result<Self, Vec<Problem>> {
        let mut ways = HashMap::new();
        let mut problems = Vec::new();
        for target in compiled.targets() {
            let own = in_cluster.filter(|_| is_in_cluster(&target.host));
            match Roots::with_bundle(target.ca_bundle.as_deref().or(own)) {
                Ok(roots) => {
                    let configs = Configs {
                        either: roots.client(&[Alpn::Http2.id(), Alpn::Http1.id()]),
                        http1: roots.client(&[Alpn::Http1.id()]),
                        http2: roots.client(&[Alpn::Http2.id()]),
                    };
                    ways.insert(target.host.clone(), Arc::new(configs));
                }
                Err(error) => {
                    // The cluster's own roots are named by nobody.
                    let (field, message) = match &target.ca_bundle {
                        Some(_) => place.bundle(&error),
                        None => ("", error.to_string()),
                    };
                    let document = format!("target {}", target.name);
                    problems.push(Problem { document, path: field.to_owned(), message });
                }
            }
        }
        if problems.is_empty() { Ok(Self(ways)) } else { Err(problems) }
    }

    /// The way to a host of the policy.
    pub(crate) fn to(&self, dialer: &Dialer, host: &Arc<str>, port: u16) -> Option<Way> {
        let configs = self.0.get(host.as_ref())?.clone();
        Some(Way { dialer: dialer.clone(), host: host.clone(), port, configs })
    }
}

impl Way {
    /// Dials and offers what the client offered, as far as it is spoken here.
    pub(crate) async fn first(&self, offered: &[Vec<u8>]) -> Result<TlsStream<TcpStream>, DialError> {
        let offers = |alpn: Alpn| offered.iter().any(|name| name == alpn.id());
        let config = match (offers(Alpn::Http2), offers(Alpn::Http1)) {
            (true, true) => &self.configs.either,
            (true, false) => &self.configs.http2,
            (false, _) => &self.configs.http1,
        };
        self.dialer.connect_tls(&self.host, self.port, config).await
    }
}

impl Dial for Way {
    async fn dial(&self, alpn: Alpn) -> Result<TlsStream<TcpStream>, DialError> {
        let config = match alpn {
            Alpn::Http1 => &self.configs.http1,
            Alpn::Http2 => &self.configs.http2,
        };
        self.dialer.connect_tls(&self.host, self.port, config).await
    }
}
