//! A response on its way to the client: masked, counted, recorded, released.
//!
//! Nothing is collected but small bodies of known length, and what is there
//! already. The last byte (of a known length), or the end (of an unknown one),
//! leaves only after the outcome is recorded.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::http::body::{Downward, Piece};
use crate::mask::Masking;
use crate::record::{End, Running};

/// Bodies up to this length are passed on in one piece.
const SMALL: u64 = 64 * 1024;
/// How often a stream's progress is recorded, if it moved.
const PROGRESS_TIME: Duration = Duration::from_secs(60);
/// After how many bytes it is recorded anyway.
const PROGRESS_BYTES: u64 = 64 * 1024 * 1024;

/// Why a response body is not shown to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It cannot be masked.
    Unmaskable(String),
    /// It broke off, is too long, or its outcome cannot be recorded.
    Broken(String),
}

impl Cut {
    /// In words for people.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Unmaskable(why) | Self::Broken(why) => why,
        }
    }
}

type BodyFrame = Option<Result<Frame<Bytes>, hyper::Error>>;

/// A body, and what of it was there at once.
struct Coming {
    ahead: VecDeque<BodyFrame>,
    /// Bytes in `ahead`.
    bytes: u64,
    body: Incoming,
}

impl Coming {
    /// Takes what is there without waiting, about [`SMALL`] bytes at most.
    fn new(mut body: Incoming) -> Self {
        let mut ahead = VecDeque::new();
        let mut bytes = 0;
        while bytes < SMALL
            && let Some(frame) = body.frame().now_or_never()
        {
            bytes +=
                frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, |data| data.len() as u64);
            let over = !matches!(frame, Some(Ok(_)));
            ahead.push_back(frame);
            if over {
                break;
            }
        }
        Self { ahead, bytes, body }
    }

    /// Whether all of it is here.
    fn is_complete(&self) -> bool {
        matches!(self.ahead.back(), Some(None))
    }

    /// The next frame. Dropped while it waits, it has taken nothing.
    async fn frame(&mut self) -> BodyFrame {
        match self.ahead.pop_front() {
            Some(frame) => frame,
            None => self.body.frame().await,
        }
    }
}

/// What is done to a response body.
pub(crate) struct Relay {
    pub(crate) masking: Option<Masking>,
    pub(crate) running: Running,
    /// Bytes after which the response is cut.
    pub(crate) limit: Option<u64>,
}

impl Relay {
    /// Passes a body on: whole if it is small, else by a task of its own.
    /// The length is that of the body as the client gets it, where known.
    ///
    /// # Errors
    /// Nothing was released; the outcome is recorded, or could not be.
    pub(crate) async fn start(self, body: Incoming) -> Result<Downward, Cut> {
        let length = body.size_hint().exact();
        let coming = Coming::new(body);
        if coming.is_complete() || length.is_some_and(|length| length <= SMALL) {
            return self.whole(coming, length.is_some()).await;
        }
        let length = if self.masking.is_some() { None } else { length };
        let (sender, downward) = Downward::stream(length);
        tokio::spawn(self.stream(coming, length, sender));
        Ok(downward)
    }

