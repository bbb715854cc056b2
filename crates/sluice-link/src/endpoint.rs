use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Where a process of ours listens: `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// A URL that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} {what}; write https://HOST:PORT, such as https://sluice-control.sluice-system.svc:8444")]
pub struct NoEndpoint {
    url: String,
    what: &'static str,
}

impl Endpoint {
    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "https://{open}{}{close}:{}", self.host, self.port)
    }
}

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(url: &str) -> Result<Self, NoEndpoint> {
        let no = |what| NoEndpoint { url: url.chars().take(256).collect(), what };
        let rest = url.strip_prefix("https://").ok_or_else(|| no("does not begin with https://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !rest.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port != 0).ok_or_else(|| no("has no valid port"))?)
            }
            _ => (rest, 443),
        };
        let host = match host.strip_prefix('[') {
            Some(inner) => {
                let inner = inner.strip_suffix(']').ok_or_else(|| no("has a bracket too few"))?;
                inner.parse::<IpAddr>().map_err(|_| no("has brackets around what is no address"))?;
                inner
            }
            None => host,
        };
        let fine = host.contains(':')
            || (!host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')));
        if !fine || (host.contains(':') && host.parse::<IpAddr>().is_err()) {
            return Err(no("has no host, or more than host and port"));
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_host_and_port() {
        for (url, host, port, again) in [
            ("https://Control.sluice.svc:8444", "control.sluice.svc", 8444, "https://control.sluice.svc:8444"),
            ("https://control/", "control", 443, "https://control:443"),
            ("https://[fd00::1]:8445", "fd00::1", 8445, "https://[fd00::1]:8445"),
            ("https://10.0.0.1:1", "10.0.0.1", 1, "https://10.0.0.1:1"),
        ] {
            let endpoint: Endpoint = url.parse().expect(url);
            assert_eq!((endpoint.host(), endpoint.port()), (host, port));
            assert_eq!(endpoint.to_string(), again);
        }
    }

    #[test]
    fn what_is_no_url_of_ours_is_said() {
        for url in [
            "",
            "control:8444",
            "http://control:8444",
            "https://",
            "https://:1",
            "https://a:0",
            "https://a:x",
            "https://a/path",
            "https://u@a",
            "https://[fd00::1",
            "https://[a]:1",
            "https://fd00::g:1",
        ] {
            let error = url.parse::<Endpoint>().expect_err(url).to_string();
            assert!(error.contains("https://HOST:PORT"), "{error}");
        }
    }
}
