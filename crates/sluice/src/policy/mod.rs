//! `sluice policy`: tries policy out, offline.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sluice_core::Workload;
use sluice_policy::{Compiled, Documents};

/// Reads and compiles policy files and folders for `workload`.
///
/// # Errors
/// Every problem, one a line.
pub(crate) fn read(paths: &[PathBuf], workload: &Workload) -> anyhow::Result<Compiled> {
    let mut sources = Vec::new();
    for path in paths {
        for file in files(path).with_context(|| format!("--policy {}", path.display()))? {
            let text = fs::read_to_string(&file).with_context(|| format!("--policy {}", file.display()))?;
            sources.push((file.display().to_string(), text));
        }
    }
    let problems = |problems: Vec<sluice_policy::Problem>| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("policy does not compile:\n  {}", lines.join("\n  "))
    };
    let documents = Documents::parse(&sources).map_err(problems)?;
    if documents.is_empty() {
        bail!(
            "--policy: no policy in {}",
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    sluice_policy::compile(&documents, workload).map_err(problems)
}

/// The file itself, or the policy files of a folder by name.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.metadata()?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let known = file.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|it| extension == *it));
        if known && !hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
