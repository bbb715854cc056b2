use std::sync::Arc;

use crate::buffer::Buffer;
use crate::client::headers::AllHeaders;
use crate::client::requests::{Request, RequestItem};
use crate::client::rpc::{Call, CipherInfo, PARAMETER_NAME, Parameter, ParameterType};
use crate::client::table::{END, ROW, TABLE, TableReader};
use crate::error::WireError;
use crate::limits::{Limits, Negotiated};
use crate::text::Text;
use crate::types::{Layout, Place, Progress, TypeInfo};
use crate::wire::Reader;

/// Reads the payload of an RPC message.
#[derive(Debug)]
pub(super) struct RpcReader {
    buffer: Buffer,
    state: State,
}

#[derive(Debug)]
enum State {
    Headers,
    Call {
        first: bool,
    },
    /// Before a parameter, a separator, or the end.
    Between,
    /// In a table's type, of whose parameter `read` bytes were read.
    TableType {
        name: Text,
        status: u8,
        table: TableReader,
        read: usize,
    },
    /// In a scalar's value.
    Value {
        layout: Layout,
        progress: Progress,
        status: u8,
    },
    /// Before a row, or the end of the table.
    Rows {
        layouts: Arc<[Layout]>,
        status: u8,
    },
    /// In a row.
    Row {
        layouts: Arc<[Layout]>,
        column: usize,
        progress: Progress,
        status: u8,
    },
    /// After the value.
    Cipher {
        status: u8,
    },
}

/// What stands before a value.
enum Begun {
    Separator(bool),
    Scalar(Parameter, Layout),
    Table(Text, u8, TableReader),
}

