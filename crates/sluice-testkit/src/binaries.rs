//! The programs under test, built once for a run of the tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// The gateway as people get it (`SLUICE_GATEWAY` names another one).
///
/// # Errors
/// When it does not build.
pub fn gateway() -> Result<&'static Path> {
    static PATH: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&PATH, || find("SLUICE_GATEWAY", "sluice-gateway", &[], "sluice-gateway"))
}

/// The gateway with its named failpoints (`SLUICE_GATEWAY_FAILPOINTS`).
///
/// # Errors
/// When it does not build.
pub fn gateway_with_failpoints() -> Result<&'static Path> {
    static PATH: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&PATH, || {
        find("SLUICE_GATEWAY_FAILPOINTS", "sluice-gateway", &["--features", "failpoints"], "sluice-gateway-failpoints")
    })
}

/// The command line that people call (`SLUICE`).
///
/// # Errors
/// When it does not build.
pub fn sluice() -> Result<&'static Path> {
    static PATH: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&PATH, || find("SLUICE", "sluice", &[], "sluice"))
}

/// Copies a program that is about to be run. Another process does it: were the
/// new file open for writing here, a child that another thread starts at that
/// moment would hold it open, and the kernel would not run it ("text file
/// busy").
///
/// # Errors
/// When it cannot be copied.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("cp").arg("--").args([from, to]).output().context("run cp")?;
    if !output.status.success() {
        bail!("copy {}: {}", from.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn once(
    cell: &'static OnceLock<Result<PathBuf, String>>,
    find: impl FnOnce() -> Result<PathBuf>,
) -> Result<&'static Path> {
    match cell.get_or_init(|| find().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(error) => bail!("{error}"),
    }
}

/// Takes the program that `variable` names, or builds it. Features change what
/// `target/debug/NAME` is, so each variant is kept under a name of its own,
/// and a lock keeps two runs from mixing them up.
fn find(variable: &str, package: &str, features: &[&str], name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            bail!("{variable} names {}, which is not a file", path.display())
        };
    }
    let debug = target_folder()?;
    let kept = debug.join("e2e");
    fs::create_dir_all(&kept)?;
    let lock = File::create(kept.join("lock"))?;
    lock.lock().context("lock the programs under test")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--package", package, "--bin", package])
        .args(features)
        .current_dir(workspace)
        .output()
        .context("run cargo build")?;
    if !output.status.success() {
        bail!("{package} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let built = debug.join(package);
    let path = kept.join(name);
    let fresh = kept.join(format!("{name}.new"));
    copy(&built, &fresh)?;
    fs::rename(&fresh, &path)?;
    Ok(path)
}

/// The profile's folder that this test itself was built into.
fn target_folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).context("a test lives in target/PROFILE/deps")?;
    Ok(folder.to_owned())
}
