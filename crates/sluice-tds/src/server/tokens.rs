use std::fmt;
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::error::WireError;
use crate::limits::{Limits, Negotiated};
use crate::server::classification::ClassificationReader;
use crate::server::columns::{AltReader, ColMetadata, ColumnsReader};
use crate::server::done::Done;
use crate::server::return_value::ReturnValue;
use crate::server::token::{Token, id};
use crate::types::{Layout, Piece, Progress};
use crate::wire::Reader;

/// Reads the payload of a server's answers, or of a client's bulk load: the
/// same grammar (2.2.6.1), of which a bulk load uses a part.
///
/// Feed a piece, [`pull`](Self::pull) until `None`, feed the next. It holds one
/// unit (a token, or a small value) and the last piece fed.
#[derive(Debug)]
pub struct Tokens {
    buffer: Buffer,
    limits: Limits,
    negotiated: Negotiated,
    /// Whether this is what a client sends.
    bulk_load: bool,
    state: State,
    /// Columns of the rows that may come.
    row: Option<Arc<[Layout]>>,
    /// Columns of the totals that may come, by their statement.
    totals: Vec<(u16, Arc<[Layout]>)>,
}

/// An event and the bytes that it was read from. The `raw` of all events of a
/// message are its payload, without a gap.
#[derive(PartialEq)]
pub struct Item<'a> {
    /// What it is.
    pub event: Event<'a>,
    /// Its bytes; empty where an event is only the end of something.
    pub raw: &'a [u8],
}

/// Without the bytes, which say nothing that the event does not.
impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("event", &self.event).field("raw", &self.raw.len()).finish()
    }
}

/// What comes next in an answer. Rows and return values are
/// `Row | ReturnValue`, their `Value`s, `End`.
#[derive(Debug, PartialEq)]
pub enum Event<'a> {
    /// A whole token.
    Token(Token),
    /// A row begins.
    Row(RowKind),
    /// A return value begins; it has one value, of column zero.
    ReturnValue(Box<ReturnValue>),
    /// A value of the row, or a part of it.
    Value {
        /// Its column, from zero.
        column: usize,
        /// What of it.
        piece: Piece<'a>,
    },
    /// The row or the return value is over.
    End,
}

/// What kind of row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// 2.2.7.20.
    Row,
    /// 2.2.7.15: a bitmap says which values are NULL, and those have no bytes.
    NullCompressed,
    /// 2.2.7.2: totals of this statement.
    Total(u16),
}

#[derive(Debug)]
enum State {
    /// Before a token.
    Between,
    /// In a token without a length, of which `read` bytes were read.
    Long { token: LongToken, read: usize },
    /// In the values of a row, or of a return value.
    Values(Values),
}

#[derive(Debug)]
enum LongToken {
    Columns(ColumnsReader),
    Totals(AltReader),
    Classification(ClassificationReader),
}

#[derive(Debug)]
struct Values {
    layouts: Arc<[Layout]>,
    /// Of a compressed row.
    nulls: Vec<u8>,
    column: usize,
    progress: Progress,
}

impl Tokens {
    /// For one answer after the other.
    pub fn response(limits: Limits, negotiated: Negotiated) -> Self {
        Self::new(limits, negotiated, false)
    }

    /// For the rows of `INSERT BULK`. What follows `WRITETEXT BULK` (2.2.6.2) is
    /// no token stream, and an error.
    pub fn bulk_load(limits: Limits, negotiated: Negotiated) -> Self {
        Self::new(limits, negotiated, true)
    }

    fn new(limits: Limits, negotiated: Negotiated, bulk_load: bool) -> Self {
        let buffer = Buffer::new(limits.unit);
        Self { buffer, limits, negotiated, bulk_load, state: State::Between, row: None, totals: Vec::new() }
    }

    /// Takes the next piece of the payload: a packet's at most, so that memory
    /// stays bounded.
    pub fn feed(&mut self, payload: &[u8]) {
        self.buffer.feed(payload);
    }

