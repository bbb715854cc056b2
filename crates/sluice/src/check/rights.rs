//! Who holds rights that would get around the gateway, by RBAC.
//!
//! What is listed is what people decided on, so a warning each; but whoever is
//! everybody, or is an agent itself, must not hold any.

mod known;
mod list;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Grants;
use super::finding::{Finding, Level};
use known::Known;
use list::RIGHTS;
use walk::{Held, Holder, holders};

/// Whose rights matter where.
pub(super) struct Around<'a> {
    /// Namespace of Sluice.
    pub(super) namespace: &'a str,
    /// Namespaces in which agents run.
    pub(super) agents: &'a BTreeSet<String>,
    /// Service accounts that agents run as, by namespace; and one pod of each.
    pub(super) accounts: &'a BTreeMap<(String, String), String>,
}

pub(super) fn rights(grants: &Grants, around: &Around<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut collapsed: BTreeMap<Known, usize> = BTreeMap::new();
    for (holder, held) in holders(grants, around) {
        // An agent that runs as a component is no component.
        let known = known::of(&holder, around.namespace).filter(|_| around.agent(&holder).is_none());
        match known {
            Some(known) => *collapsed.entry(known).or_default() += 1,
            None => findings.push(finding(&holder, &held, around)),
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    for (known, count) in collapsed {
        findings.push(Finding::ok("Rights", format!("{count} {} hold some, as they must", known.words())));
    }
    findings
}

fn finding(holder: &Holder, held: &[Held], around: &Around<'_>) -> Finding {
    let mut what: Vec<String> = Vec::new();
    let everything: Vec<&Held> = held.iter().filter(|one| one.right.is_none()).collect();
    for one in if everything.is_empty() { held.iter().collect() } else { everything } {
        let label = one.right.and_then(|right| RIGHTS.get(right)).map_or("do everything", |right| right.label);
        let text = format!("{label} ({} by {})", one.scope, one.binding);
        if !what.contains(&text) {
            what.push(text);
        }
    }
    let more = what.len().saturating_sub(SHOWN);
    what.truncate(SHOWN);
    let mut what = format!("may {}", what.join("; "));
    if more > 0 {
        what.push_str(&format!("; and {more} more"));
    }
    let bindings: BTreeSet<&str> = held.iter().map(|one| one.binding.as_str()).collect();
    let bindings = bindings.into_iter().take(3).collect::<Vec<_>>().join(", ");
    let (level, fix) = match holder.is_everybody() {
        true => (Level::Problem, format!("everybody is that, agents too: remove {bindings}")),
        false => match around.agent(holder) {
            Some(pod) => (
                Level::Problem,
                format!("agents run as that (pod {pod}): give them another account, or remove {bindings}"),
            ),
            None if holder.is_aks_local_account() => (
                Level::Warning,
                "people share its certificate, so nobody is named: az aks update --disable-local-accounts".to_owned(),
            ),
            None => (Level::Warning, format!("if that is not meant, remove {bindings}")),
        },
    };
    Finding { level, object: holder.to_string(), what, fix }
}

impl Around<'_> {
    /// A pod of an agent that is this holder, or of its group.
    fn agent(&self, holder: &Holder) -> Option<String> {
        let mut accounts = self.accounts.iter();
        let of = match holder {
            Holder::ServiceAccount { namespace, name } => {
                accounts.find(|((ns, own), _)| (ns, own) == (namespace, name))
            }
            Holder::User(user) => accounts.find(|((ns, own), _)| *user == format!("system:serviceaccount:{ns}:{own}")),
            Holder::Group(group) => {
                let namespace = group.strip_prefix("system:serviceaccounts:")?;
                accounts.find(|((ns, _), _)| ns == namespace)
            }
        };
        of.map(|((namespace, _), pod)| format!("{namespace}/{pod}"))
    }
}

/// Rights of one holder that are named.
const SHOWN: usize = 6;

#[cfg(test)]
mod tests;
