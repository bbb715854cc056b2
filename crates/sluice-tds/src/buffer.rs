use std::cell::Cell;
use std::fmt;

use crate::error::WireError;
use crate::wire::Reader;

/// Payload that arrived and is not yet an event. A decoder reads one unit at a
/// time from its front; a unit that is not whole stays until more was fed.
///
/// Holds what was fed since the last unit began: at most `limit`, and the last
/// piece fed.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Where the next unit begins in `bytes`.
    start: Cell<usize>,
    /// Where the next unit begins in the message.
    offset: Cell<u64>,
    /// Bytes that the next unit has at least, as far as it is known. Trying
    /// again before they are there would be work that a peer gets for free.
    need: Cell<usize>,
    ended: Cell<bool>,
    limit: usize,
}

/// Without the bytes: parameters and results are in them.
impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("offset", &self.offset).field("waiting", &self.waiting().len()).finish()
    }
}

impl Buffer {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: Cell::new(0),
            offset: Cell::new(0),
            need: Cell::new(0),
            ended: Cell::new(false),
            limit,
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start.replace(0));
        self.bytes.extend_from_slice(bytes);
    }

    /// No more will be fed.
    pub(crate) fn end(&mut self) {
        self.ended.set(true);
    }

    /// Ready for the next message; what waits is dropped.
    pub(crate) fn reset(&self) {
        self.start.set(self.bytes.len());
        self.offset.set(0);
        self.need.set(0);
        self.ended.set(false);
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.get()
    }

    pub(crate) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start.get()..).unwrap_or_default()
    }

    /// Whether nothing is left and nothing will come.
    pub(crate) fn is_over(&self) -> bool {
        self.ended() && self.waiting().is_empty()
    }

    /// Reads what begins at the front, and takes it off with its bytes. `None`:
    /// it is not whole yet.
    pub(crate) fn unit<'a, T>(
        &'a self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, WireError>,
    ) -> Result<Option<(T, &'a [u8])>, WireError> {
        let mut reader = match self.reader(0) {
            Some(reader) => reader,
            None => return Ok(None),
        };
        match read(&mut reader) {
            Ok(value) => Ok(Some((value, self.take(reader.position())))),
            Err(error) => self.wait(error).map(|()| None),
        }
    }

    /// A reader over what waits, but for its first `skip` bytes; `None` if it
    /// is known that more is needed.
    pub(crate) fn reader(&self, skip: usize) -> Option<Reader<'_>> {
        let waiting = self.waiting();
        if waiting.len() < self.need.get() && !self.ended() {
            return None;
        }
        let (bytes, offset) = (waiting.get(skip..).unwrap_or_default(), self.offset.get() + skip as u64);
        Some(Reader::bounded(bytes, offset, self.limit.saturating_sub(skip)))
    }

    /// The first `count` bytes, which are now behind us.
    pub(crate) fn take(&self, count: usize) -> &[u8] {
        let taken = self.waiting().get(..count).unwrap_or_default();
        self.start.set(self.start.get() + taken.len());
        self.offset.set(self.offset.get() + taken.len() as u64);
        self.need.set(0);
        taken
    }

    /// Puts back the `count` bytes that were taken last.
    pub(crate) fn give_back(&self, count: usize) {
        self.start.set(self.start.get().saturating_sub(count));
        self.offset.set(self.offset.get().saturating_sub(count as u64));
    }

    /// Decides what it means that a reader over what waits failed: wait for more,
    /// or an error.
    pub(crate) fn wait(&self, error: WireError) -> Result<(), WireError> {
        let WireError::Incomplete { field, offset, missing } = error else { return Err(error) };
        if self.ended() {
            return Err(WireError::Incomplete { field, offset, missing });
        }
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        self.need.set(self.waiting().len().saturating_add(missing));
        Ok(())
    }
}