    /// The message is over. What comes next from [`pull`](Self::pull) is what
    /// is left of it; fed again after a `None`, it reads the next message.
    pub fn end(&mut self) {
        self.buffer.end();
    }

    /// Whether the message was whole, and all of it was handed out.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Between) && self.buffer.is_over()
    }

    /// What login settled; an answer's FEATUREEXTACK changes it.
    pub fn negotiated(&self) -> Negotiated {
        self.negotiated
    }

    /// Says whose rows follow a [`Token::NoMetadata`]: the columns that a cursor
    /// or a prepared statement had when they were last sent. Without it such
    /// rows are an error.
    pub fn assume_columns(&mut self, columns: &ColMetadata) {
        self.row = Some(columns.layouts().into());
    }

    /// The next event. `None`: more must be fed, or, after [`end`](Self::end),
    /// the message was whole.
    ///
    /// # Errors
    ///
    /// What the grammar does not allow, what is over a limit, and a message that
    /// ends within a token.
    pub fn pull(&mut self) -> Result<Option<Item<'_>>, WireError> {
        loop {
            match &mut self.state {
                State::Between => {
                    if self.buffer.is_over() {
                        self.buffer.reset();
                        (self.row, self.totals) = (None, Vec::new());
                        return Ok(None);
                    }
                    let bounds = (&self.limits, &self.negotiated, self.bulk_load && self.buffer.ended());
                    let rows = Rows { row: &self.row, totals: &self.totals, bulk_load: self.bulk_load };
                    match self.buffer.unit(|r| begin(r, bounds, &rows))? {
                        None => return Ok(None),
                        Some((Begun::Long(token), raw)) => {
                            // The bytes stay until the token is whole.
                            let read = raw.len();
                            self.buffer.give_back(read);
                            self.state = State::Long { token, read };
                        }
                        Some((Begun::Values(event, values), raw)) => {
                            self.state = State::Values(values);
                            return Ok(Some(Item { event, raw }));
                        }
                        Some((Begun::Token(token), raw)) => {
                            match &token {
                                Token::Done(_) => (self.row, self.totals) = (None, Vec::new()),
                                Token::NoMetadata => self.row = None,
                                Token::FeatureExtAck(acks) => self.negotiated = Negotiated::from_acks(acks),
                                _ => {}
                            }
                            return Ok(Some(Item { event: Event::Token(token), raw }));
                        }
                    }
                }
                State::Long { token, read } => {
                    let Some(mut r) = self.buffer.reader(*read) else { return Ok(None) };
                    let begin = *read;
                    let done = loop {
                        match token.step(&mut r) {
                            Ok(None) => *read = begin + r.position(),
                            Ok(Some(done)) => break done,
                            Err(error) => return self.buffer.wait(error).map(|()| None),
                        }
                    };
                    let raw = self.buffer.take(begin + r.position());
                    match &done {
                        Token::ColMetadata(columns) => {
                            (self.row, self.totals) = (Some(columns.layouts().into()), Vec::new());
                        }
                        Token::AltMetadata(columns) => {
                            let held: usize = self.totals.iter().map(|(_, layouts)| layouts.len().max(1)).sum();
                            r.at_most(held + columns.columns.len(), self.limits.columns, "ALTMETADATA.Count")?;
                            self.totals.retain(|(id, _)| *id != columns.id);
                            self.totals.push((columns.id, columns.layouts().into()));
                        }
                        _ => {}
                    }
                    self.state = State::Between;
                    return Ok(Some(Item { event: Event::Token(done), raw }));
                }
                State::Values(values) => {
                    let column = values.column;
                    let Some(layout) = values.layouts.get(column).copied() else {
                        self.state = State::Between;
                        return Ok(Some(Item { event: Event::End, raw: &[] }));
                    };
                    if is_null(&values.nulls, column) {
                        values.column += 1;
                        return Ok(Some(Item { event: Event::Value { column, piece: Piece::Null }, raw: &[] }));
                    }
                    let Some(((piece, next), raw)) = self.buffer.unit(|r| layout.read(values.progress, r))? else {
                        return Ok(None);
                    };
                    values.progress = next.unwrap_or_default();
                    values.column += usize::from(next.is_none());
                    return Ok(Some(Item { event: Event::Value { column, piece }, raw }));
                }
            }
        }
    }
}

