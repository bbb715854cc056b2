//! Bodies on their way through.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

/// Body of a request on its way up.
pub(crate) enum Upward {
    /// Read whole, because it was decided on.
    Whole(Full<Bytes>),
    /// Passed on as it comes.
    Stream(Incoming),
}

impl Body for Upward {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// A body, and what is kept as long as it is there.
pub(crate) struct With<B, K> {
    pub(crate) body: B,
    pub(crate) _kept: K,
}

impl<B: Body + Unpin, K: Unpin> Body for With<B, K> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Body of a response on its way down.
pub(crate) enum Downward {
    /// All there, data then trailers; `told`: its length is no secret.
    Whole { data: Option<Bytes>, trailers: Option<HeaderMap>, told: bool },
    /// Comes piece by piece out of the task that masks and records it.
    Stream {
        pieces: mpsc::Receiver<Piece>,
        /// Bytes still to come, where the length is known.
        left: Option<u64>,
        ended: bool,
    },
}

/// A piece of a streamed response.
pub(crate) enum Piece {
    /// Data or trailers.
    Frame(Frame<Bytes>),
    /// The response is complete. A stream that stops without it is reset, so
    /// that a client never takes a part for the whole.
    End,
}

impl Downward {
    /// A whole body.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::complete(bytes.into(), None, true)
    }

    /// A whole body with trailers. Its length is told only where the upstream
    /// `told` one: whether it was there at once must not show.
    pub(crate) fn complete(data: Bytes, trailers: Option<HeaderMap>, told: bool) -> Self {
        Self::Whole { data: Some(data).filter(|data| !data.is_empty()), trailers, told }
    }

    /// A body that comes through the sender; `length` where it is known.
    pub(crate) fn stream(length: Option<u64>) -> (mpsc::Sender<Piece>, Self) {
        /// One piece waits while another is written.
        const WAITING: usize = 1;
        let (sender, pieces) = mpsc::channel(WAITING);
        (sender, Self::Stream { pieces, left: length, ended: false })
    }
}

impl Body for Downward {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole { data, trailers, .. } => {
                let frame = data.take().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            Self::Stream { ended: true, .. } => Poll::Ready(None),
            Self::Stream { pieces, left, ended } => Poll::Ready(match ready!(pieces.poll_recv(cx)) {
                Some(Piece::Frame(frame)) => {
                    let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                    *left = left.map(|left| left.saturating_sub(length));
                    Some(Ok(frame))
                }
                Some(Piece::End) => {
                    *ended = true;
                    None
                }
                None => {
                    *ended = true;
                    Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the response was cut short")))
                }
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { data, trailers, told } => *told && data.is_none() && trailers.is_none(),
            Self::Stream { ended, .. } => *ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { data, trailers: None, told: true } => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
            Self::Whole { .. } => SizeHint::default(),
            Self::Stream { left: Some(left), .. } => SizeHint::with_exact(*left),
            Self::Stream { left: None, .. } => SizeHint::default(),
        }
    }
}
