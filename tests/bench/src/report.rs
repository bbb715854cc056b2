//! The figures, for programs and for people.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::proxy::Kind;
use crate::world::World;

/// By how much a ratio may miss what it must reach before the run fails.
const TOLERANCE: f64 = 1.2;

/// All rows of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: String,
    versions: BTreeMap<String, String>,
    rows: Vec<Row>,
}

/// One measurement of all that took part.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// Of every figure.
    pub(crate) unit: &'static str,
    /// Every run's figure, by who was measured.
    pub(crate) figures: BTreeMap<String, Vec<f64>>,
    /// What the gateway must reach.
    pub(crate) bar: Bar,
    /// Measures this row again.
    pub(crate) command: String,
}

/// What is asked of a row.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Bar {
    /// At most so many times Envoy's median; judged.
    TimesEnvoy(f64),
    /// At most this much, a goal that is shown and not judged.
    Goal(f64),
    /// Shown only.
    None,
}

impl Report {
    /// An empty one that says what took part.
    pub(crate) fn new(world: &World) -> Self {
        let version = |kind: Kind| {
            let flag = if kind == Kind::Haproxy { "-v" } else { "--version" };
            let output = std::process::Command::new(world.program(kind)).arg(flag).output();
            let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown").to_owned()
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            machine: format!("{cores} cores, {}", processor()),
            versions: Kind::ALL.map(|kind| (kind.to_string(), version(kind))).into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Writes it as JSON.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let rows: Vec<_> = self.rows.iter().map(|row| (row, row.ratio(), row.reached())).collect();
        let rows: Vec<serde_json::Value> = rows
            .into_iter()
            .map(|(row, ratio, reached)| {
                let mut value = serde_json::to_value(row)?;
                value["medians"] = serde_json::to_value(row.medians())?;
                value["timesEnvoy"] = ratio.into();
                value["reached"] = reached.into();
                Ok(value)
            })
            .collect::<Result<_>>()?;
        let whole = serde_json::json!({"machine": self.machine, "versions": self.versions, "rows": rows});
        fs::write(path, serde_json::to_string_pretty(&whole)? + "\n")
            .with_context(|| format!("write {}", path.display()))
    }

    /// Whether no judged row misses by more than the tolerance.
    pub(crate) fn reached(&self) -> bool {
        self.rows.iter().all(Row::reached)
    }
}

impl Row {
    fn medians(&self) -> BTreeMap<&str, f64> {
        self.figures.iter().map(|(who, figures)| (who.as_str(), median(figures))).collect()
    }

    fn ratio(&self) -> Option<f64> {
        let medians = self.medians();
        let envoy = medians.get("envoy").copied().filter(|envoy| *envoy > 0.0)?;
        Some(medians.get("sluice")? / envoy)
    }

    fn reached(&self) -> bool {
        match self.bar {
            Bar::TimesEnvoy(times) => self.ratio().is_some_and(|ratio| ratio <= times * TOLERANCE),
            Bar::Goal(_) | Bar::None => true,
        }
    }

    fn verdict(&self) -> String {
        match self.bar {
            Bar::TimesEnvoy(times) => match self.ratio() {
                Some(ratio) if ratio <= times => format!("<= {times} x envoy: reached"),
                Some(ratio) if ratio <= times * TOLERANCE => format!("<= {times} x envoy: missed, by less than 20 %"),
                _ => format!("<= {times} x envoy: MISSED"),
            },
            Bar::Goal(goal) => {
                let met = self.medians().get("sluice").is_some_and(|figure| *figure <= goal);
                format!("goal {goal} {}: {}", self.unit, if met { "met" } else { "not met" })
            }
            Bar::None => String::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        for (who, version) in &self.versions {
            writeln!(f, "{who:>8}: {version}")?;
        }
        writeln!(
            f,
            "\n{:<46} {:>6} {:>9} {:>9} {:>9} {:>8}  bar",
            "medians", "unit", "sluice", "envoy", "haproxy", "x envoy"
        )?;
        for row in &self.rows {
            let medians = row.medians();
            let cell = |who: &str| medians.get(who).map_or_else(|| "-".to_owned(), |figure| format!("{figure:.3}"));
            let ratio = row.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            writeln!(
                f,
                "{:<46} {:>6} {:>9} {:>9} {:>9} {:>8}  {}",
                row.what,
                row.unit,
                cell("sluice"),
                cell("envoy"),
                cell("haproxy"),
                ratio,
                row.verdict()
            )?;
        }
        writeln!(f, "\nagain:")?;
        let mut commands: Vec<&str> = self.rows.iter().map(|row| row.command.as_str()).collect();
        commands.dedup();
        commands.iter().try_for_each(|command| writeln!(f, "  {command}"))
    }
}

/// The middle figure, or the mean of the two in the middle; 0 of none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure at that place of the order, between two neighbours in
/// proportion; 0 of none.
pub(crate) fn quantile(figures: &[f64], place: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = place * last as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * at.fract()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(quantile(&[0.0, 10.0], 0.99), 9.9);
    }

    #[test]
    fn a_ratio_is_judged_with_a_fifth_of_room() {
        let row = |sluice: f64| Row {
            what: "row".to_owned(),
            unit: "s",
            figures: [("sluice".to_owned(), vec![sluice]), ("envoy".to_owned(), vec![1.0])].into(),
            bar: Bar::TimesEnvoy(1.25),
            command: String::new(),
        };
        assert!(row(1.25).reached() && row(1.49).reached());
        assert!(!row(1.51).reached());
        assert!(row(1.51).verdict().ends_with("MISSED"));
    }
}
