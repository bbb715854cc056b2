use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};

/// Which names and addresses a CA may speak for (RFC 5280 4.2.1.10).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Constraints {
    /// Lower case names without a trailing dot; each covers what is below it.
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

impl Constraints {
    /// Exactly the given hosts: names (and, as X.509 has no other way, names
    /// below them), or IP addresses. What is neither is left out, so that no
    /// certificate can carry it.
    pub fn of<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut constraints = Self::default();
        for host in hosts {
            match host.parse::<IpAddr>() {
                Ok(address) => {
                    constraints.addresses.insert(address);
                }
                Err(_) => {
                    constraints.names.extend(canonical(host));
                }
            }
        }
        constraints
    }

    /// Whether a certificate may carry this name or address. A wildcard is
    /// inside when all that it stands for is.
    pub fn cover(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let Some(name) = canonical(host.strip_prefix("*.").unwrap_or(host)) else { return false };
        self.names
            .iter()
            .any(|above| name.strip_suffix(above.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    }

    /// As the extension says it. A kind of name that is absent from the
    /// permitted ones would be free, so each kind is always named.
    pub(super) fn extension(&self) -> NameConstraints {
        let nowhere = self.names.is_empty().then(|| NOWHERE.to_owned());
        let names = self.names.iter().cloned().chain(nowhere).map(GeneralSubtree::DnsName);
        let addresses = self.addresses.iter().map(|address| {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, bits))
        });
        let no_addresses = [CidrSubnet::V4([0; 4], [0; 4]), CidrSubnet::V6([0; 16], [0; 16])];
        NameConstraints {
            permitted_subtrees: names.chain(addresses).collect(),
            excluded_subtrees: match self.addresses.is_empty() {
                true => no_addresses.map(GeneralSubtree::IpAddress).to_vec(),
                false => Vec::new(),
            },
        }
    }

    /// One line for each name and address: how constraints are kept beside the
    /// CA they were made into.
    pub(super) fn to_lines(&self) -> String {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        self.names.iter().cloned().chain(addresses).map(|line| line + "\n").collect()
    }

    /// Reads [`to_lines`](Self::to_lines).
    pub(super) fn from_lines(lines: &str) -> Self {
        Self::of(lines.lines())
    }
}

/// What a CA without names may speak for (RFC 6761 6.4: it never exists).
const NOWHERE: &str = "sluice.invalid";

/// The name in lower case, if it can stand in a certificate.
pub(super) fn canonical(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    ((1..=253).contains(&host.len()) && host.split('.').all(label)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_covers_itself_and_what_is_below_it() {
        let constraints = Constraints::of(["API.example.", "10.0.0.1", "fd00::1", "bad name", ""]);
        for inside in ["api.example", "Api.Example.", "x.api.example", "*.api.example", "10.0.0.1", "fd00:0::1"] {
            assert!(constraints.cover(inside), "{inside}");
        }
        for outside in [
            "example",
            "xapi.example",
            "api.example.org",
            "*.example",
            "10.0.0.2",
            "::1",
            "",
            "*",
            ".",
            "bad name",
            "a..b",
        ] {
            assert!(!constraints.cover(outside), "{outside}");
        }
        assert_eq!(Constraints::from_lines(&constraints.to_lines()), constraints);
    }
}
