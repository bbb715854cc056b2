//! Names that the agent may look up, and the address each of them has here.
//!
//! ```text
//! agent: A api.example?  ->  198.18.0.1      (made up, one a name)
//! agent: connect to 198.18.0.1 -> redirected -> Names::host(198.18.0.1) = api.example
//! ```
//!
//! So the original destination of a connection says which name was meant,
//! whatever the client's protocol carries. Only names of policy have an
//! address; nothing is ever forwarded to a name server, so a question carries
//! nothing out. What is dialled for a name is found by [`crate::dial`].

mod pool;
mod respond;
mod serve;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use sluice_core::Clock;
use sluice_policy::{EgressHost, Target};

use pool::Pool;

/// The v6 prefix of synthetic addresses, a /64 of unique local addresses
/// (RFC 4193).
pub const PREFIX_V6: [u16; 4] = [0xfd5f, 0x736c, 0x7569, 0x6365];
/// The first v4 address of 198.18.0.0/15 (RFC 2544), the prefix of synthetic
/// ones.
pub const PREFIX_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// The addresses by which the agent knows a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synthetic {
    /// Out of 198.18.0.0/15.
    pub v4: Ipv4Addr,
    /// Out of [`PREFIX_V6`].
    pub v6: Ipv6Addr,
}

/// A question that was not answered with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedName {
    /// The name, at most 255 bytes, as DNS writes it (odd bytes escaped).
    pub name: String,
    /// Who asked.
    pub from: SocketAddr,
    /// Refusals since the last report that were counted and not reported.
    pub unreported: u64,
}

/// Told about refused names, at a bounded rate. Must not block.
pub type OnRefused = Arc<dyn Fn(RefusedName) + Send + Sync>;

/// How many questions came to what, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// A name of policy.
    pub answered: u64,
    /// A name that policy does not have.
    pub refused: u64,
    /// No question that can be read.
    pub malformed: u64,
}

/// The names of policy and their addresses. Shared by the responder and the
/// sessions.
pub struct Names {
    /// Written by [`update`](Self::update), and when a name below a wildcard is
    /// asked for the first time.
    pool: RwLock<Pool>,
    on_refused: OnRefused,
    reports: Mutex<Reports>,
    clock: Arc<dyn Clock>,
    answered: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
}

impl Names {
    /// No names yet. `on_refused` hears of names that are asked for and not in
    /// policy: a burst of [`REPORTS`], then one each [`REPORT_EVERY`]. The last
    /// name of a burst is always among them, so that no burst goes unseen
    /// ([`report_late`](Self::report_late)).
    pub fn new(clock: Arc<dyn Clock>, on_refused: OnRefused) -> Self {
        Self {
            pool: RwLock::new(Pool::default()),
            on_refused,
            reports: Mutex::new(Reports { room: REPORTS, filled_at: clock.monotonic(), left_out: None }),
            clock,
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
        }
    }

    /// Takes the names of a policy. A name that stays keeps its address; one
    /// that goes loses it, and no other name ever gets it; one that comes back
    /// has its old one again.
    pub fn update(&self, targets: &[Target], egress: &[EgressHost]) {
        let hosts = targets.iter().map(|target| target.host.as_str());
        let exact = egress.iter().map(|rule| rule.host.as_str());
        self.pool.write().unwrap_or_else(PoisonError::into_inner).update(hosts.chain(exact));
    }

    /// The addresses of a name, made now if a wildcard covers it and it has
    /// none. `None`: policy does not have the name, or the addresses are used
    /// up.
    pub fn address(&self, name: &str) -> Option<Synthetic> {
        let name = canonical(name)?;
        if let Some(index) = self.pool.read().unwrap_or_else(PoisonError::into_inner).find(&name) {
            return Some(synthetic(index));
        }
        let index = self.pool.write().unwrap_or_else(PoisonError::into_inner).assign(&name)?;
        Some(synthetic(index))
    }

