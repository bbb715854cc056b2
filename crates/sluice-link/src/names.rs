//! From a name to addresses. A static program cannot ask the C library.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;

use crate::{Endpoint, LinkError};

/// Looks names up.
pub trait Resolve: Send + Sync + fmt::Debug + 'static {
    /// All addresses of a name, in the order in which they are to be tried; or
    /// why there are none. Never asked for what is an address already.
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a>;
}

/// A lookup under way.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, String>> + Send + 'a>>;

/// The machine's name servers, as `/etc/resolv.conf` names them, read for each
/// lookup: a process of ours asks seldom, and must not keep an old answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNames;

/// For a lookup, over all servers and attempts.
const PATIENCE: Duration = Duration::from_secs(10);
/// For one server and one attempt.
const ATTEMPT: Duration = Duration::from_secs(3);

impl Resolve for SystemNames {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let resolver = TokioResolver::builder_tokio()
                .and_then(|mut builder| {
                    let options = builder.options_mut();
                    options.timeout = ATTEMPT;
                    options.try_tcp_on_error = true;
                    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
                    builder.build()
                })
                .map_err(|error| format!("/etc/resolv.conf cannot be used: {error}"))?;
            match tokio::time::timeout(PATIENCE, resolver.lookup_ip(host)).await {
                Ok(Ok(found)) => Ok(found.iter().collect()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            }
        })
    }
}

/// Where an endpoint is.
pub(crate) async fn addresses(resolver: &dyn Resolve, endpoint: &Endpoint) -> Result<Vec<IpAddr>, LinkError> {
    if let Ok(address) = endpoint.host().parse() {
        return Ok(vec![address]);
    }
    let no = |why: String| {
        let fix = "check the name, that its Service exists, and the name servers in /etc/resolv.conf";
        LinkError::new(endpoint.to_string(), format!("{} cannot be resolved: {why}", endpoint.host()), fix)
    };
    match resolver.resolve(endpoint.host()).await {
        Ok(found) if found.is_empty() => Err(no("it has no address".to_owned())),
        Ok(found) => Ok(found),
        Err(why) => Err(no(why)),
    }
}
