use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sluice_k8s::inject::InjectionSettings;
use sluice_link::server::Shutdown;
use tokio::sync::watch;
use tracing::{info, warn};

const PACE: Duration = Duration::from_secs(5);

/// Reads the file of settings: JSON.
///
/// # Errors
/// With the path, and what is wrong.
pub fn read_settings(path: &Path) -> anyhow::Result<InjectionSettings> {
    let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no injection settings", path.display()))
}

/// Reads the file again and again; what cannot be read leaves what was there.
/// A ConfigMap's files change by a link, which only looking finds.
pub async fn follow_settings(path: PathBuf, sender: watch::Sender<Arc<InjectionSettings>>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(PACE) => {}
        }
        match read_settings(&path) {
            Ok(new) => {
                sender.send_if_modified(|present| {
                    let differs = **present != new;
                    if differs {
                        info!(image = new.image, "new injection settings");
                        *present = Arc::new(new);
                    }
                    differs
                });
            }
            Err(cause) => warn!(cause = %format!("{cause:#}"), "the settings before stay"),
        }
    }
}