    /// The name that this address stands for. `None`: it stands for none, or
    /// for one that policy no longer has.
    pub fn host(&self, address: IpAddr) -> Option<Arc<str>> {
        let index = index(address)?;
        self.pool.read().unwrap_or_else(PoisonError::into_inner).name(index)
    }

    /// How many questions came to what.
    pub fn counts(&self) -> Counts {
        Counts {
            answered: self.answered.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
        }
    }

    fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    fn count_answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    fn count_refused(&self, name: String, from: SocketAddr) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let from = SocketAddr::new(unmapped(from.ip()), from.port());
        self.report(|reports| reports.take(name, from));
    }

    /// Reports the last name that there was no room for, once there is.
    /// [`serve`](Self::serve) calls this each [`REPORT_EVERY`].
    pub fn report_late(&self) {
        self.report(Reports::take_late);
    }

    fn report(&self, take: impl FnOnce(&mut Reports) -> Option<RefusedName>) {
        let due = {
            let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
            reports.fill(self.clock.monotonic());
            take(&mut reports)
        };
        if let Some(refused) = due {
            (self.on_refused)(refused);
        }
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("pool", &self.pool).field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// Whether the address is of the kind that [`Names`] gives out, alive or not.
pub fn is_synthetic(address: IpAddr) -> bool {
    match unmapped(address) {
        IpAddr::V4(v4) => in_prefix_v4(v4),
        IpAddr::V6(v6) => v6.segments()[..4] == PREFIX_V6,
    }
}

/// Reports in one burst.
pub const REPORTS: u32 = 20;
/// How often there is room for one more report.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);

/// How many reports may still be made. Filled as time passes.
struct Reports {
    room: u32,
    /// Monotonic time up to which room was added.
    filled_at: Duration,
    /// The last name that found no room; `unreported` counts those before it.
    left_out: Option<RefusedName>,
}

impl Reports {
    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at).as_nanos() / REPORT_EVERY.as_nanos();
        if passed > 0 {
            let added = u32::try_from(passed).unwrap_or(u32::MAX);
            self.room = self.room.saturating_add(added).min(REPORTS);
            self.filled_at = self.filled_at.saturating_add(REPORT_EVERY.saturating_mul(added));
        }
    }

    /// The report of this name, or it is left out.
    fn take(&mut self, name: String, from: SocketAddr) -> Option<RefusedName> {
        let unreported = self.left_out.take().map_or(0, |last| last.unreported.saturating_add(1));
        self.left_out = Some(RefusedName { name, from, unreported });
        self.take_late()
    }

    fn take_late(&mut self) -> Option<RefusedName> {
        self.room = self.left_out.as_ref().and(self.room.checked_sub(1))?;
        self.left_out.take()
    }
}

/// Lower case, without the last dot; `None` for what is no host name.
fn canonical(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    ((1..=253).contains(&name.len()) && name.split('.').all(fits)).then_some(name)
}

/// The addresses with this number; numbers start at 1.
fn synthetic(index: u32) -> Synthetic {
    let [a, b, c, d] = PREFIX_V6;
    let [high, low] = [(index >> 16) as u16, (index & 0xffff) as u16];
    Synthetic { v4: Ipv4Addr::from(u32::from(PREFIX_V4) + index), v6: Ipv6Addr::new(a, b, c, d, 0, 0, high, low) }
}

/// The number of a synthetic address.
fn index(address: IpAddr) -> Option<u32> {
    match unmapped(address) {
        IpAddr::V4(v4) => in_prefix_v4(v4).then(|| u32::from(v4) - u32::from(PREFIX_V4)),
        IpAddr::V6(v6) => {
            let [.., e, f, high, low] = v6.segments();
            let here = v6.segments()[..4] == PREFIX_V6 && e == 0 && f == 0;
            here.then(|| (u32::from(high) << 16) | u32::from(low))
        }
    }
}

fn in_prefix_v4(address: Ipv4Addr) -> bool {
    u32::from(address) & 0xfffe_0000 == u32::from(PREFIX_V4)
}

/// A dual-stack socket shows v4 peers as v6 ones.
fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
