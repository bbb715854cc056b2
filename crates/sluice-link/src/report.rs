use http::Method;
use sluice_wire::{REPORT_PATH, Report};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::link::{body, refusal};
use crate::{Backoff, Link, LinkError};

/// Says to the control plane what became of a policy. Only the newest report
/// counts: it is sent until it arrives or a newer one takes its place.
#[derive(Debug)]
pub struct Reporter {
    newest: watch::Sender<Option<Report>>,
    task: JoinHandle<()>,
}

impl Reporter {
    /// Starts, in a task of its own.
    pub fn start(link: Link, backoff: Backoff) -> Self {
        let (newest, reports) = watch::channel(None);
        Self { newest, task: tokio::spawn(run(link, backoff, reports)) }
    }

    /// Sends a report.
    pub fn report(&self, report: Report) {
        self.newest.send_replace(Some(report.within_bounds()));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(link: Link, mut backoff: Backoff, mut reports: watch::Receiver<Option<Report>>) {
    loop {
        let report = reports.borrow_and_update().clone();
        let sent = match &report {
            Some(report) => {
                link.enrolled().await;
                send(&link, report).await
            }
            None => Ok(()),
        };
        let changed = match sent {
            Ok(()) => {
                backoff.reset();
                reports.changed().await
            }
            Err(error) => {
                tracing::debug!(%error, "not reported yet");
                match tokio::time::timeout(backoff.pause(), reports.changed()).await {
                    Ok(changed) => changed,
                    Err(_) => Ok(()),
                }
            }
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn send(link: &Link, report: &Report) -> Result<(), LinkError> {
    let url = link.endpoint().url(REPORT_PATH);
    let text = serde_json::to_vec(report).map_err(|error| LinkError::new(&url, error.to_string(), "report it"))?;
    let response = link.send(Method::POST, REPORT_PATH, text.into()).await?;
    let (status, body) = body(&url, response).await?;
    if status.is_success() { Ok(()) } else { Err(refusal(&url, status, &body)) }
}
