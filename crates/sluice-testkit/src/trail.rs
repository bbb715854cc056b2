use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{binaries, run};

/// A trail folder, looked at as people do: with `sluice audit`.
#[derive(Debug, Clone)]
pub struct Trail {
    folder: PathBuf,
    key: Option<PathBuf>,
}

/// What `sluice audit verify` said.
#[derive(Debug, Clone)]
pub struct Verified {
    /// 0 whole, 1 invalid, 2 unreadable, 3 diverged, 4 incomplete, 5 unsealed.
    pub code: i32,
    /// Everything it wrote.
    pub text: String,
}

impl Trail {
    /// The trail in `folder`; `key` holds the public keys that are believed,
    /// and without it those in the folder are.
    pub fn new(folder: PathBuf, key: Option<PathBuf>) -> Self {
        Self { folder, key }
    }

    /// The same, believing the keys in the folder.
    #[must_use]
    pub fn with_its_own_keys(&self) -> Self {
        Self::new(self.folder.clone(), None)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Verifies it.
    ///
    /// # Errors
    /// When the command does not run to its end.
    pub fn verify(&self) -> Result<Verified> {
        let mut command = Command::new(binaries::sluice()?);
        command.args(["audit", "verify"]);
        if let Some(key) = &self.key {
            command.arg("--key").arg(key);
        }
        let finished = run(command.arg(&self.folder))?;
        let code = finished.status.code().with_context(|| format!("verify ended with {}", finished.status))?;
        Ok(Verified { code, text: finished.stdout + &finished.stderr })
    }

    /// Every record that can be read, oldest first; after a kill the last one
    /// may be torn.
    ///
    /// # Errors
    /// When the trail cannot be read.
    pub fn records(&self) -> Result<Vec<Value>> {
        let mut command = Command::new(binaries::sluice()?);
        let finished = run(command.args(["audit", "search", "-o", "json"]).arg(&self.folder))?;
        finished
            .stdout
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).with_context(|| format!("record {line}")))
            .collect()
    }
}
