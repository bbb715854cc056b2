//! What is written to the trail, and when.
//!
//! ```text
//! decided, denied      one `refused` leaf, before the answer
//! decided, allowed     `intent`, durable before the command is forwarded;
//!                      `progress` for long streams;
//!                      `outcome`, durable before the last byte is released
//! not even decided     one `refused` leaf, at a bounded rate
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_audit as audit;
use sluice_audit::{CommitmentBuilder, Kind, Record, TrailError};
use sluice_core::Command;
use sluice_policy::{AuditMode, Decision, Reason, Responses, RuleRef};

use crate::limits::Taken;
use crate::metrics::Metrics;
use crate::shared::Shared;

/// Refusals of things that are no command, recorded a minute.
const REFUSALS_PER_MINUTE: u32 = 600;

/// Something that was refused before it was a command.
#[derive(Debug)]
pub(crate) struct Stranger<'a> {
    pub(crate) peer: SocketAddr,
    /// Where it was going.
    pub(crate) destination: String,
    /// Stable word.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) fix: String,
    /// Method and path, where it was a request.
    pub(crate) request: Option<&'a str>,
}

/// Records a refusal of something that is no command.
pub(crate) async fn stranger(shared: &Shared, stranger: Stranger<'_>) {
    Metrics::count(&shared.metrics.refusals, stranger.code);
    tracing::info!(
        peer = %stranger.peer,
        destination = stranger.destination,
        code = stranger.code,
        message = stranger.message,
        "refused"
    );
    let Taken::Yes { missed } = shared.limits.refusals.take(REFUSALS_PER_MINUTE, &*shared.clock) else { return };
    let mut record = Record::new(Kind::Refused)
        .with("verdict", audit::Verdict::Deny)
        .with("peer", stranger.peer.to_string())
        .with("destination", stranger.destination)
        .with("reason", audit::Reason { code: stranger.code.to_owned(), message: stranger.message, fix: stranger.fix });
    if let Some(request) = stranger.request {
        record = record.with("request", request);
    }
    if missed > 0 {
        record = record.with("unrecordedBefore", missed);
    }
    if let Err(error) = shared.trail.append(record, audit::Durability::Process).await {
        shared.trail_refused(&error);
    }
}

/// Records a denied command.
///
/// # Errors
/// The denial is not in the trail; it is a denial all the same.
pub(crate) async fn denied(
    shared: &Shared,
    command: &Command,
    decision: &Decision,
    reason: &Reason,
    revision: &str,
) -> Result<(), TrailError> {
    let record = Record::refused(&decided(command, decision, Some(reason), revision));
    shared.trail.append(record, audit::Durability::Process).await.map(drop)
}

/// Records that a command is about to be forwarded.
///
/// # Errors
/// It must not be forwarded. In `BestEffort` a failure is counted instead.
pub(crate) async fn intent(
    shared: &Arc<Shared>,
    command: &Command,
    decision: &Decision,
    revision: &str,
    audit: &sluice_policy::Audit,
    obligations: &sluice_policy::Obligations,
) -> Result<Running, TrailError> {
    let mut durability = durability(obligations, shared.trail.is_shipped());
    let record = || Record::intent(&decided(command, decision, None, revision));
    let mut written = shared.trail.intent(record(), durability).await;
    if let Err(TrailError::Unacknowledged { .. }) = &written
        && audit.mode == AuditMode::BestEffort
    {
        shared.metrics.unacknowledged.inc();
        durability = audit::Durability::Disk;
        written = shared.trail.intent(record(), durability).await;
    }
    let intent = match written {
        Ok(intent) => Some(intent),
        // What cannot be had at all is no matter of effort.
        Err(error @ TrailError::NoCollector { .. }) => return Err(error),
        Err(error) => {
            shared.trail_refused(&error);
            if audit.mode == AuditMode::Strict {
                return Err(error);
            }
            shared.metrics.unrecorded.inc();
            None
        }
    };
    Ok(Running {
        shared: shared.clone(),
        intent,
        durability,
        started: shared.clock.monotonic(),
        tally: audit::Outcome::default(),
        commitment: match audit.responses {
            Responses::Digest => CommitmentBuilder::new(),
            Responses::None => None,
        },
        over: false,
    })
}

/// What must have happened to the records of a command.
fn durability(obligations: &sluice_policy::Obligations, shipped: bool) -> audit::Durability {
    use sluice_policy::Durability;
    match obligations.durability {
        Durability::Collector => audit::Durability::Collector,
        Durability::Disk if obligations.collector_where_there_is_one && shipped => audit::Durability::Collector,
        Durability::Disk => audit::Durability::Disk,
        Durability::Process | Durability::Auto => audit::Durability::Process,
    }
}