    async fn whole(mut self, mut coming: Coming, told: bool) -> Result<Downward, Cut> {
        let length = coming.bytes;
        let mut taken: Vec<Bytes> = Vec::new();
        let mut trailers: Option<HeaderMap> = None;
        while let Some(frame) = coming.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => match self.mask(data) {
                    Ok(data) => taken.push(data),
                    Err(cut) => return Err(self.failed(cut).await),
                },
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(error) => return Err(self.failed(broke_off(&error)).await),
            }
        }
        match self.rest() {
            Ok(rest) => taken.push(rest),
            Err(cut) => return Err(self.failed(cut).await),
        }
        let data = join(taken, length);
        if self.limit.is_some_and(|limit| data.len() as u64 > limit) {
            let cut = Cut::Broken(over_limit(self.limit));
            return Err(self.failed(cut).await);
        }
        self.running.passes(&data);
        sluice_audit::failpoint!("gateway.before_outcome");
        self.running.end(End::Done).await.map_err(|error| Cut::Broken(error.to_string()))?;
        sluice_audit::failpoint!("gateway.after_outcome");
        Ok(Downward::complete(data, trailers, told))
    }

    async fn stream(mut self, mut coming: Coming, mut left: Option<u64>, sender: mpsc::Sender<Piece>) {
        let mut progress = tokio::time::interval_at(Instant::now() + PROGRESS_TIME, PROGRESS_TIME);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut recorded = 0;
        loop {
            let frame = tokio::select! {
                biased;
                () = sender.closed() => return self.over(End::Abandoned).await,
                frame = coming.frame() => frame,
                _ = progress.tick() => {
                    if self.running.bytes() > recorded {
                        recorded = self.running.bytes();
                        self.running.progress().await;
                    }
                    continue;
                }
            };
            match frame.transpose().map(|frame| frame.map(Frame::into_data)) {
                Ok(Some(Ok(data))) => {
                    let data = match self.mask(data) {
                        Ok(data) if data.is_empty() => continue,
                        Ok(data) => data,
                        Err(cut) => return self.over(End::Failed(cut.why().to_owned())).await,
                    };
                    left = left.map(|left| left.saturating_sub(data.len() as u64));
                    self.running.passes(&data);
                    if self.limit.is_some_and(|limit| self.running.bytes() > limit) {
                        let why = over_limit(self.limit);
                        return self.over(End::Failed(why)).await;
                    }
                    if left == Some(0) {
                        return self.last(sender, Some(Frame::data(data))).await;
                    }
                    if sender.send(Piece::Frame(Frame::data(data))).await.is_err() {
                        return self.over(End::Abandoned).await;
                    }
                    if self.running.bytes() - recorded >= PROGRESS_BYTES {
                        recorded = self.running.bytes();
                        self.running.progress().await;
                    }
                }
                Ok(Some(Err(trailers))) => return self.last(sender, Some(trailers)).await,
                Ok(None) => {
                    return match self.rest() {
                        Ok(rest) if rest.is_empty() => self.last(sender, None).await,
                        Ok(rest) => {
                            self.running.passes(&rest);
                            self.last(sender, Some(Frame::data(rest))).await
                        }
                        Err(cut) => self.over(End::Failed(cut.why().to_owned())).await,
                    };
                }
                Err(error) => {
                    return self.over(End::Failed(broke_off(&error).why().to_owned())).await;
                }
            }
        }
    }

    /// Records the outcome, then releases the last frame and the end.
    async fn last(self, sender: mpsc::Sender<Piece>, frame: Option<Frame<Bytes>>) {
        if sender.is_closed() {
            return self.over(End::Abandoned).await;
        }
        sluice_audit::failpoint!("gateway.before_outcome");
        if self.running.end(End::Done).await.is_err() {
            return;
        }
        sluice_audit::failpoint!("gateway.after_outcome");
        if let Some(frame) = frame
            && sender.send(Piece::Frame(frame)).await.is_err()
        {
            return;
        }
        let _ = sender.send(Piece::End).await;
    }

    /// Ends without an end: the client's stream is reset.
    async fn over(self, end: End) {
        // The sender is gone already or goes now; a failure is logged there.
        let _ = self.running.end(end).await;
    }

    async fn failed(self, cut: Cut) -> Cut {
        let _ = self.running.end(End::Failed(cut.why().to_owned())).await;
        cut
    }

    fn mask(&mut self, data: Bytes) -> Result<Bytes, Cut> {
        let Some(masking) = &mut self.masking else { return Ok(data) };
        let masked = masking.push(&data)?;
        self.running.masked(masking.values());
        Ok(masked)
    }

    fn rest(&mut self) -> Result<Bytes, Cut> {
        let Some(masking) = self.masking.take() else { return Ok(Bytes::new()) };
        let (rest, values) = masking.finish()?;
        self.running.masked(values);
        Ok(rest)
    }
}

fn broke_off(error: &hyper::Error) -> Cut {
    Cut::Broken(format!("the server's answer broke off: {error}"))
}

/// What is said of a response over policy's `responseBytes`.
pub(crate) fn over_limit(limit: Option<u64>) -> String {
    format!(
        "the response is longer than limits.responseBytes ({} bytes) of the policy; ask for less (a selector, --limit) or raise it",
        limit.unwrap_or_default()
    )
}

fn join(mut parts: Vec<Bytes>, length: u64) -> Bytes {
    parts.retain(|part| !part.is_empty());
    match parts.len() {
        0 => Bytes::new(),
        1 => parts.swap_remove(0),
        _ => {
            let mut whole = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            parts.iter().for_each(|part| whole.extend_from_slice(part));
            Bytes::from(whole)
        }
    }
}
