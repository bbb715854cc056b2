//! Records that a collector sends.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;
use sluice_audit::Leaf;
use sluice_wire::RecordFilter;

use super::filter::FilterArgs;
use super::{Output, line};
use crate::collector::{Collector, CollectorArgs};

/// One record, and whose it is.
pub(super) struct Record {
    whole: Value,
    whose: String,
    /// `None`: of a newer version, printed as it is.
    pub(super) leaf: Option<Leaf>,
}

impl Record {
    /// Reads a line of the collector's.
    pub(super) fn parse(line: &[u8]) -> anyhow::Result<Self> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct About {
            pod_uid: String,
            namespace: String,
            pod: String,
            record: Value,
        }
        let whole: Value = serde_json::from_slice(line).context("the collector sent a line that is no JSON")?;
        ensure!(whole.is_object(), "the collector sent a line that is no record");
        let about = About::deserialize(&whole).context("the collector sent a line that is no record")?;
        let name = if about.pod.is_empty() { about.pod_uid } else { about.pod };
        let leaf = serde_json::from_value(about.record).ok();
        Ok(Self { whole, whose: format!("{}/{name}", about.namespace), leaf })
    }

    /// Writes it as a line.
    pub(super) fn print(&self, out: &mut impl Write, output: Output) -> io::Result<()> {
        match (output, &self.leaf) {
            (Output::Text, Some(leaf)) => writeln!(out, "{} {}", line::printable(&self.whose), line::of(leaf)),
            _ => writeln!(out, "{}", self.whole),
        }
    }

    /// Why the rest of an epoch cannot be read, if that is what it says.
    pub(super) fn problem(&self) -> Option<String> {
        let why = self.whole.get("problem")?.as_str()?;
        Some(line::printable(&format!("{}: {why}", self.whose)))
    }
}

/// `sluice audit search --collector`
pub(super) fn search(
    url: &str,
    asked: &CollectorArgs,
    filter: &FilterArgs,
    output: Output,
) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let mut collector = asked.connect(url).await?;
        let wanted = wanted(asked, filter, &mut collector).await?;
        let mut lines = collector.records(&wanted).await?;
        let mut out = BufWriter::new(io::stdout().lock());
        let (mut found, mut damaged) = (false, false);
        let ended = loop {
            match lines.next().await {
                Ok(Some(line)) => {
                    let record = Record::parse(&line)?;
                    match record.problem() {
                        Some(problem) => {
                            damaged = true;
                            eprintln!("sluice audit: {problem}");
                        }
                        None => {
                            found = true;
                            record.print(&mut out, output)?;
                        }
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        out.flush()?;
        ended?;
        Ok(match (damaged, found) {
            (true, _) => ExitCode::from(2),
            (false, true) => ExitCode::SUCCESS,
            (false, false) => ExitCode::from(1),
        })
    })
}

/// What the collector is asked for.
pub(super) async fn wanted(
    asked: &CollectorArgs,
    filter: &FilterArgs,
    collector: &mut Collector,
) -> anyhow::Result<RecordFilter> {
    let pod_uid = asked.uid(collector).await?;
    Ok(RecordFilter { pod_uid, namespace: asked.namespace.clone(), ..filter.asked() })
}

/// One thread is enough: people read slower than it.
pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_version_is_shown_as_it_is() {
        let record = Record::parse(br#"{"namespace":"dev","pod":"web","record":{"kind":"novel\u001b"}}"#);
        let mut out = Vec::new();
        record.expect("read").print(&mut out, Output::Text).expect("written");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("novel\\u001b") && !text.contains('\u{1b}'), "{text}");
        assert!(Record::parse(b"not json").is_err() && Record::parse(b"[]").is_err());
    }
}
