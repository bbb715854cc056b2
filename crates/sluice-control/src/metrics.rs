use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sluice_k8s::webhooks::{INJECT_PATH, INJECT_REQUIRED_PATH};
use sluice_wire::Code;

use crate::status::Draft;

/// Counters for operators. Labels are words of our own, never a caller's.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    admissions: Family<Admission, Counter>,
    enrolments: Counter,
    refusals: Family<Refused, Counter>,
    reports: Family<Reported, Counter>,
    streams: Gauge,
    /// 1 while this replica leads.
    pub leader: Gauge,
    /// 1 while own records do not reach the collector.
    pub(crate) shipping_failing: Gauge,
    policies: Family<Policies, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Admission {
    webhook: &'static str,
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reported {
    in_force: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Policies {
    state: &'static str,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sluice_control");
        let (admissions, enrolments, refusals, reports, streams, leader, shipping_failing, policies) = (
            Family::<Admission, Counter>::default(),
            Counter::default(),
            Family::<Refused, Counter>::default(),
            Family::<Reported, Counter>::default(),
            Gauge::default(),
            Gauge::default(),
            Gauge::default(),
            Family::<Policies, Gauge>::default(),
        );
        registry.register("admissions", "Reviews answered", admissions.clone());
        registry.register("enrolments", "Certificates given out", enrolments.clone());
        registry.register("refusals", "Requests of sidecars refused", refusals.clone());
        registry.register("reports", "Reports of sidecars", reports.clone());
        registry.register("config_streams", "Sidecars that are connected", streams.clone());
        registry.register("leader", "1 while this replica leads", leader.clone());
        registry.register(
            "shipping_failing",
            "1 while own records do not reach the collector",
            shipping_failing.clone(),
        );
        registry.register("documents", "Policies, guard rails and providers", policies.clone());
        Self { registry, admissions, enrolments, refusals, reports, streams, leader, shipping_failing, policies }
    }

    /// In the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    pub(crate) fn admitted(&self, path: &str, allowed: bool) {
        let webhook = match path {
            INJECT_PATH => "inject",
            INJECT_REQUIRED_PATH => "inject_required",
            _ => "validate",
        };
        let verdict = if allowed { "allowed" } else { "refused" };
        self.admissions.get_or_create(&Admission { webhook, verdict }).inc();
    }

    pub(crate) fn enrolled(&self) {
        self.enrolments.inc();
    }

    pub(crate) fn refused(&self, code: Code) {
        self.refusals.get_or_create(&Refused { code: format!("{code:?}") }).inc();
    }

    pub(crate) fn reported(&self, in_force: bool) {
        let in_force = if in_force { "yes" } else { "no" };
        self.reports.get_or_create(&Reported { in_force }).inc();
    }

    pub(crate) fn judged(&self, drafts: &BTreeMap<String, Draft>) {
        let count = |state, test: &dyn Fn(&Draft) -> bool| {
            let found = drafts.values().filter(|draft| test(draft)).count();
            self.policies.get_or_create(&Policies { state }).set(i64::try_from(found).unwrap_or(i64::MAX));
        };
        count("known", &|_| true);
        count("compiled", &|draft| draft.compiled.holds);
        count("programmed", &|draft| draft.programmed.holds);
    }

    /// Counts a stream until what is returned is dropped.
    pub(crate) fn stream_opened(self: &Arc<Self>) -> OpenStream {
        self.streams.inc();
        OpenStream(self.clone())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A stream that is open.
#[derive(Debug)]
pub(crate) struct OpenStream(Arc<Metrics>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}
