//! Counters for operators. Labels are words of our own, never a client's.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Connections accepted, by what became of them.
    pub(crate) connections: Family<Kind, Counter>,
    /// Commands decided, by verdict.
    pub(crate) commands: Family<Kind, Counter>,
    /// What was refused before or beside a decision, by code.
    pub(crate) refusals: Family<Kind, Counter>,
    /// Outcomes, by kind.
    pub(crate) outcomes: Family<Kind, Counter>,
    /// Values masked.
    pub(crate) masked: Counter,
    /// Records that could not be written and were let pass (`BestEffort`).
    pub(crate) unrecorded: Counter,
    /// Policy reloads, by result.
    pub(crate) reloads: Family<Kind, Counter>,
    /// 1 while the files on disk do not compile.
    pub(crate) policy_broken: Gauge,
    /// 1 while the control plane cannot be heard.
    pub(crate) control_away: Gauge,
    /// 1 while records do not get to the collector.
    pub(crate) collector_away: Gauge,
    /// Records that were not acknowledged in time and whose commands were let
    /// pass (`BestEffort`); they are in the trail.
    pub(crate) unacknowledged: Counter,
    /// 1 while the trail takes no records.
    pub(crate) trail_closed: Gauge,
    /// Connections now.
    pub(crate) open: Gauge,
    /// Seconds from a request's head to its decision.
    pub(crate) decided: Histogram,
    /// Bytes passed through unread, by direction.
    pub(crate) passed_bytes: Family<Kind, Counter<u64, AtomicU64>>,
}

/// The one label that a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Kind {
    kind: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("sluice");
        let metrics = Self {
            connections: Family::default(),
            commands: Family::default(),
            refusals: Family::default(),
            outcomes: Family::default(),
            masked: Counter::default(),
            unrecorded: Counter::default(),
            reloads: Family::default(),
            policy_broken: Gauge::default(),
            control_away: Gauge::default(),
            collector_away: Gauge::default(),
            unacknowledged: Counter::default(),
            trail_closed: Gauge::default(),
            open: Gauge::default(),
            decided: Histogram::new(exponential_buckets(0.000_05, 4.0, 9)),
            passed_bytes: Family::default(),
            registry: Registry::default(),
        };
        registry.register("connections", "Connections accepted", metrics.connections.clone());
        registry.register("commands", "Commands decided", metrics.commands.clone());
        registry.register("refusals", "Refused before or beside a decision", metrics.refusals.clone());
        registry.register("outcomes", "Forwarded commands that ended", metrics.outcomes.clone());
        registry.register("masked_values", "Values masked", metrics.masked.clone());
        registry.register("unrecorded_commands", "Commands let pass without a record", metrics.unrecorded.clone());
        registry.register("policy_reloads", "Policy files that changed", metrics.reloads.clone());
        registry.register("policy_broken", "1 while the policy files do not compile", metrics.policy_broken.clone());
        registry.register("control_away", "1 while the control plane is away", metrics.control_away.clone());
        registry.register("collector_away", "1 while records do not arrive", metrics.collector_away.clone());
        registry.register(
            "unacknowledged_commands",
            "Commands let pass before the collector had their record",
            metrics.unacknowledged.clone(),
        );
        registry.register("trail_closed", "1 while the trail takes no records", metrics.trail_closed.clone());
        registry.register("open_connections", "Connections now", metrics.open.clone());
        registry.register_with_unit("decision", "From head to decision", Unit::Seconds, metrics.decided.clone());
        registry.register_with_unit("passed", "Passed through unread", Unit::Bytes, metrics.passed_bytes.clone());
        Self { registry, ..metrics }
    }

    /// Counts one of a family.
    pub(crate) fn count(family: &Family<Kind, Counter>, kind: &'static str) {
        family.get_or_create(&Kind { kind }).inc();
    }

    /// Adds to one of a family.
    pub(crate) fn add(family: &Family<Kind, Counter>, kind: &'static str, amount: u64) {
        family.get_or_create(&Kind { kind }).inc_by(amount);
    }

    /// All of it in the OpenMetrics text format.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}
