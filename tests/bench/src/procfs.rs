//! What the kernel counts of a process.

use std::fs;

use anyhow::{Context, Result};

/// Ticks of `/proc/PID/stat` in a second, the same on every Linux of today.
const TICKS: f64 = 100.0;

/// CPU seconds so far, user and system, of all its threads.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The second field is the name in parentheses; utime and stime are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(") ").with_context(|| format!("{path}: {stat}"))?;
    let ticks = |at: usize| -> Result<f64> {
        let word = rest.split(' ').nth(at).with_context(|| format!("{path}: {stat}"))?;
        word.parse().with_context(|| format!("{path}: {word:?} is no number"))
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// Resident memory in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).with_context(|| format!("{path}: no VmRSS"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{path}: VmRSS {line:?}"))?;
    Ok(kib / 1024.0)
}