fn decided<'a>(
    command: &'a Command,
    decision: &'a Decision,
    reason: Option<&Reason>,
    revision: &'a str,
) -> audit::Decided<'a> {
    audit::Decided {
        command,
        verdict: if reason.is_some() { audit::Verdict::Deny } else { audit::Verdict::Allow },
        rule: decision.rule.as_ref().map(rule),
        reason: reason.map(why),
        would_deny: decision.would_deny.as_ref().map(why),
        shadows: decision
            .shadows
            .iter()
            .map(|shadow| audit::Shadow { rule: rule(&shadow.rule), action: format!("{:?}", shadow.action) })
            .collect(),
        revision,
        explanation: &decision.explanation,
    }
}

fn rule(rule: &RuleRef) -> audit::Rule {
    audit::Rule { policy: rule.policy.clone(), rule: rule.rule.clone() }
}

fn why(reason: &Reason) -> audit::Reason {
    audit::Reason { code: reason.code.to_owned(), message: reason.message.clone(), fix: reason.fix.clone() }
}

/// A command that was forwarded and whose outcome is not recorded yet.
/// Dropped, it records that the client abandoned it.
pub(crate) struct Running {
    shared: Arc<Shared>,
    /// `None`: it was let pass without a record.
    intent: Option<audit::Intent>,
    durability: audit::Durability,
    started: Duration,
    tally: audit::Outcome,
    commitment: Option<CommitmentBuilder>,
    over: bool,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Its response was passed on whole.
    Done,
    /// Something broke, or the response was withheld; the message says which.
    Failed(String),
    /// The client went away before its end.
    Abandoned,
}

impl Running {
    /// The upstream answered.
    pub(crate) fn answered(&mut self, status: http::StatusCode, upstream_id: Option<String>) {
        self.tally.status = Some(status.as_u16());
        self.tally.upstream_id = upstream_id;
    }

    /// Bytes that the client is given.
    pub(crate) fn passes(&mut self, bytes: &[u8]) {
        self.tally.bytes += bytes.len() as u64;
        if let Some(commitment) = &mut self.commitment {
            commitment.update(bytes);
        }
    }

    /// Bytes that the client was given so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.tally.bytes
    }

    /// Values that were masked in all.
    pub(crate) fn masked(&mut self, values: u64) {
        if values > 0 {
            self.tally.masks.insert("kubernetes.secrets".to_owned(), values);
        }
    }

    /// Records how far a stream has come. A failure is counted, no more: the
    /// outcome has its room.
    pub(crate) async fn progress(&self) {
        let Some(intent) = &self.intent else { return };
        let mut record = Record::progress(&audit::Progress {
            bytes: self.tally.bytes,
            duration_us: self.micros(),
            masks: self.tally.masks.clone(),
        });
        if let Some(commitment) = &self.commitment {
            record = record.response(commitment.so_far());
        }
        if let Err(error) = intent.progress(record, audit::Durability::Process).await {
            self.shared.trail_refused(&error);
        }
    }

    /// Records the outcome.
    ///
    /// # Errors
    /// It is not in the trail: nothing more of the response may be released.
    pub(crate) async fn end(mut self, end: End) -> Result<(), TrailError> {
        let record = self.close(end);
        let Some(intent) = self.intent.take() else { return Ok(()) };
        let written = intent.outcome(record, self.durability).await;
        if let Err(error) = &written {
            self.shared.trail_refused(error);
        }
        written.map(drop)
    }

    fn close(&mut self, end: End) -> Record {
        self.over = true;
        let (word, error) = match end {
            End::Done => ("done", None),
            End::Failed(error) => ("failed", Some(error)),
            End::Abandoned => ("abandoned", None),
        };
        Metrics::count(&self.shared.metrics.outcomes, word);
        let masked = self.tally.masks.values().sum();
        self.shared.metrics.masked.inc_by(masked);
        let mut outcome = std::mem::take(&mut self.tally);
        outcome.outcome = word.to_owned();
        outcome.error = error;
        outcome.duration_us = self.micros();
        let record = Record::outcome(&outcome);
        match self.commitment.take() {
            Some(commitment) => record.response(commitment.finish()),
            None => record,
        }
    }

    fn micros(&self) -> u64 {
        let elapsed = self.shared.clock.monotonic().saturating_sub(self.started);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let record = self.close(End::Abandoned);
        let (Some(intent), Ok(runtime)) = (self.intent.take(), tokio::runtime::Handle::try_current()) else { return };
        let (shared, durability) = (self.shared.clone(), self.durability);
        runtime.spawn(async move {
            if let Err(error) = intent.outcome(record, durability).await {
                shared.trail_refused(&error);
            }
        });
    }
}