impl RpcReader {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { buffer: Buffer::new(limits.unit), state: State::Headers }
    }

    pub(super) fn feed(&mut self, payload: &[u8]) {
        self.buffer.feed(payload);
    }

    pub(super) fn end(&mut self) {
        self.buffer.end();
    }

    /// Whether the message was whole, and all of it was handed out.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Between | State::Call { first: false }) && self.buffer.is_over()
    }

    pub(super) fn pull(
        &mut self,
        limits: &Limits,
        negotiated: &Negotiated,
    ) -> Result<Option<RequestItem<'_>>, WireError> {
        loop {
            let item = |event, raw| Ok(Some(RequestItem { event, raw }));
            match &mut self.state {
                State::Headers => {
                    let Some((headers, raw)) = self.buffer.unit(AllHeaders::parse)? else { return Ok(None) };
                    self.state = State::Call { first: true };
                    return item(Request::Headers(headers), raw);
                }
                // A separator may be the last byte.
                State::Call { first: false } if self.buffer.is_over() => return Ok(None),
                State::Call { .. } => {
                    let Some((call, raw)) = self.buffer.unit(|r| Call::parse(negotiated, r))? else { return Ok(None) };
                    self.state = State::Between;
                    return item(Request::Call(call), raw);
                }
                State::Between if self.buffer.is_over() => return Ok(None),
                State::Between => match self.buffer.unit(|r| begin(limits, r))? {
                    None => return Ok(None),
                    Some((Begun::Separator(execute), raw)) => {
                        self.state = State::Call { first: false };
                        return item(Request::NextCall { execute }, raw);
                    }
                    Some((Begun::Scalar(parameter, layout), raw)) => {
                        let status = parameter.status;
                        self.state = State::Value { layout, progress: Progress::Start, status };
                        return item(Request::Parameter(Box::new(parameter)), raw);
                    }
                    Some((Begun::Table(name, status, table), raw)) => {
                        // The bytes stay until the type is whole.
                        let read = raw.len();
                        self.buffer.give_back(read);
                        self.state = State::TableType { name, status, table, read };
                    }
                },
                State::TableType { name, status, table, read } => {
                    let Some(mut r) = self.buffer.reader(*read) else { return Ok(None) };
                    let begin = *read;
                    let table = loop {
                        match table.step(&mut r) {
                            Ok(None) => *read = begin + r.position(),
                            Ok(Some(table)) => break table,
                            Err(error) => return self.buffer.wait(error).map(|()| None),
                        }
                    };
                    let raw = self.buffer.take(begin + r.position());
                    let (name, status) = (std::mem::take(name), *status);
                    self.state = State::Rows { layouts: table.layouts().into(), status };
                    let kind = ParameterType::Table(Box::new(table));
                    return item(Request::Parameter(Box::new(Parameter { name, status, kind })), raw);
                }
                State::Value { layout, progress, status } => {
                    let read = self.buffer.unit(|r| layout.read(*progress, r))?;
                    let Some(((piece, next), raw)) = read else { return Ok(None) };
                    match next {
                        Some(next) => *progress = next,
                        None => self.state = State::Cipher { status: *status },
                    }
                    return item(Request::Value { column: 0, piece }, raw);
                }
                State::Rows { layouts, status } => {
                    let Some((row, raw)) = self.buffer.unit(row)? else { return Ok(None) };
                    let (layouts, status) = (Arc::clone(layouts), *status);
                    if row {
                        self.state = State::Row { layouts, column: 0, progress: Progress::Start, status };
                        return item(Request::Row, raw);
                    }
                    self.state = State::Cipher { status };
                    return item(Request::TableEnd, raw);
                }
                State::Row { layouts, column, progress, status } => {
                    let Some(layout) = layouts.get(*column).copied() else {
                        self.state = State::Rows { layouts: Arc::clone(layouts), status: *status };
                        return item(Request::RowEnd, &[]);
                    };
                    let read = self.buffer.unit(|r| layout.read(*progress, r))?;
                    let Some(((piece, next), raw)) = read else { return Ok(None) };
                    let this = *column;
                    *progress = next.unwrap_or_default();
                    *column += usize::from(next.is_none());
                    return item(Request::Value { column: this, piece }, raw);
                }
                State::Cipher { status } => {
                    if *status & Parameter::ENCRYPTED == 0 {
                        self.state = State::Between;
                        return item(Request::ParameterEnd(None), &[]);
                    }
                    let Some((cipher, raw)) = self.buffer.unit(CipherInfo::parse)? else { return Ok(None) };
                    self.state = State::Between;
                    return item(Request::ParameterEnd(Some(Box::new(cipher))), raw);
                }
            }
        }
    }
}

fn begin(limits: &Limits, r: &mut Reader<'_>) -> Result<Begun, WireError> {
    let units = match r.u8("RPC.ParamMetaData")? {
        0xFF => return Ok(Begun::Separator(true)),
        0xFE => return Ok(Begun::Separator(false)),
        units => r.at_most(units.into(), PARAMETER_NAME.into(), "RPC.ParamMetaData")?,
    };
    let name = r.text(units, "RPC.ParamMetaData")?;
    let status = r.u8("RPC.StatusFlags")?;
    let mut ahead = r.clone();
    if ahead.u8("TYPE_INFO")? == TABLE {
        r.u8("TYPE_INFO")?;
        if status & (Parameter::BY_REFERENCE | Parameter::DEFAULT | Parameter::ENCRYPTED) != 0 {
            return Err(r.malformed("RPC.StatusFlags", status.into(), "a table is no output, default or ciphertext"));
        }
        return Ok(Begun::Table(name, status, TableReader::start(limits.columns, r)?));
    }
    let info = TypeInfo::parse(r, Place::Parameter)?;
    let layout = Layout::of(&info, false);
    Ok(Begun::Scalar(Parameter { name, status, kind: ParameterType::Scalar(info) }, layout))
}

fn row(r: &mut Reader<'_>) -> Result<bool, WireError> {
    match r.u8("TVP_ROW")? {
        ROW => Ok(true),
        END => Ok(false),
        other => Err(r.malformed("TVP_ROW", other.into(), "0x01 for a row, 0x00 for the end")),
    }
}
