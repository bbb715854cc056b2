//! A peer that says what reached it, so that "it went nowhere" can be shown.

use anyhow::{Result, bail};
use serde_json::Value;
use sluice_testkit::eventually;

use crate::kube::{Namespace, unique};
use crate::pod::{Family, Pod, plain};

/// A pod outside every gateway, that listens everywhere; and another, equally
/// free, by which each attempt is proved to work when nothing stops it.
pub(crate) struct Peer {
    pub(crate) pod: Pod,
    pub(crate) free: Pod,
}

impl Peer {
    pub(crate) fn start(namespace: &Namespace) -> Result<Self> {
        Pod::create(namespace, &plain("peer", &["/bin/probe", "listen"]))?;
        Pod::create(namespace, &plain("free", &["/bin/probe", "wait"]))?;
        Ok(Self { pod: Pod::ready(namespace, "peer")?, free: Pod::ready(namespace, "free")? })
    }

    /// Everything that arrived.
    pub(crate) fn arrivals(&self) -> Result<Vec<Value>> {
        Ok(self.pod.log()?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Whether something with that mark arrived.
    pub(crate) fn saw(&self, mark: &str) -> Result<bool> {
        Ok(self.pod.log()?.contains(mark))
    }

    /// Shows that the probe's attempt `arguments(mark, address of the peer)`
    /// reaches the peer from a pod that nothing stops, and not from `agent`.
    /// Gives what the agent's attempt said.
    pub(crate) fn is_out_of_reach(
        &self,
        agent: &Pod,
        family: Family,
        arguments: impl Fn(&str, std::net::IpAddr) -> Vec<String>,
    ) -> Result<Value> {
        let address = self.pod.address(family)?;
        let attempt = |pod: &Pod, mark: &str| {
            let words = arguments(mark, address);
            pod.probe(&words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let mark = unique("attack");
        let came = attempt(agent, &mark)?;
        // The peer writes in the order of arrival: once this is there, the other would be.
        let sentinel = unique("sentinel");
        eventually("the same attempt, from a pod that nothing stops", || {
            let came = attempt(&self.free, &sentinel)?;
            if self.saw(&sentinel)? { Ok(()) } else { bail!("it does not reach the peer at all: {came}") }
        })?;
        if self.saw(&mark)? {
            bail!("the attempt reached the peer: {came}");
        }
        if let Some(answer) = came["answer"].as_str().filter(|answer| answer.contains(&mark)) {
            bail!("the peer answered: {answer}");
        }
        Ok(came)
    }
}
