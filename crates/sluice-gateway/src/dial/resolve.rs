//! From a name to addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// Asks name servers on the gateway's side. Cheap to clone; answers are kept
/// as long as they say.
#[derive(Clone)]
pub struct Resolver {
    state: Result<TokioResolver, String>,
}

impl Resolver {
    /// The machine's name servers, as `/etc/resolv.conf` names them now. Where
    /// there are none, every lookup says why.
    pub fn system() -> Self {
        Self::machine(ResolveHosts::Always)
    }

    /// As [`system`](Self::system), without the hosts file: in a pod its author
    /// writes it (`hostAliases`), and what passes unread is dialled by name.
    pub fn pod() -> Self {
        Self::machine(ResolveHosts::Never)
    }

    fn machine(hosts: ResolveHosts) -> Self {
        let state = TokioResolver::builder_tokio()
            .and_then(|mut builder| {
                options(builder.options_mut());
                builder.options_mut().use_hosts_file = hosts;
                builder.build()
            })
            .map_err(|error| format!("/etc/resolv.conf cannot be used: {error}"));
        Self { state }
    }

    /// These name servers alone, over UDP and TCP; no hosts file.
    pub fn servers(servers: &[SocketAddr]) -> Self {
        let servers = servers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        options(builder.options_mut());
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        Self { state: builder.build().map_err(|error| error.to_string()) }
    }

    /// All addresses of a name, or why there are none.
    pub(super) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if is_localhost(host) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let resolver = self.state.as_ref().map_err(Clone::clone)?;
        let found = tokio::time::timeout(TIMEOUT, resolver.lookup_ip(absolute(host)))
            .await
            .map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))?
            .map_err(|error| describe(&error))?;
        Ok(found.iter().collect())
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("problem", &self.state.as_ref().err()).finish_non_exhaustive()
    }
}

/// RFC 6761 6.3. No pattern of policy covers it, so only a policy that spells
/// it out leads there.
pub(super) fn is_localhost(host: &str) -> bool {
    host.trim_end_matches('.').eq_ignore_ascii_case("localhost")
}

/// How long a lookup may take over all servers and attempts.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long one server has for one attempt.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How many answers are kept.
const CACHE: u64 = 1024;

fn options(options: &mut ResolverOpts) {
    options.timeout = ATTEMPT;
    options.cache_size = CACHE;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.try_tcp_on_error = true;
}

/// Search domains are for names inside the cluster alone: for all others they
/// would only let somebody else answer first.
fn absolute(host: &str) -> String {
    let relative = !host.contains('.') || host.ends_with(".svc");
    if relative || host.ends_with('.') { host.to_owned() } else { format!("{host}.") }
}

fn describe(error: &NetError) -> String {
    if error.is_nx_domain() {
        "no such name".to_owned()
    } else if error.is_no_records_found() {
        "it has no address".to_owned()
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn in_a_pod_nobody_reads_the_hosts_file() {
        // Where the machine has no `resolv.conf` there is no resolver to ask.
        let read = |resolver: Resolver| resolver.state.ok().map(|state| state.options().use_hosts_file);
        assert!(read(Resolver::pod()).is_none_or(|hosts| hosts == ResolveHosts::Never));
        assert!(read(Resolver::system()).is_none_or(|hosts| hosts == ResolveHosts::Always));
    }

    #[test]
    fn only_names_of_the_cluster_are_searched_for() {
        assert_eq!(absolute("api.example"), "api.example.");
        assert_eq!(absolute("api.example."), "api.example.");
        assert_eq!(absolute("kubernetes.default.svc"), "kubernetes.default.svc");
        assert_eq!(absolute("registry"), "registry");
    }
}