/// What stands at the front, between tokens.
enum Begun {
    Token(Token),
    Long(LongToken),
    Values(Event<'static>, Values),
}

struct Rows<'a> {
    row: &'a Option<Arc<[Layout]>>,
    totals: &'a [(u16, Arc<[Layout]>)],
    bulk_load: bool,
}

fn begin(
    r: &mut Reader<'_>,
    (limits, negotiated, last): (&Limits, &Negotiated, bool),
    rows: &Rows<'_>,
) -> Result<Begun, WireError> {
    let token = r.u8("token")?;
    if rows.bulk_load && !matches!(token, id::COLMETADATA | id::ROW | id::DONE) {
        return Err(r.malformed("token", token.into(), "a bulk load has COLMETADATA, ROW and DONE alone"));
    }
    let values = |layouts: &Arc<[Layout]>, nulls: &[u8]| Values {
        layouts: Arc::clone(layouts),
        nulls: nulls.to_vec(),
        column: 0,
        progress: Progress::Start,
    };
    let columns = |r: &Reader<'_>| rows.row.as_ref().ok_or_else(|| r.malformed("token", token.into(), "no columns"));
    Ok(match token {
        id::COLMETADATA => match ColumnsReader::start(negotiated, limits.columns, r)? {
            Some(reader) => Begun::Long(LongToken::Columns(reader)),
            None => Begun::Token(Token::NoMetadata),
        },
        id::ALTMETADATA => Begun::Long(LongToken::Totals(AltReader::start(limits.columns, r)?)),
        id::DATACLASSIFICATION => {
            Begun::Long(LongToken::Classification(ClassificationReader::start(negotiated, limits.columns, r)?))
        }
        id::ROW => Begun::Values(Event::Row(RowKind::Row), values(columns(r)?, &[])),
        id::NBCROW => {
            let layouts = columns(r)?;
            let nulls = r.take(layouts.len().div_ceil(8), "NBCROW.NullBitmap")?;
            Begun::Values(Event::Row(RowKind::NullCompressed), values(layouts, nulls))
        }
        id::ALTROW => {
            let id = r.u16("ALTROW.Id")?;
            let layouts = rows.totals.iter().find(|(other, _)| *other == id).map(|(_, layouts)| layouts);
            let layouts = layouts.ok_or_else(|| r.malformed("ALTROW.Id", id.into(), "no ALTMETADATA has this id"))?;
            Begun::Values(Event::Row(RowKind::Total(id)), values(layouts, &[]))
        }
        id::RETURNVALUE => {
            let head = ReturnValue::parse(negotiated, r)?;
            let layouts: Arc<[Layout]> = Arc::new([Layout::of(&head.info, false)]);
            Begun::Values(Event::ReturnValue(Box::new(head)), values(&layouts, &[]))
        }
        id::DONE if last && r.left() == 8 => Begun::Token(Token::Done(Done::parse_short(r)?)),
        token => Begun::Token(Token::parse(token, r)?),
    })
}

impl LongToken {
    fn step(&mut self, r: &mut Reader<'_>) -> Result<Option<Token>, WireError> {
        Ok(match self {
            Self::Columns(reader) => reader.step(r)?.map(|columns| Token::ColMetadata(Arc::new(columns))),
            Self::Totals(reader) => reader.step(r)?.map(|totals| Token::AltMetadata(Arc::new(totals))),
            Self::Classification(reader) => reader.step(r)?.map(Token::DataClassification),
        })
    }
}

fn is_null(nulls: &[u8], column: usize) -> bool {
    nulls.get(column / 8).is_some_and(|byte| byte >> (column % 8) & 1 == 1)
}
