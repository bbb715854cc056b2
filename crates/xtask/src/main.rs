//! Makes the files that are generated from code, or checks that they are
//! fresh.
//!
//! ```text
//! cargo run -p xtask                 # writes docs/policy-reference.md and docs/schema/*.json
//! cargo run -p xtask -- --check      # exit code 1, and which file, where one is stale
//! ```

mod reference;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

/// Makes generated files.
#[derive(Parser)]
struct Arguments {
    /// Write nothing; fail where a file differs from what would be written.
    #[arg(long)]
    check: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut stale = Vec::new();
    for (path, content) in generated()? {
        let file = root.join(&path);
        if fs::read_to_string(&file).is_ok_and(|old| old == content) {
            continue;
        }
        if arguments.check {
            stale.push(path);
            continue;
        }
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        }
        fs::write(&file, content).with_context(|| format!("{}: cannot be written", path.display()))?;
        println!("wrote {}", path.display());
    }
    for path in &stale {
        eprintln!("{} is stale: run `cargo run -p xtask` and commit it", path.display());
    }
    Ok(if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every generated file: path from the top of the project, and content.
fn generated() -> Result<Vec<(PathBuf, String)>> {
    let policy = sluice_policy::spec::policy_schema();
    let provider = sluice_policy::spec::provider_schema();
    let pretty = |schema: &serde_json::Value| -> Result<String> { Ok(serde_json::to_string_pretty(schema)? + "\n") };
    Ok(vec![
        (
            "docs/policy-reference.md".into(),
            reference::page(&[("GatewayPolicy", &policy), ("IdentityProvider", &provider)]),
        ),
        ("docs/schema/gatewaypolicy.json".into(), pretty(&policy)?),
        ("docs/schema/identityprovider.json".into(), pretty(&provider)?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_fresh() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (path, content) in generated().expect("the files") {
            let old = fs::read_to_string(root.join(&path)).unwrap_or_default();
            assert!(old == content, "{} is stale: run `cargo run -p xtask` and commit it", path.display());
        }
    }

    #[test]
    fn every_field_is_described() {
        for (path, content) in generated().expect("the files") {
            assert!(!content.contains("(not described)"), "{} has a field without a description", path.display());
        }
    }
}
