//! The loop between a trail and a collector.

use std::future::Future;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{Batch, Outbox, ShipError};
use crate::mark::Handed;
use crate::record::{Kind, Record};
use crate::trail::{Durability, Trail};

/// Carries batches to a collector.
pub trait Transport: Send + 'static {
    /// Sends one; answers with the newest record of its epoch that the
    /// collector has on its disk.
    fn send(&mut self, batch: &Batch) -> impl Future<Output = Result<u64, SendError>> + Send;
}

/// Why a batch did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The collector's next record is another one.
    #[error("the collector wants record {expected} next")]
    Gap {
        /// That record.
        expected: u64,
    },
    /// The collector takes nothing of this.
    #[error("the collector refuses: {code}: {message}; fix: {fix}")]
    Refused {
        /// Stable word.
        code: String,
        /// For people.
        message: String,
        /// What to do.
        fix: String,
    },
    /// It cannot be reached, or does not answer.
    #[error("the collector cannot be reached: {0}")]
    Unreachable(String),
}

/// How a trail is shipped.
#[derive(Debug, Clone)]
pub struct ShipOptions {
    /// How long records that nobody waits for are gathered.
    pub linger: Duration,
    /// Pause after a failure; doubled by each that follows, up to 32 times.
    pub pause: Duration,
    /// After how much silence a heartbeat is recorded, so that the collector
    /// knows that nothing is missing.
    pub heartbeat: Duration,
}

impl Default for ShipOptions {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(500),
            pause: Duration::from_millis(200),
            heartbeat: Duration::from_secs(30),
        }
    }
}

/// How shipping is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShipStatus {
    /// Newest record that the collector has, and its epoch.
    pub acknowledged: Option<(Uuid, u64)>,
    /// Why nothing is shipped at the moment.
    pub failing: Option<String>,
    /// Batches that were acknowledged.
    pub batches: u64,
}

/// Ships a trail.
#[derive(Debug)]
pub struct Shipper;

impl Shipper {
    /// Starts to ship, in a task of its own. The trail must have been opened
    /// with [`TrailOptions::collector_wait`](crate::TrailOptions).
    pub fn start(trail: &Trail, options: ShipOptions, transport: impl Transport) -> Shipping {
        let (drain, drained) = oneshot::channel();
        let (status, watched) = watch::channel(ShipStatus::default());
        let shared = trail.shared();
        let outbox = Outbox::new(&shared.folder, (shared.ordinal, shared.epoch));
        let work =
            Work { trail: trail.clone(), options, outbox: Some(outbox), status, failures: 0, drain: Some(drained) };
        let task = tokio::spawn(work.run(transport));
        Shipping { drain, status: watched, task }
    }
}

/// A trail that is being shipped. Dropped, it goes on for as long as the
/// trail is open.
#[derive(Debug)]
pub struct Shipping {
    drain: oneshot::Sender<()>,
    status: watch::Receiver<ShipStatus>,
    task: JoinHandle<bool>,
}

impl Shipping {
    /// How it is doing.
    pub fn status(&self) -> watch::Receiver<ShipStatus> {
        self.status.clone()
    }

    /// Ships what is left of a trail that has [ended](Trail::end). `false`: not
    /// all of it within `wait`; the next start goes on.
    pub async fn drain(self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let _ = self.drain.send(());
        let mut task = self.task;
        match timeout_at(until, &mut task).await {
            Ok(done) => done.unwrap_or(false),
            Err(_) => {
                task.abort();
                false
            }
        }
    }
}

struct Work {
    trail: Trail,
    options: ShipOptions,
    /// Away while it reads, in a thread that may block.
    outbox: Option<Outbox>,
    status: watch::Sender<ShipStatus>,
    failures: u32,
    /// `None`: draining was asked for, or can never be any more.
    drain: Option<oneshot::Receiver<()>>,
}

