//! The init step of a pod: writes the redirect rules into the pod's network,
//! proves that they hold, and exits.
//!
//! ```text
//! agent ── TCP ──────────────► 15001, the gateway
//!       ── DNS (UDP, TCP) ───► 15053, the gateway's resolver
//!       ── everything else ──► dropped
//! gateway (UID and GID) ─────► out
//! in: 15021 (health) and the ports of SLUICE_INBOUND_PORTS; nothing else
//! ```
//!
//! One table for both families, replaced as a whole in one transaction: while
//! this runs again, either the old rules hold or the new ones. The rules go to
//! the kernel by netlink, so that the image needs no `nft`. Addresses are no
//! input: neither the pod's nor the node's (another pod can appear with the
//! node's). `docs/redirect.md` says what users notice.

mod batch;
mod encode;
mod prove;
mod rules;
mod settings;

use std::fmt;
use std::io;

pub use prove::{Family, ProofError};
pub use settings::{Settings, SettingsError};

/// Port of the gateway's transparent listener.
pub const TCP_PORT: u16 = 15001;
/// Port of the gateway's resolver, UDP and TCP.
pub const DNS_PORT: u16 = 15053;
/// Port of the gateway's health endpoints.
pub const HEALTH_PORT: u16 = 15021;
/// UID and GID of the gateway, where `SLUICE_GATEWAY_USER` says nothing else.
pub const GATEWAY_USER: u32 = 62051;

/// Writes the rules into the network namespace of this process and proves
/// them. Returns the families for which they were seen to hold.
///
/// # Errors
/// The rules were not written (then what was there before still holds), or
/// they were and the proof failed (then they stay: nothing leaves).
pub fn init(settings: &Settings) -> Result<Proven, InitError> {
    batch::replace(&rules::table(settings))?;
    let families = prove::prove()?;
    Ok(Proven(families))
}

/// The families for which the proof went through, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven(Vec<Family>);

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Family::to_string).collect();
        f.write_str(&names.join(" and "))
    }
}

/// Why the pod's network is not as it must be. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The process may not write rules.
    #[error(
        "the kernel does not let this process write packet rules: the container needs the capability NET_ADMIN; where \
         Pod Security forbids it (levels `baseline` and `restricted`, AKS Automatic), label the namespace \
         `pod-security.kubernetes.io/enforce: privileged` or run the agent in a namespace that allows it"
    )]
    NotPermitted,
    /// The kernel has no netfilter tables at all.
    #[error("open a netlink socket to nf_tables: {0}; the node's kernel needs nf_tables (CONFIG_NF_TABLES)")]
    NoNetfilter(io::Error),
    /// The kernel refused a part of the rules.
    #[error(
        "write {part}: {error}; the node's kernel needs nf_tables for IPv4 and IPv6 with NAT, redirect and connection \
         tracking with marks and zones (modules nft_chain_nat, nft_nat, nft_redir, nft_ct). Nothing was changed"
    )]
    Refused {
        /// The part of the rules, as in [`rules`].
        part: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The exchange with the kernel broke off.
    #[error("exchange with nf_tables: {0}")]
    Exchange(io::Error),
    /// The rules are there and do not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
}
