use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sluice_wire::{Code, IngestRefusal};

use crate::store::{Accepted, Store};

/// Counters for operators. Labels are words of our own, never a caller's.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    batches: Counter,
    resent: Counter,
    records: Counter,
    bytes_in: Counter,
    refusals: Family<Refused, Counter>,
    discontinuities: Counter,
    trails: Gauge,
    silent: Gauge,
    broken: Gauge,
    damaged: Gauge,
    stored: Gauge,
    limit: Gauge,
    reads: Family<Read, Counter>,
    reads_refused: Family<Refused, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Read {
    what: &'static str,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sluice_collector");
        let (batches, resent, records, bytes_in) =
            (Counter::default(), Counter::default(), Counter::default(), Counter::default());
        let (refusals, reads_refused) = (Family::<Refused, Counter>::default(), Family::<Refused, Counter>::default());
        let reads = Family::<Read, Counter>::default();
        let discontinuities = Counter::default();
        let (trails, silent, broken) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (damaged, stored, limit) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("batches", "Batches that brought something", batches.clone());
        registry.register("resent_batches", "Batches that were stored already", resent.clone());
        registry.register("records", "Records stored", records.clone());
        registry.register("received_bytes", "Bytes stored since the start", bytes_in.clone());
        registry.register("refusals", "Batches refused", refusals.clone());
        registry.register("discontinuities", "Epochs that go on from what is not stored", discontinuities.clone());
        registry.register("trails", "Trails", trails.clone());
        registry.register("silent_trails", "Trails without an end that are not heard any more", silent.clone());
        registry.register("broken_trails", "Trails that take nothing", broken.clone());
        registry.register("damaged_trails", "Trails that lost what was acknowledged", damaged.clone());
        registry.register("stored_bytes", "Bytes that all trails take", stored.clone());
        registry.register("limit_bytes", "Bytes that they may take", limit.clone());
        registry.register("reads", "Requests of readers answered", reads.clone());
        registry.register("reads_refused", "Requests of readers refused", reads_refused.clone());
        Self {
            registry,
            batches,
            resent,
            records,
            bytes_in,
            refusals,
            discontinuities,
            trails,
            silent,
            broken,
            damaged,
            stored,
            limit,
            reads,
            reads_refused,
        }
    }

    /// In the text format of OpenMetrics.
    pub fn text(&self, store: Option<&Store>) -> String {
        if let Some(store) = store {
            let totals = store.totals();
            let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            self.trails.set(count(totals.trails));
            self.silent.set(count(totals.silent));
            self.broken.set(count(totals.broken));
            self.damaged.set(count(totals.damaged));
            self.stored.set(bytes(store.room().taken()));
            self.limit.set(bytes(store.room().limit()));
        }
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    pub(crate) fn ingested(&self, answer: &Result<Accepted, IngestRefusal>) {
        match answer {
            Ok(accepted) if accepted.bytes == 0 => {
                self.resent.inc();
            }
            Ok(accepted) => {
                self.batches.inc();
                self.records.inc_by(accepted.leaves);
                self.bytes_in.inc_by(accepted.bytes);
                if accepted.missing.is_some() {
                    self.discontinuities.inc();
                }
            }
            Err(refusal) => {
                self.refusals.get_or_create(&Refused { code: word(refusal) }).inc();
            }
        }
    }

    pub(crate) fn read(&self, what: &'static str) {
        self.reads.get_or_create(&Read { what }).inc();
    }

    pub(crate) fn read_refused(&self, code: Code) {
        let code = match code {
            Code::BadToken => "BadToken",
            Code::Forbidden => "Forbidden",
            Code::NotFound => "NotFound",
            Code::Unavailable => "Unavailable",
            _ => "BadRequest",
        };
        self.reads_refused.get_or_create(&Refused { code }).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn word(refusal: &IngestRefusal) -> &'static str {
    match refusal {
        IngestRefusal::Gap { .. } => "gap",
        IngestRefusal::Fork { .. } => "fork",
        IngestRefusal::BadSignature { .. } => "badSignature",
        IngestRefusal::Malformed { .. } => "malformed",
        IngestRefusal::Full { .. } => "full",
        IngestRefusal::NotYours { .. } => "notYours",
        IngestRefusal::Other => "other",
    }
}
