use crate::error::{TooLong, WireError};
use crate::limits::Negotiated;
use crate::server::order::{parse_name, write_name};
use crate::text::Text;
use crate::types::{Layout, Place, TypeInfo};
use crate::wire::{Put, Reader, fit};

/// The columns of a result or of a bulk load (2.2.7.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColMetadata {
    /// Keys of encrypted columns. Read and written where COLUMNENCRYPTION was
    /// acknowledged, even if there are none.
    pub keys: Vec<EncryptionKey>,
    /// The columns.
    pub columns: Vec<Column>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Number of an alias type.
    pub user_type: u32,
    /// Bits, of which those below are known. Bit 11 (encrypted) is set by
    /// writing as `crypto` needs it.
    pub flags: u16,
    /// Its type; of an encrypted column, that of the ciphertext.
    pub info: TypeInfo,
    /// Its table by parts: of `text`, `ntext` and `image`, and of those only.
    pub table: Vec<Text>,
    /// How it is encrypted.
    pub crypto: Option<CryptoMetadata>,
    /// Its name.
    pub name: Text,
}

impl Column {
    /// May be NULL.
    pub const NULLABLE: u16 = 0x0001;
    /// Is an identity.
    pub const IDENTITY: u16 = 0x0010;
    /// Is computed.
    pub const COMPUTED: u16 = 0x0020;
    /// Is encrypted.
    pub const ENCRYPTED: u16 = ENCRYPTED;
    /// Was not asked for.
    pub const HIDDEN: u16 = 0x2000;
    /// Is part of the key.
    pub const KEY: u16 = 0x4000;
}

pub(super) const ENCRYPTED: u16 = 0x0800;

/// How a column is encrypted (2.2.7.4, CryptoMetadata).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CryptoMetadata {
    /// Which of the keys; in return values there is none.
    pub key: Option<u16>,
    /// Number of an alias type.
    pub user_type: u32,
    /// Type of the plain text.
    pub info: TypeInfo,
    /// Algorithm; zero is a custom one.
    pub algorithm: u8,
    /// Name of a custom one.
    pub algorithm_name: Option<Text>,
    /// 1: deterministic, 2: randomised.
    pub encryption: u8,
    /// How plain text is normalised.
    pub normalization: u8,
}

/// A column encryption key (2.2.5.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionKey {
    /// Its database.
    pub database: u32,
    /// Its number.
    pub id: u32,
    /// Its version.
    pub version: u32,
    /// Version of its metadata.
    pub metadata_version: u64,
    /// The key, under one master key or several.
    pub values: Vec<EncryptionKeyValue>,
}

/// A key under a master key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionKeyValue {
    /// The encrypted key.
    pub encrypted: Vec<u8>,
    /// Where the master key is.
    pub store: Text,
    /// Where in it.
    pub path: Text,
    /// How the key is encrypted.
    pub algorithm: Text,
}

/// The columns of totals (2.2.7.1). Servers before SQL Server 2012 send them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AltMetadata {
    /// Which statement; its rows name it.
    pub id: u16,
    /// Columns that it groups by.
    pub by: Vec<u16>,
    /// The totals.
    pub columns: Vec<AltColumn>,
}

/// One total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltColumn {
    /// What it computes: 0x4D is SUM, ...
    pub operator: u8,
    /// Over which column.
    pub operand: u16,
    /// Number of an alias type.
    pub user_type: u32,
    /// As of [`Column::flags`].
    pub flags: u16,
    /// Its type.
    pub info: TypeInfo,
    /// Its table, as of [`Column::table`].
    pub table: Vec<Text>,
    /// Its name.
    pub name: Text,
}

impl ColMetadata {
    pub(crate) fn layouts(&self) -> Vec<Layout> {
        self.columns.iter().map(|column| Layout::of(&column.info, true)).collect()
    }

    pub(super) fn write(&self, negotiated: &Negotiated, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let count: u16 = fit(self.columns.len(), "COLMETADATA.Count")?;
        if count == u16::MAX {
            return Err(TooLong { field: "COLMETADATA.Count", value: count.into(), limit: usize::from(u16::MAX) - 1 });
        }
        out.u16(count);
        let encrypted = negotiated.column_encryption.is_some();
        if encrypted {
            out.u16(fit(self.keys.len(), "COLMETADATA.EkValueCount")?);
            self.keys.iter().try_for_each(|key| key.write(out))?;
        }
        self.columns.iter().try_for_each(|column| column.write(encrypted, out))
    }
}

