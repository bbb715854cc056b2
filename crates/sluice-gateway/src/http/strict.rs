//! A reader between a connection and the HTTP/1.1 library, which lets pass
//! only what [`head`](super::head) can vouch for.
//!
//! ```text
//! socket -> TLS -> Strict (heads, chunk framing) -> hyper -> service
//! ```
//!
//! It follows the framing of every message, so it knows where the next head
//! begins, pipelined or not. A head that is refused never reaches the library:
//! in its place comes a fixed request of our own ([`SENTINEL_PATH`]) and then
//! nothing more, so that answers to earlier pipelined requests leave first, in
//! order, and then the refusal. Bad framing inside a body ends the
//! stream with an error.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::head::{self, Authorities, Framing, MAX_FIELDS, MAX_HEAD_BYTES, Unreadable};

/// Path of the request that stands for a refused one.
pub(crate) const SENTINEL_PATH: &str = "/.sluice/unreadable";

const SENTINEL: &[u8] = b"GET /.sluice/unreadable HTTP/1.1\r\nhost: sluice\r\nconnection: close\r\n\r\n";
/// How long a begun head may take to arrive.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a connection may stay without a request.
const IDLE_TIME: Duration = Duration::from_secs(300);
const MAX_TRAILER_BYTES: usize = 8 * 1024;
/// Sixteen hexadecimal digits and CR LF.
const MAX_CHUNK_LINE: usize = 18;

/// Where the service finds why the sentinel came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusal(Arc<Mutex<Option<Unreadable>>>);

impl Refusal {
    /// The refusal of this connection, once there is one.
    pub(crate) fn get(&self) -> Option<Unreadable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, refused: Unreadable) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
    }
}

