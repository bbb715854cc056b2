use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// An address that stands for a name: `HOST[:PORT]=IP:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// The name, lower case, without a trailing dot.
    pub host: String,
    /// The port it is for; `None`: all.
    pub port: Option<u16>,
    /// What is dialled instead.
    pub to: SocketAddr,
}

/// What is wrong with a map.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{value:?}: {what}; write HOST[:PORT]=IP:PORT, such as api.example:443=10.0.0.7:6443")]
pub struct MapError {
    value: String,
    what: &'static str,
}

impl FromStr for Map {
    type Err = MapError;

    fn from_str(value: &str) -> Result<Self, MapError> {
        let wrong = |what| MapError { value: value.to_owned(), what };
        let (from, to) = value.split_once('=').ok_or_else(|| wrong("there is no ="))?;
        let to = to.parse().map_err(|_| wrong("what follows = is no IP:PORT"))?;
        let (host, port) = split(from).map_err(wrong)?;
        if host.is_empty() || host.bytes().any(|byte| byte.is_ascii_whitespace() || byte == b'/') {
            return Err(wrong("what precedes = is no host name"));
        }
        Ok(Self { host, port, to })
    }
}

/// The address that stands for `host` and `port`; a map with the port wins.
pub(super) fn find(maps: &[Map], host: &str, port: u16) -> Option<SocketAddr> {
    let host = canonical(host);
    let named = || maps.iter().filter(|map| map.host == host);
    named().find(|map| map.port == Some(port)).or_else(|| named().find(|map| map.port.is_none())).map(|map| map.to)
}

/// `name`, `name:port`, `[v6]`, `[v6]:port`, `v4`, `v4:port`, a bare `v6`.
fn split(from: &str) -> Result<(String, Option<u16>), &'static str> {
    const PORT: &str = "the port is not a number from 1 to 65535";
    if from.parse::<IpAddr>().is_ok() {
        return Ok((canonical(from), None));
    }
    let (host, port) = match from.rsplit_once(':') {
        Some((host, port)) if !from.ends_with(']') => (host, Some(port)),
        _ => (from, None),
    };
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok().filter(|port| *port != 0).ok_or(PORT)?),
        None => None,
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((canonical(host), port))
}

fn canonical(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Map {
        text.parse().expect(text)
    }

    #[test]
    fn the_map_with_the_port_wins() {
        let maps = [map("API.example.=10.0.0.1:1"), map("api.example:443=10.0.0.2:2"), map("[fd00::1]:443=[::1]:3")];
        assert_eq!(find(&maps, "api.example", 443), Some("10.0.0.2:2".parse().unwrap()));
        assert_eq!(find(&maps, "Api.Example.", 80), Some("10.0.0.1:1".parse().unwrap()));
        assert_eq!(find(&maps, "fd00::1", 443), Some("[::1]:3".parse().unwrap()));
        assert_eq!(find(&maps, "x.api.example", 443), None);
        assert_eq!(map("fd00::2=1.2.3.4:5").host, "fd00::2");
    }

    #[test]
    fn a_map_that_is_none_names_the_value_and_the_form() {
        for (text, what) in [
            ("api.example", "there is no ="),
            ("api.example=10.0.0.1", "no IP:PORT"),
            ("api.example=other.example:443", "no IP:PORT"),
            ("=10.0.0.1:1", "no host name"),
            ("a b=10.0.0.1:1", "no host name"),
            ("https://a=10.0.0.1:1", "the port is not"),
            ("a:0=10.0.0.1:1", "the port is not"),
            ("a:70000=10.0.0.1:1", "the port is not"),
        ] {
            let error = text.parse::<Map>().expect_err(text).to_string();
            assert!(error.contains(what) && error.contains(text) && error.contains("HOST[:PORT]=IP:PORT"), "{error}");
        }
    }
}
