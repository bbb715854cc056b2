use std::sync::Arc;

use crate::buffer::Buffer;
use crate::client::headers::AllHeaders;
use crate::client::requests::{Request, RequestItem};
use crate::client::table::{END, ROW, TABLE, TableReader, TableType};
use crate::error::{TooLong, Unwritable, WireError};
use crate::limits::{Limits, Negotiated};
use crate::text::Text;
use crate::types::{Layout, Place, Progress, TypeInfo};
use crate::wire::{Put, Reader};

/// A procedure call begins (2.2.6.6); its parameters follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is called.
    pub procedure: Procedure,
    /// Bits: 1 recompile, 2 no metadata in the answer, 4 reuse of metadata.
    pub options: u16,
    /// For the server's enclave: see [`SqlBatch::enclave`](crate::SqlBatch::enclave).
    pub enclave: Vec<u8>,
}

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Procedure {
    /// One of the server's own, by number.
    Id(u16),
    /// Any, by name; also the server's own.
    Name(Text),
}

impl Procedure {
    /// The name behind a number, or the name itself.
    pub fn name(&self) -> Option<Text> {
        match self {
            Self::Id(id) => {
                let index = usize::from(*id).checked_sub(1)?;
                PROCEDURES.get(index).map(|name| Text::from(*name))
            }
            Self::Name(name) => Some(name.clone()),
        }
    }
}

/// By number, from 1 on.
const PROCEDURES: [&str; 15] = [
    "sp_cursor",
    "sp_cursoropen",
    "sp_cursorprepare",
    "sp_cursorexecute",
    "sp_cursorprepexec",
    "sp_cursorunprepare",
    "sp_cursorfetch",
    "sp_cursoroption",
    "sp_cursorclose",
    "sp_executesql",
    "sp_prepare",
    "sp_execute",
    "sp_prepexec",
    "sp_prepexecrpc",
    "sp_unprepare",
];

/// A parameter begins; its value follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name; may be empty.
    pub name: Text,
    /// Bits, of which those below are known.
    pub status: u8,
    /// Its type.
    pub kind: ParameterType,
}

/// Type of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterType {
    /// One value.
    Scalar(TypeInfo),
    /// Any number of rows.
    Table(Box<TableType>),
}

impl Parameter {
    /// Passed by reference: an output parameter.
    pub const BY_REFERENCE: u8 = 0x01;
    /// Takes its default.
    pub const DEFAULT: u8 = 0x02;
    /// Is encrypted.
    pub const ENCRYPTED: u8 = 0x08;
}

/// How a parameter is encrypted (2.2.6.6, ParamCipherInfo).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CipherInfo {
    /// Type of the plain text.
    pub info: TypeInfo,
    /// Algorithm; zero is a custom one.
    pub algorithm: u8,
    /// Name of a custom one.
    pub algorithm_name: Option<Text>,
    /// 1: deterministic, 2: randomised.
    pub encryption: u8,
    /// The key's database.
    pub database: u32,
    /// The key.
    pub key: u32,
    /// Its version.
    pub key_version: u32,
    /// Version of its metadata.
    pub metadata_version: u64,
    /// How plain text is normalised.
    pub normalization: u8,
}

impl Call {
    /// Appends the call to `out`. Before the first one stand the headers.
    ///
    /// # Errors
    ///
    /// If something is longer than its field.
    pub fn write(&self, negotiated: &Negotiated, out: &mut Vec<u8>) -> Result<(), TooLong> {
        match &self.procedure {
            Procedure::Id(id) => {
                out.u16(u16::MAX);
                out.u16(*id);
            }
            Procedure::Name(name) if name.units().len() > NAME => {
                return Err(TooLong { field: "RPC.ProcName", value: name.units().len(), limit: NAME });
            }
            Procedure::Name(name) => out.us_varchar(name, "RPC.ProcName")?,
        }
        out.u16(self.options);
        if negotiated.enclave() { out.us_varbyte(&self.enclave, "EnclavePackage") } else { Ok(()) }
    }

