use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Names and their numbers. A number belongs to one name for the life of the
/// gateway, in order of first use.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Every name that ever had a number. Bounded by [`MAX_NAMES`].
    numbers: HashMap<Arc<str>, u32>,
    /// The name of number n at n - 1.
    names: Vec<Arc<str>>,
    /// Names that policy spells out.
    exact: HashSet<Arc<str>>,
    /// Parents of the wildcards of policy: `x` for `*.x`.
    parents: HashSet<Box<str>>,
}

impl Pool {
    /// Takes the hosts of a policy, numbering those it spells out.
    pub(super) fn update<'a>(&mut self, hosts: impl Iterator<Item = &'a str>) {
        self.exact.clear();
        self.parents.clear();
        for host in hosts {
            match host.strip_prefix("*.") {
                Some(parent) => {
                    self.parents.extend(super::canonical(parent).map(String::into_boxed_str));
                }
                // An address needs no name.
                None if host.parse::<std::net::IpAddr>().is_ok() => {}
                None => {
                    if let Some(name) = super::canonical(host) {
                        let name: Arc<str> = name.into();
                        self.number(&name, MAX_NAMES);
                        self.exact.insert(name);
                    }
                }
            }
        }
    }

    /// The number of a name that policy has and that has one.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied().filter(|_| self.covers(name))
    }

    /// The number of a name that policy has, a new one if it has none.
    pub(super) fn assign(&mut self, name: &str) -> Option<u32> {
        if !self.covers(name) {
            return None;
        }
        self.number(&name.into(), MAX_WILDCARD_NAMES)
    }

    /// The name with this number, if policy has it.
    pub(super) fn name(&self, number: u32) -> Option<Arc<str>> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        self.names.get(at).filter(|name| self.covers(name)).cloned()
    }

    /// `*.x` covers every name below `x`, not `x` itself.
    fn covers(&self, name: &str) -> bool {
        let above = || std::iter::successors(name.split_once('.'), |(_, rest)| rest.split_once('.'));
        self.exact.contains(name) || above().any(|(_, parent)| self.parents.contains(parent))
    }

    fn number(&mut self, name: &Arc<str>, limit: usize) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.names.len() >= limit {
            return None;
        }
        self.names.push(name.clone());
        let number = u32::try_from(self.names.len()).ok()?;
        self.numbers.insert(name.clone(), number);
        Some(number)
    }
}

/// Names in one life of the gateway: half of the v4 prefix.
const MAX_NAMES: usize = 65_536;
/// From this many on, only names that policy spells out get an address: an
/// agent that invents names below a wildcard cannot use all of them up.
pub(super) const MAX_WILDCARD_NAMES: usize = 16_384;