/// How many requests of a connection are not answered to their end.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    /// One more, until what is returned goes.
    pub(crate) fn one(&self) -> OneUnderWay {
        self.0.fetch_add(1, Ordering::AcqRel);
        OneUnderWay(self.clone())
    }

    fn is_none(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// A request that is not answered to its end.
#[derive(Debug)]
pub(crate) struct OneUnderWay(UnderWay);

impl Drop for OneUnderWay {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The reader; writes go straight through.
pub(crate) struct Strict<T> {
    inner: T,
    authorities: Arc<Authorities>,
    refusal: Refusal,
    state: State,
    /// Bytes read and not yet handed on.
    buffer: BytesMut,
    /// How many bytes at the front of `buffer` may be handed on.
    cleared: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    under_way: UnderWay,
    /// Since when there is no request.
    idle_since: Option<Instant>,
    /// Made once, and set forward only when it rings: requests are frequent, and
    /// rarely is one the last.
    idle: Option<Pin<Box<Sleep>>>,
    idle_time: Duration,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Before or in a head, of which `scanned` bytes hold no line end that
    /// ends it.
    Head {
        scanned: usize,
        line: usize,
    },
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer {
        fields: usize,
        bytes: usize,
    },
    /// Nothing more is read, and nothing more comes: not even an end, at which
    /// the library would drop the answer that is being made.
    Refused,
    /// The client is done.
    Ended,
}

const NEXT_HEAD: State = State::Head { scanned: 0, line: 0 };

enum Step {
    /// Something is cleared, or the state changed.
    Moved,
    /// More bytes are needed.
    Short,
}

impl<T> Strict<T> {
    /// Watches over `inner`.
    pub(crate) fn new(inner: T, authorities: Arc<Authorities>, refusal: Refusal, under_way: UnderWay) -> Self {
        Self {
            inner,
            authorities,
            refusal,
            state: NEXT_HEAD,
            buffer: BytesMut::new(),
            cleared: 0,
            deadline: None,
            under_way,
            idle_since: None,
            idle: None,
            idle_time: IDLE_TIME,
        }
    }

    /// The connection beneath, to be closed.
    pub(crate) fn into_inner(self) -> T {
        self.inner
    }

    /// One step over the bytes at hand; nothing is cleared when it is called.
    fn step(&mut self) -> io::Result<Step> {
        match self.state {
            State::Head { scanned, line } => Ok(self.head(scanned, line)),
            State::Length(0) => Ok(self.to(NEXT_HEAD)),
            State::Chunk(0) => Ok(self.to(State::ChunkEnd)),
            State::Length(left) => Ok(self.pass(left, State::Length)),
            State::Chunk(left) => Ok(self.pass(left, State::Chunk)),
            State::ChunkEnd => match self.buffer.get(..2) {
                Some(b"\r\n") => Ok(self.clear(2, State::ChunkSize)),
                Some(_) => Err(broken("a chunk does not end where its size says")),
                None => Ok(Step::Short),
            },
            State::ChunkSize => self.chunk_size(),
            State::Trailer { fields, bytes } => self.trailer(fields, bytes),
            State::Refused | State::Ended => Ok(Step::Short),
        }
    }

    fn head(&mut self, scanned: usize, line: usize) -> Step {
        match end_of_head(&self.buffer, scanned, line) {
            Ok(Scan::Complete(end)) if end <= MAX_HEAD_BYTES => {
                match head::check(self.buffer.get(..end).unwrap_or_default(), &self.authorities) {
                    Ok(Framing::Length(length)) => self.clear(end, State::Length(length)),
                    Ok(Framing::Chunked) => self.clear(end, State::ChunkSize),
                    Err(refused) => self.refuse(refused),
                }
            }
            Ok(Scan::Complete(_)) => self.refuse(too_long()),
            Ok(Scan::Partial { scanned, .. }) if scanned > MAX_HEAD_BYTES => self.refuse(too_long()),
            Ok(Scan::Partial { scanned, line }) => {
                self.state = State::Head { scanned, line };
                Step::Short
            }
            Err(refused) => self.refuse(refused),
        }
    }

    fn chunk_size(&mut self) -> io::Result<Step> {
        let Some(end) = line_end(&self.buffer, MAX_CHUNK_LINE)? else { return Ok(Step::Short) };
        let digits = self.buffer.get(..end - 2).unwrap_or_default();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(broken("a chunk size is not a hexadecimal number (extensions are not taken)"));
        }
        let text = std::str::from_utf8(digits).map_err(|_| broken("a chunk size is not text"))?;
        let size = u64::from_str_radix(text, 16).map_err(|_| broken("a chunk size is too large"))?;
        Ok(self.clear(end, if size == 0 { State::Trailer { fields: 0, bytes: 0 } } else { State::Chunk(size) }))
    }

    fn trailer(&mut self, fields: usize, bytes: usize) -> io::Result<Step> {
        let Some(end) = line_end(&self.buffer, MAX_TRAILER_BYTES - bytes)? else { return Ok(Step::Short) };
        if end == 2 {
            return Ok(self.clear(2, NEXT_HEAD));
        }
        let line = self.buffer.get(..end - 2).unwrap_or_default();
        head::check_trailer(line).map_err(|refused| broken(&refused.message))?;
        if fields == MAX_FIELDS {
            return Err(broken("too many trailer fields"));
        }
        Ok(self.clear(end, State::Trailer { fields: fields + 1, bytes: bytes + end }))
    }

    /// Hands on as much of the `left` bytes of a body as is there.
    fn pass(&mut self, left: u64, state: fn(u64) -> State) -> Step {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
        if here == 0 {
            return Step::Short;
        }
        self.clear(here, state(left - here as u64))
    }

    fn clear(&mut self, bytes: usize, next: State) -> Step {
        self.cleared = bytes;
        self.deadline = None;
        self.idle_since = None;
        self.to(next)
    }

    fn to(&mut self, next: State) -> Step {
        self.state = next;
        Step::Moved
    }

    fn refuse(&mut self, refused: Unreadable) -> Step {
        self.refusal.set(refused);
        self.buffer = BytesMut::from(SENTINEL);
        self.clear(SENTINEL.len(), State::Refused)
    }

    /// Whether a head has begun to arrive and not ended.
    fn in_head(&self) -> bool {
        matches!(self.state, State::Head { .. }) && !self.buffer.is_empty()
    }

    /// Ready when a begun head takes too long.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.in_head() {
            self.deadline = None;
            return Poll::Pending;
        }
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + HEAD_TIME)));
        deadline.as_mut().poll(cx)
    }

    /// Ready when the connection has been without a request for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.state, State::Head { .. }) || !self.buffer.is_empty() || !self.under_way.is_none() {
            self.idle_since = None;
            return Poll::Pending;
        }
        let until = *self.idle_since.get_or_insert_with(Instant::now) + self.idle_time;
        let alarm = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        while alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Strict<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                let count = this.cleared.min(out.remaining()).min(this.buffer.len());
                out.put_slice(this.buffer.get(..count).unwrap_or_default());
                this.buffer.advance(count);
                this.cleared -= count;
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Ended => return Poll::Ready(Ok(())),
                // The library is woken by the answer, and closes after it.
                State::Refused => return Poll::Pending,
                _ => {}
            }
            if let Step::Moved = this.step()? {
                continue;
            }
            if this.poll_deadline(cx).is_ready() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "a request head did not arrive in time",
                )));
            }
            if this.poll_idle(cx).is_ready() {
                this.state = State::Ended;
                continue;
            }
            if ready!(read_more(Pin::new(&mut this.inner), cx, &mut this.buffer))? == 0 {
                this.state = State::Ended;
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Strict<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// Appends what `inner` has to `buffer`; zero at its end.
fn read_more<T: AsyncRead>(inner: Pin<&mut T>, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
    let mut space = [0_u8; 8 * 1024];
    let mut space = ReadBuf::new(&mut space);
    ready!(inner.poll_read(cx, &mut space))?;
    buffer.extend_from_slice(space.filled());
    Poll::Ready(Ok(space.filled().len()))
}

enum Scan {
    /// The head ends before this offset.
    Complete(usize),
    /// No end yet; the current line begins at `line`.
    Partial { scanned: usize, line: usize },
}

/// Looks for the empty line; a line that ends in a bare LF, or has a bare CR
/// or a NUL in it, is refused at once.
fn end_of_head(buffer: &[u8], mut scanned: usize, mut line: usize) -> Result<Scan, Unreadable> {
    while let Some(offset) = buffer.get(scanned..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n')) {
        let end = scanned + offset + 1;
        let Some(content) = buffer.get(line..end).and_then(|line| line.strip_suffix(b"\r\n")) else {
            return Err(Unreadable::bad("a line of the head ends with a bare LF"));
        };
        if content.contains(&b'\r') {
            return Err(Unreadable::bad("a line of the head has a bare CR in it"));
        }
        if content.contains(&0) {
            return Err(Unreadable::bad("a line of the head has a NUL in it"));
        }
        if content.is_empty() {
            return match line {
                0 => Err(Unreadable::bad("an empty line stands in place of a request line")),
                _ => Ok(Scan::Complete(end)),
            };
        }
        (scanned, line) = (end, end);
    }
    Ok(Scan::Partial { scanned: buffer.len(), line })
}

/// Where the line at the front of `buffer` ends, its CR LF included; at most
/// `limit` bytes.
fn line_end(buffer: &[u8], limit: usize) -> io::Result<Option<usize>> {
    match buffer.iter().take(limit).position(|&byte| byte == b'\n') {
        Some(0) => Err(broken("a line ends with a bare LF")),
        Some(at) if buffer.get(at - 1) != Some(&b'\r') => Err(broken("a line ends with a bare LF")),
        Some(at) if buffer.iter().take(at - 1).any(|&byte| byte == b'\r') => Err(broken("a line has a bare CR in it")),
        Some(at) => Ok(Some(at + 1)),
        None if buffer.len() >= limit => Err(broken("a line is too long")),
        None => Ok(None),
    }
}

fn too_long() -> Unreadable {
    Unreadable::too_large(format!("the request head is longer than {MAX_HEAD_BYTES} bytes"))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests;