    fn parse(negotiated: &Negotiated, r: &mut Reader<'_>) -> Result<Self, WireError> {
        let procedure = match r.u16("RPC.NameLenProcID")? {
            u16::MAX => Procedure::Id(r.u16("RPC.ProcID")?),
            units => {
                r.at_most(units.into(), NAME, "RPC.ProcName")?;
                Procedure::Name(r.text(units.into(), "RPC.ProcName")?)
            }
        };
        let options = r.u16("RPC.OptionFlags")?;
        let enclave = if negotiated.enclave() { r.us_varbyte("EnclavePackage")?.to_vec() } else { Vec::new() };
        Ok(Self { procedure, options, enclave })
    }
}

/// Units of a procedure's name: 1,046 bytes.
const NAME: usize = 523;
/// Units of a parameter's name. The numbers above announce a separator.
const PARAMETER_NAME: u8 = 128;

impl Parameter {
    /// Appends the parameter to `out`, up to its value. A scalar's value is
    /// appended by [`write_value`](crate::write_value); a table's rows by
    /// [`write_table_row`](Self::write_table_row), and
    /// [`end_table`](Self::end_table) ends them.
    ///
    /// # Errors
    ///
    /// If something is longer than its field.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        if self.name.units().len() > usize::from(PARAMETER_NAME) {
            let (value, limit) = (self.name.units().len(), PARAMETER_NAME.into());
            return Err(TooLong { field: "RPC.ParamMetaData", value, limit });
        }
        out.b_varchar(&self.name, "RPC.ParamMetaData")?;
        out.u8(self.status);
        match &self.kind {
            ParameterType::Scalar(info) => info.write(out),
            ParameterType::Table(table) => table.write(out),
        }
    }

    /// Appends a row of a table; `None` is NULL.
    ///
    /// # Errors
    ///
    /// If a value does not fit its column.
    pub fn write_table_row<'a>(
        columns: impl IntoIterator<Item = (&'a TypeInfo, Option<&'a [u8]>)>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unwritable> {
        out.u8(ROW);
        for (info, value) in columns {
            match value {
                Some(value) => crate::types::write_value(info, false, value, out)?,
                None => crate::types::write_null(info, false, out)?,
            }
        }
        Ok(())
    }

    /// Ends a table.
    pub fn end_table(out: &mut Vec<u8>) {
        out.u8(END);
    }
}

impl CipherInfo {
    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let info = TypeInfo::parse(r, Place::Parameter)?;
        let algorithm = r.u8("ParamCipherInfo.EncryptionAlgo")?;
        let algorithm_name = if algorithm == 0 { Some(r.b_varchar("ParamCipherInfo.AlgoName")?) } else { None };
        Ok(Self {
            info,
            algorithm,
            algorithm_name,
            encryption: r.u8("ParamCipherInfo.EncryptionType")?,
            database: r.u32("ParamCipherInfo.DatabaseId")?,
            key: r.u32("ParamCipherInfo.CekId")?,
            key_version: r.u32("ParamCipherInfo.CekVersion")?,
            metadata_version: r.u64("ParamCipherInfo.CekMDVersion")?,
            normalization: r.u8("ParamCipherInfo.NormVersion")?,
        })
    }

    /// Appends it to `out`, after the value of a parameter that has
    /// [`Parameter::ENCRYPTED`] set.
    ///
    /// # Errors
    ///
    /// If something is longer than its field.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        self.info.write(out)?;
        match &self.algorithm_name {
            Some(name) => {
                out.u8(0);
                out.b_varchar(name, "ParamCipherInfo.AlgoName")?;
            }
            None => out.u8(self.algorithm),
        }
        out.u8(self.encryption);
        out.u32(self.database);
        out.u32(self.key);
        out.u32(self.key_version);
        out.u64(self.metadata_version);
        out.u8(self.normalization);
        Ok(())
    }
}

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
