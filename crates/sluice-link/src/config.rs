//! The config stream: policy as it changes, and proof that the control plane
//! is there.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use sluice_wire::{CONFIG_PATH, Config, ConfigLine, HEARTBEAT_SECONDS, MAX_LINE_BYTES};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::lines::Lines;
use crate::link::{body, chain, refusal};
use crate::{Backoff, Link, LinkError};

/// What came of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigEvent {
    /// A policy. It may be the one before again, after a reconnect.
    Config(Box<Config>),
    /// The stream lives, and nothing changed.
    Heartbeat,
    /// The stream is gone; it is opened again after a pause.
    Away(LinkError),
}

/// How the stream is read.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// A stream that is silent for so long is dead.
    pub silence: Duration,
    /// Pauses before it is opened again.
    pub backoff: Backoff,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(3 * HEARTBEAT_SECONDS),
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(5)),
        }
    }
}

/// Reads the config stream for as long as it is held.
#[derive(Debug)]
pub struct ConfigStream {
    events: mpsc::Receiver<ConfigEvent>,
    task: JoinHandle<()>,
}

impl ConfigStream {
    /// Starts to read, in a task of its own.
    pub fn start(link: Link, options: StreamOptions) -> Self {
        let (sender, events) = mpsc::channel(1);
        Self { events, task: tokio::spawn(run(link, options, sender)) }
    }

    /// What comes next. `None` never comes while the stream is held.
    pub async fn next(&mut self) -> Option<ConfigEvent> {
        self.events.recv().await
    }
}

impl Drop for ConfigStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(link: Link, mut options: StreamOptions, events: mpsc::Sender<ConfigEvent>) {
    loop {
        link.enrolled().await;
        let Err(error) = read(&link, &mut options, &events).await else { return };
        tracing::debug!(%error, "the config stream is away");
        if events.send(ConfigEvent::Away(error)).await.is_err() {
            return;
        }
        tokio::time::sleep(options.backoff.pause()).await;
    }
}

/// One stream, to its end, which is always an error; `Ok`: nobody listens.
async fn read(link: &Link, options: &mut StreamOptions, events: &mpsc::Sender<ConfigEvent>) -> Result<(), LinkError> {
    let url = link.endpoint().url(CONFIG_PATH);
    let ended = |what: String| LinkError::new(&url, what, "look at the control plane's log; it is opened again");
    let response = link.send(Method::GET, CONFIG_PATH, Bytes::new()).await?;
    if !response.status().is_success() {
        let (status, body) = body(&url, response).await?;
        return Err(refusal(&url, status, &body));
    }
    let mut stream = response.into_body();
    let mut lines = Lines::new(MAX_LINE_BYTES);
    loop {
        let frame = match tokio::time::timeout(options.silence, stream.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(ended(format!("the stream broke: {}", chain(&error)))),
            Ok(None) => return Err(ended("the stream was ended by the server".to_owned())),
            Err(_) => return Err(ended(format!("no heartbeat for {} s", options.silence.as_secs_f64()))),
        };
        let Ok(chunk) = frame.into_data() else { continue };
        for line in lines.push(&chunk).map_err(|error| ended(error.to_string()))? {
            let event = match serde_json::from_slice(&line) {
                Ok(ConfigLine::Config(config)) => ConfigEvent::Config(Box::new(config)),
                Ok(ConfigLine::Heartbeat) => ConfigEvent::Heartbeat,
                Err(error) => return Err(ended(format!("a line cannot be read: {error}"))),
            };
            options.backoff.reset();
            if events.send(event).await.is_err() {
                return Ok(());
            }
        }
    }
}