impl Work {
    /// `true`: the trail has ended and the collector has all of it.
    async fn run(mut self, mut transport: impl Transport) -> bool {
        loop {
            // What is written from here on wakes the wait below.
            let signed = self.trail.sign().await;
            match self.next().await {
                Ok(Some(batch)) => {
                    let sent = transport.send(&batch).await;
                    self.sent(&batch, sent).await;
                }
                Ok(None) if self.finished().await => return true,
                Ok(None) => {
                    if self.outbox.as_ref().is_some_and(Outbox::is_reading_another) {
                        continue;
                    }
                    // A trail that ended within an error is never done.
                    if self.drain.is_none() && signed.is_none() {
                        return false;
                    }
                    self.wait().await;
                }
                Err(error) => self.failed(error.to_string()),
            }
            if self.failures > 0 {
                let pause = self.options.pause * (1 << (self.failures - 1).min(5));
                sleep(pause).await;
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Batch>, ShipError> {
        let Some(mut outbox) = self.outbox.take() else { return Ok(None) };
        let (outbox, next) = tokio::task::spawn_blocking(move || {
            let next = outbox.next_batch();
            (outbox, next)
        })
        .await
        .map_or((None, Ok(None)), |(outbox, next)| (Some(outbox), next));
        self.outbox = outbox;
        next
    }

    async fn sent(&mut self, batch: &Batch, sent: Result<u64, SendError>) {
        let Some(outbox) = &mut self.outbox else { return };
        match sent {
            Ok(sequence) => {
                let Some(handed) = outbox.acknowledged(sequence) else {
                    let less = format!("it took records up to {}, and says that it has {sequence}", batch.last);
                    return self.failed(SendError::Unreachable(less).to_string());
                };
                let sequence = handed.acknowledged;
                self.failures = 0;
                self.handed(handed).await;
                self.status.send_modify(|status| {
                    status.acknowledged = Some((batch.epoch, sequence));
                    status.failing = None;
                    status.batches += 1;
                });
            }
            Err(SendError::Gap { expected }) => match outbox.seek(expected) {
                Ok(()) if self.failures == 0 => self.failures = 1,
                Ok(()) => self.failed(SendError::Gap { expected }.to_string()),
                Err(error) => self.failed(error.to_string()),
            },
            Err(error) => self.failed(error.to_string()),
        }
    }

    async fn handed(&self, handed: Handed) {
        let shared = self.trail.shared();
        if handed.epoch == shared.epoch {
            shared.acknowledged.send_if_modified(|newest| {
                let newer = handed.acknowledged > *newest;
                *newest = handed.acknowledged.max(*newest);
                newer
            });
        }
        self.trail.hand_over(handed).await;
    }

    /// Whether nothing will ever follow. Goes on to the next epoch where one is
    /// done.
    async fn finished(&mut self) -> bool {
        let Some(outbox) = &mut self.outbox else { return true };
        if let Some(handed) = outbox.finished() {
            self.handed(handed).await;
        }
        self.outbox.as_ref().is_none_or(Outbox::is_done)
    }

    fn failed(&mut self, why: String) {
        self.failures = self.failures.saturating_add(1);
        self.status.send_modify(|status| status.failing = Some(why));
    }

    /// Until there is something to ship, or the trail is to be drained.
    async fn wait(&mut self) {
        let shared = self.trail.shared().clone();
        tokio::select! {
            () = asked(&mut self.drain) => {
                self.drain = None;
                return;
            }
            () = shared.urgent.notified() => return,
            () = shared.written.notified() => {}
            () = sleep(self.options.heartbeat) => {
                let _ = self.trail.append(Record::new(Kind::Heartbeat), Durability::Process).await;
                return;
            }
        }
        tokio::select! {
            () = asked(&mut self.drain) => self.drain = None,
            () = shared.urgent.notified() => {}
            () = sleep(self.options.linger) => {}
        }
    }
}

/// Until draining is asked for, or can never be any more.
async fn asked(drain: &mut Option<oneshot::Receiver<()>>) {
    match drain {
        Some(drain) => drop(drain.await),
        None => std::future::pending().await,
    }
}
