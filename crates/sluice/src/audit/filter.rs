//! Which records are wanted.

use clap::Args;
use jiff::{Span, Timestamp, Zoned};
use sluice_audit::Kind;
use sluice_audit::read::{Filter, Search};
use sluice_wire::RecordFilter;

/// All that is set must hold. What belongs to a command that matches (its
/// outcome, its progress) matches too.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct FilterArgs {
    /// Subject: its id, PROVIDER:ID, or its name at the API server
    #[arg(long, value_name = "WHO")]
    subject: Option<String>,
    /// Target: its name or host
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// What was decided: allow or deny
    #[arg(long, value_parser = verdict)]
    verdict: Option<String>,
    /// Rule: its name, or NAMESPACE/POLICY/RULE
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Kinds of record, such as intent,outcome,refused,config
    #[arg(long = "kind", value_name = "KIND,…", value_delimiter = ',', value_parser = kind)]
    kinds: Vec<Kind>,
    /// Not before this time: RFC 3339, or how long ago (2h, 30m, 1d)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Before this time, written likewise
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Text anywhere in the record, in any case
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
}

impl FilterArgs {
    pub(super) fn search(&self) -> Search {
        Search::new(Filter {
            id: None,
            kinds: self.kinds.clone(),
            subject: self.subject.clone(),
            target: self.target.clone(),
            verdict: self.verdict.clone(),
            rule: self.rule.clone(),
            since: self.since,
            until: self.until,
            text: self.text.clone(),
        })
    }

    /// The same for a collector.
    pub(super) fn asked(&self) -> RecordFilter {
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.label()).collect();
        RecordFilter {
            subject: self.subject.clone(),
            target: self.target.clone(),
            verdict: self.verdict.clone(),
            rule: self.rule.clone(),
            kind: (!kinds.is_empty()).then(|| kinds.join(",")),
            since: self.since,
            until: self.until,
            text: self.text.clone(),
            ..RecordFilter::default()
        }
    }
}

fn verdict(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "allow" | "deny" => Ok(lower),
        _ => Err(format!("`{text}` is no verdict; write allow or deny")),
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    serde_json::from_value(text.into()).map_err(|_| {
        format!(
            "`{text}` is no kind; write one of enrol, config, policy, read, open, intent, outcome, progress, refused, close, heartbeat, gap, recovered, end"
        )
    })
}

/// A point in time, or how long ago it was.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    text.parse::<Span>()
        .ok()
        .and_then(|ago| Zoned::now().checked_sub(ago.abs()).ok())
        .map(|at| at.timestamp())
        .ok_or_else(|| format!("`{text}` is no time; write 2026-12-01T08:00:00Z, or how long ago: 2h, 30m, 1d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        assert_eq!(time("2026-12-01T08:00:00Z").unwrap().as_second(), 1_796_112_000);
        let hour = Timestamp::now().as_second() - time("1h").unwrap().as_second();
        assert!((3_590..=3_700).contains(&hour), "{hour}");
        assert!(time("yesterday").unwrap_err().contains("how long ago"));
    }

    #[test]
    fn kinds_and_verdicts_name_what_there_is() {
        assert_eq!(kind("refused"), Ok(Kind::Refused));
        assert!(kind("denied").unwrap_err().contains("refused"));
        assert_eq!(verdict("Deny").unwrap(), "deny");
        assert!(verdict("no").unwrap_err().contains("allow or deny"));
    }
}
