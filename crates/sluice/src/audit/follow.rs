//! `sluice audit tail --collector`

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sluice_audit::RecordId;
use sluice_wire::RecordFilter;

use super::Output;
use super::filter::FilterArgs;
use super::remote::{Record, runtime, wanted};
use crate::collector::{Collector, CollectorArgs};

/// What is printed.
pub(super) struct Wanted<'a> {
    pub(super) filter: &'a FilterArgs,
    /// How many of the newest to begin with.
    pub(super) lines: usize,
    pub(super) follow: bool,
}

/// Prints the newest records of a collector, and follows.
pub(super) fn tail(url: &str, asked: &CollectorArgs, tail: &Wanted<'_>, output: Output) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let mut collector = asked.connect(url).await?;
        let base = wanted(asked, tail.filter, &mut collector).await?;
        let mut printer = Printer { output, seen: Seen::default(), broken: false };
        let limit = Some(tail.lines as u64);
        let mut next = RecordFilter { limit, follow: tail.follow, ..base.clone() };
        loop {
            let ended = printer.all(&mut collector, &next).await;
            if !tail.follow {
                let damaged = ended?;
                return Ok(if damaged { ExitCode::from(2) } else { ExitCode::SUCCESS });
            }
            match ended {
                Err(error) if printer.broken => return Err(error),
                Err(error) => eprintln!("sluice audit: {error:#}; asking again"),
                Ok(_) => eprintln!("sluice audit: the collector ended the answer; asking again"),
            }
            next = again(&base);
            collector = reconnected(url, asked).await;
        }
    })
}

/// A new connection with a new token, however long it takes.
async fn reconnected(url: &str, asked: &CollectorArgs) -> Collector {
    let mut pause = Duration::from_secs(1);
    loop {
        tokio::time::sleep(pause).await;
        match asked.connect(url).await {
            Ok(collector) => return collector,
            Err(error) => eprintln!("sluice audit: {error:#}; asking again"),
        }
        pause = (pause * 2).min(LONGEST);
    }
}

/// What is asked for after an answer ended: from a little before now on, since
/// sidecars hand in late; what was printed is left out here.
fn again(base: &RecordFilter) -> RecordFilter {
    let before = Timestamp::now().checked_sub(OVERLAP).unwrap_or(Timestamp::MIN);
    RecordFilter { since: base.since.max(Some(before)), follow: true, ..base.clone() }
}

struct Printer {
    output: Output,
    seen: Seen,
    /// Nobody reads on.
    broken: bool,
}

impl Printer {
    /// Prints whatever comes; whether some of it could not be read.
    async fn all(&mut self, collector: &mut Collector, filter: &RecordFilter) -> anyhow::Result<bool> {
        let mut lines = collector.records(filter).await?;
        let mut damaged = false;
        while let Some(line) = lines.next().await? {
            let record = Record::parse(&line)?;
            match record.problem() {
                Some(problem) => {
                    damaged = true;
                    eprintln!("sluice audit: {problem}");
                }
                None => self.print(&record)?,
            }
        }
        Ok(damaged)
    }

    fn print(&mut self, record: &Record) -> anyhow::Result<()> {
        if record.leaf.as_ref().is_none_or(|leaf| self.seen.is_new(leaf.id)) {
            let mut out = io::stdout().lock();
            let written = record.print(&mut out, self.output).and_then(|()| out.flush());
            self.broken = written.is_err();
            written?;
        }
        Ok(())
    }
}

/// The newest records that were printed.
#[derive(Default)]
struct Seen {
    order: VecDeque<RecordId>,
    all: HashSet<RecordId>,
}

impl Seen {
    fn is_new(&mut self, id: RecordId) -> bool {
        if !self.all.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        true
    }
}

/// Records that are remembered as printed.
const REMEMBERED: usize = 100_000;
/// How far back a new connection asks.
const OVERLAP: SignedDuration = SignedDuration::from_secs(300);
/// Longest pause between two attempts to connect.
const LONGEST: Duration = Duration::from_secs(30);