/// COLMETADATA as far as it was read: it has no length, and may be large.
#[derive(Debug)]
pub(super) struct ColumnsReader {
    encrypted: bool,
    /// Columns and keys to come.
    columns: u16,
    keys: u16,
    read: ColMetadata,
}

impl ColumnsReader {
    /// After Count and EkValueCount; `None`: no metadata.
    pub(super) fn start(negotiated: &Negotiated, limit: usize, r: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        let columns = r.u16("COLMETADATA.Count")?;
        if columns == u16::MAX {
            return Ok(None);
        }
        r.at_most(columns.into(), limit, "COLMETADATA.Count")?;
        let encrypted = negotiated.column_encryption.is_some();
        let keys = if encrypted { r.u16("COLMETADATA.EkValueCount")? } else { 0 };
        r.at_most(keys.into(), limit, "COLMETADATA.EkValueCount")?;
        Ok(Some(Self { encrypted, columns, keys, read: ColMetadata::default() }))
    }

    /// Reads one key or column; `Some` when all are read.
    pub(super) fn step(&mut self, r: &mut Reader<'_>) -> Result<Option<ColMetadata>, WireError> {
        if self.keys > 0 {
            self.read.keys.push(EncryptionKey::parse(r)?);
            self.keys -= 1;
        } else if self.columns > 0 {
            self.read.columns.push(Column::parse(self.encrypted, self.read.keys.len(), r)?);
            self.columns -= 1;
        }
        Ok((self.keys == 0 && self.columns == 0).then(|| std::mem::take(&mut self.read)))
    }
}

impl Column {
    fn parse(encrypted: bool, keys: usize, r: &mut Reader<'_>) -> Result<Self, WireError> {
        let user_type = r.u32("COLMETADATA.UserType")?;
        let flags = r.u16("COLMETADATA.Flags")?;
        let info = TypeInfo::parse(r, Place::Column)?;
        let table = if has_table(&info) { parse_name(r)? } else { Vec::new() };
        let crypto = if encrypted && flags & ENCRYPTED != 0 { Some(CryptoMetadata::parse(r, true)?) } else { None };
        if let Some(key) = crypto.as_ref().and_then(|crypto| crypto.key).filter(|key| usize::from(*key) >= keys) {
            return Err(r.malformed("CryptoMetadata.Ordinal", key.into(), "names a key of the token's table"));
        }
        Ok(Self { user_type, flags, info, table, crypto, name: r.b_varchar("COLMETADATA.ColName")? })
    }

    fn write(&self, encrypted: bool, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u32(self.user_type);
        let crypto = self.crypto.as_ref().filter(|_| encrypted);
        out.u16(if crypto.is_some() { self.flags | ENCRYPTED } else { self.flags });
        self.info.write(out)?;
        if has_table(&self.info) {
            write_name(&self.table, out)?;
        }
        if let Some(crypto) = crypto {
            crypto.write(out)?;
        }
        out.b_varchar(&self.name, "COLMETADATA.ColName")
    }
}

fn has_table(info: &TypeInfo) -> bool {
    matches!(info, TypeInfo::Long { .. })
}

