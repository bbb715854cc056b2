//! Makes the files that are generated from code, or checks that they are
//! fresh.
//!
//! ```text
//! cargo run -p xtask -- generate           # writes them
//! cargo run -p xtask -- generate --check   # exit code 1, and which file, where one is stale
//! ```

mod reference;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

/// Makes generated files.
#[derive(Parser)]
enum Arguments {
    /// Write the generated files.
    Generate {
        /// Write nothing; fail where a file differs from what would be written.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<ExitCode> {
    let Arguments::Generate { check } = Arguments::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut stale = Vec::new();
    for (path, content) in generated()? {
        let file = root.join(&path);
        if fs::read_to_string(&file).is_ok_and(|old| old == content) {
            continue;
        }
        if check {
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
        eprintln!("{} is stale: run `make generate` and commit it", path.display());
    }
    Ok(if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every generated file: path from the top of the project, and content.
fn generated() -> Result<Vec<(PathBuf, String)>> {
    let policy = sluice_policy::spec::policy_schema();
    let provider = sluice_policy::spec::provider_schema();
    let pretty = |schema: &serde_json::Value| -> Result<String> { Ok(serde_json::to_string_pretty(schema)? + "\n") };
    let cluster = sluice_policy::spec::cluster_policy_schema();
    let kinds = [("GatewayPolicy", &policy), ("ClusterGatewayPolicy", &cluster), ("IdentityProvider", &provider)];
    let mut files: Vec<(PathBuf, String)> = vec![
        ("docs/policy-reference.md".into(), reference::page(&kinds)),
        ("docs/schema/gatewaypolicy.json".into(), pretty(&policy)?),
        ("docs/schema/clustergatewaypolicy.json".into(), pretty(&cluster)?),
        ("docs/schema/identityprovider.json".into(), pretty(&provider)?),
    ];
    files.extend(sluice_k8s::generate::files()?.into_iter().map(|(path, content)| (path.into(), content)));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_fresh() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (path, content) in generated().expect("the files") {
            let old = fs::read_to_string(root.join(&path)).unwrap_or_default();
            assert!(old == content, "{} is stale: run `make generate` and commit it", path.display());
        }
    }

    #[test]
    fn every_field_is_described() {
        for (path, content) in generated().expect("the files") {
            assert!(!content.contains("(not described)"), "{} has a field without a description", path.display());
        }
    }
}
