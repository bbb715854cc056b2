//! Says which sidecars vanished: no `end`, and nothing heard for too long.

use std::sync::Arc;
use std::time::Duration;

use sluice_link::server::Shutdown;
use tracing::error;

use crate::store::{Changed, Meta, Store};

/// After how much silence: three heartbeats of a sidecar.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Looks until `shutdown`. `own`: UID of the collector's pod.
pub async fn watch(store: Arc<Store>, own: String, shutdown: Shutdown) {
    loop {
        alarm(&store.judge_silence(&own));
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// One line a trail, for whoever watches the logs.
fn alarm(changed: &[Changed]) {
    for Changed { trail, .. } in changed {
        let Meta { uid, namespace, pod, .. } = &trail.meta;
        error!(
            namespace,
            pod,
            uid,
            "ALARM: a sidecar fell silent without an end; fix: see whether the pod was killed, or its gateway kept from us"
        );
    }
}