impl CryptoMetadata {
    pub(super) fn parse(r: &mut Reader<'_>, column: bool) -> Result<Self, WireError> {
        let key = if column { Some(r.u16("CryptoMetadata.Ordinal")?) } else { None };
        let user_type = r.u32("CryptoMetadata.UserType")?;
        let info = TypeInfo::parse(r, Place::Column)?;
        let algorithm = r.u8("CryptoMetadata.EncryptionAlgo")?;
        let algorithm_name = if algorithm == 0 { Some(r.b_varchar("CryptoMetadata.AlgoName")?) } else { None };
        Ok(Self {
            key,
            user_type,
            info,
            algorithm,
            algorithm_name,
            encryption: r.u8("CryptoMetadata.EncryptionAlgoType")?,
            normalization: r.u8("CryptoMetadata.NormVersion")?,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        if let Some(key) = self.key {
            out.u16(key);
        }
        out.u32(self.user_type);
        self.info.write(out)?;
        match &self.algorithm_name {
            Some(name) => {
                out.u8(0);
                out.b_varchar(name, "CryptoMetadata.AlgoName")?;
            }
            None => out.u8(self.algorithm),
        }
        out.u8(self.encryption);
        out.u8(self.normalization);
        Ok(())
    }
}

impl EncryptionKey {
    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut key = Self {
            database: r.u32("EK_INFO.DatabaseId")?,
            id: r.u32("EK_INFO.CekId")?,
            version: r.u32("EK_INFO.CekVersion")?,
            metadata_version: r.u64("EK_INFO.CekMDVersion")?,
            values: Vec::new(),
        };
        for _ in 0..r.u8("EK_INFO.Count")? {
            key.values.push(EncryptionKeyValue {
                encrypted: r.us_varbyte("EK_INFO.EncryptedKey")?.to_vec(),
                store: r.b_varchar("EK_INFO.KeyStoreName")?,
                path: r.us_varchar("EK_INFO.KeyPath")?,
                algorithm: r.b_varchar("EK_INFO.AsymmetricAlgo")?,
            });
        }
        Ok(key)
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u32(self.database);
        out.u32(self.id);
        out.u32(self.version);
        out.u64(self.metadata_version);
        out.u8(fit(self.values.len(), "EK_INFO.Count")?);
        for value in &self.values {
            out.us_varbyte(&value.encrypted, "EK_INFO.EncryptedKey")?;
            out.b_varchar(&value.store, "EK_INFO.KeyStoreName")?;
            out.us_varchar(&value.path, "EK_INFO.KeyPath")?;
            out.b_varchar(&value.algorithm, "EK_INFO.AsymmetricAlgo")?;
        }
        Ok(())
    }
}

impl AltMetadata {
    pub(super) fn layouts(&self) -> Vec<Layout> {
        self.columns.iter().map(|column| Layout::of(&column.info, true)).collect()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u16(fit(self.columns.len(), "ALTMETADATA.Count")?);
        out.u16(self.id);
        out.u8(fit(self.by.len(), "ALTMETADATA.ByCols")?);
        self.by.iter().for_each(|column| out.u16(*column));
        self.columns.iter().try_for_each(|column| column.write(out))
    }
}

/// ALTMETADATA as far as it was read.
#[derive(Debug)]
pub(super) struct AltReader {
    columns: u16,
    read: AltMetadata,
}

impl AltReader {
    pub(super) fn start(limit: usize, r: &mut Reader<'_>) -> Result<Self, WireError> {
        let columns = r.u16("ALTMETADATA.Count")?;
        r.at_most(columns.into(), limit, "ALTMETADATA.Count")?;
        let id = r.u16("ALTMETADATA.Id")?;
        let by = (0..r.u8("ALTMETADATA.ByCols")?).map(|_| r.u16("ALTMETADATA.ColNum")).collect::<Result<_, _>>()?;
        Ok(Self { columns, read: AltMetadata { id, by, columns: Vec::new() } })
    }

    pub(super) fn step(&mut self, r: &mut Reader<'_>) -> Result<Option<AltMetadata>, WireError> {
        if self.columns > 0 {
            self.read.columns.push(AltColumn::parse(r)?);
            self.columns -= 1;
        }
        Ok((self.columns == 0).then(|| std::mem::take(&mut self.read)))
    }
}

impl AltColumn {
    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (operator, operand) = (r.u8("ALTMETADATA.Op")?, r.u16("ALTMETADATA.Operand")?);
        let (user_type, flags) = (r.u32("ALTMETADATA.UserType")?, r.u16("ALTMETADATA.Flags")?);
        let info = TypeInfo::parse(r, Place::Column)?;
        let table = if has_table(&info) { parse_name(r)? } else { Vec::new() };
        Ok(Self { operator, operand, user_type, flags, info, table, name: r.b_varchar("ALTMETADATA.ColName")? })
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u8(self.operator);
        out.u16(self.operand);
        out.u32(self.user_type);
        out.u16(self.flags);
        self.info.write(out)?;
        if has_table(&self.info) {
            write_name(&self.table, out)?;
        }
        out.b_varchar(&self.name, "ALTMETADATA.ColName")
    }
}
