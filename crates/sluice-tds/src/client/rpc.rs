use crate::client::table::{END, ROW, TableType};
use crate::error::{TooLong, Unwritable, WireError};
use crate::limits::Negotiated;
use crate::text::Text;
use crate::types::{Place, TypeInfo};
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

    pub(super) fn parse(negotiated: &Negotiated, r: &mut Reader<'_>) -> Result<Self, WireError> {
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
pub(super) const PARAMETER_NAME: u8 = 128;

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
    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
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
