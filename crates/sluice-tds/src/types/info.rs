use crate::error::{TooLong, WireError};
use crate::text::Text;
use crate::wire::{Put, Reader};

/// TYPE_INFO (2.2.5.6): a type as columns and parameters declare it. What
/// belongs together on the wire is one variant; the number of the type is
/// [`TypeInfo::id`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeInfo {
    /// Has one length and no NULL.
    Fixed(FixedType),
    /// One of the lengths of its family, or NULL.
    Nullable(NullableType, u8),
    /// `decimal`, `numeric`.
    Decimal {
        /// Which of the four.
        kind: DecimalType,
        /// Bytes of a value at most.
        size: u8,
        /// Digits: 1 to 38.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `date`.
    Date,
    /// `time`, with its scale.
    Time(u8),
    /// `datetime2`, with its scale.
    DateTime2(u8),
    /// `datetimeoffset`, with its scale.
    DateTimeOffset(u8),
    /// `binary`, `varbinary`, and the types before SQL Server 7. `size` 65,535
    /// in [`BytesType::BigVarBinary`] is `varbinary(max)`.
    Bytes(BytesType, u16),
    /// `char`, `varchar`, `nchar`, `nvarchar`; `size` in bytes, 65,535 is `(max)`.
    Char {
        /// Which of the four.
        kind: CharType,
        /// Bytes at most.
        size: u16,
        /// How it compares, and in `char` and `varchar` how it is encoded.
        collation: Collation,
    },
    /// `text`, `ntext`, `image`.
    Long {
        /// Which of the three.
        kind: LongType,
        /// Bytes at most.
        size: u32,
        /// All but `image` have one.
        collation: Option<Collation>,
    },
    /// `sql_variant`, with its size: see [`Variant`](crate::Variant).
    Variant(u32),
    /// `xml`, with its schema if it has one.
    Xml(Option<XmlSchema>),
    /// A type in the CLR; also `geometry`, `geography`, `hierarchyid`.
    Udt(UdtInfo),
    /// `json`: UTF-8.
    Json,
    /// `vector`.
    Vector {
        /// Bytes at most.
        size: u16,
        /// Type of the elements: 0 is `float32`, 1 is `float16`.
        element: u8,
    },
}

/// Types of one length (2.2.5.4.1).
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FixedType {
    Null = 0x1F,
    TinyInt = 0x30,
    Bit = 0x32,
    SmallInt = 0x34,
    Int = 0x38,
    SmallDateTime = 0x3A,
    Real = 0x3B,
    Money = 0x3C,
    DateTime = 0x3D,
    Float = 0x3E,
    SmallMoney = 0x7A,
    BigInt = 0x7F,
}

/// Families of lengths (2.2.5.4.2).
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NullableType {
    Guid = 0x24,
    Int = 0x26,
    Bit = 0x68,
    Float = 0x6D,
    Money = 0x6E,
    DateTime = 0x6F,
}

/// Exact numbers. The first two are those of before SQL Server 7.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DecimalType {
    OldDecimal = 0x37,
    OldNumeric = 0x3F,
    Decimal = 0x6A,
    Numeric = 0x6C,
}

/// Bytes. The first four have one byte of length, and are those of before SQL
/// Server 7.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BytesType {
    OldVarBinary = 0x25,
    OldVarChar = 0x27,
    OldBinary = 0x2D,
    OldChar = 0x2F,
    BigVarBinary = 0xA5,
    BigBinary = 0xAD,
}

/// Text with a collation.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CharType {
    VarChar = 0xA7,
    Char = 0xAF,
    NVarChar = 0xE7,
    NChar = 0xEF,
}

/// What `(max)` replaced.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LongType {
    Image = 0x22,
    Text = 0x23,
    NText = 0x63,
}

/// COLLATION (2.2.5.1.2): locale, flags, version, sort id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Collation(pub [u8; 5]);

impl Collation {
    /// Locale (LCID), 20 bits.
    pub fn locale(self) -> u32 {
        self.info() & 0x000F_FFFF
    }

    /// Sort order, for collations of SQL Server's own; else zero.
    pub fn sort_id(self) -> u8 {
        let [.., sort_id] = self.0;
        sort_id
    }

    /// Whether `char` and `varchar` are UTF-8.
    pub fn utf8(self) -> bool {
        self.info() & 1 << 26 != 0
    }

    fn info(self) -> u32 {
        let [a, b, c, d, _] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }
}

/// The schema of an `xml` (2.2.5.5.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XmlSchema {
    /// Its database.
    pub database: Text,
    /// Its owner.
    pub schema: Text,
    /// Its name.
    pub collection: Text,
}

/// Which CLR type (2.2.5.5.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdtInfo {
    /// Its database.
    pub database: Text,
    /// Its schema.
    pub schema: Text,
    /// Its name.
    pub name: Text,
    /// Bytes at most, and the assembly: said of columns and return values, not
    /// of parameters.
    pub column: Option<(u16, Text)>,
}

/// Where a type stands; CLR types are described differently in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Column,
    Parameter,
}

impl TypeInfo {
    /// `size` of a type that is `(max)`.
    pub const MAX: u16 = u16::MAX;

    /// The type's number.
    pub fn id(&self) -> u8 {
        match self {
            Self::Fixed(kind) => *kind as u8,
            Self::Nullable(kind, _) => *kind as u8,
            Self::Decimal { kind, .. } => *kind as u8,
            Self::Date => DATE,
            Self::Time(_) => TIME,
            Self::DateTime2(_) => DATETIME2,
            Self::DateTimeOffset(_) => DATETIMEOFFSET,
            Self::Bytes(kind, _) => *kind as u8,
            Self::Char { kind, .. } => *kind as u8,
            Self::Long { kind, .. } => *kind as u8,
            Self::Variant(_) => VARIANT,
            Self::Xml(_) => XML,
            Self::Udt(_) => UDT,
            Self::Json => JSON,
            Self::Vector { .. } => VECTOR,
        }
    }

    pub(crate) fn parse(r: &mut Reader<'_>, place: Place) -> Result<Self, WireError> {
        let id = r.u8("TYPE_INFO")?;
        if let Some(kind) = FixedType::of(id) {
            return Ok(Self::Fixed(kind));
        }
        if let Some(kind) = NullableType::of(id) {
            let size = r.u8("TYPE_INFO.length")?;
            if !kind.sizes().contains(&size) {
                return Err(r.malformed("TYPE_INFO.length", size.into(), "no length of this type"));
            }
            return Ok(Self::Nullable(kind, size));
        }
        if let Some(kind) = CharType::of(id) {
            let size = r.u16("TYPE_INFO.length")?;
            return Ok(Self::Char { kind, size, collation: Collation(r.array("TYPE_INFO.COLLATION")?) });
        }
        if let Some(kind) = BytesType::of(id) {
            let size = if kind.is_old() { r.u8("TYPE_INFO.length")?.into() } else { r.u16("TYPE_INFO.length")? };
            return Ok(Self::Bytes(kind, size));
        }
        if let Some(kind) = DecimalType::of(id) {
            let size = r.u8("TYPE_INFO.length")?;
            r.at_most(size.into(), 17, "TYPE_INFO.length")?;
            let (precision, scale) = (r.u8("TYPE_INFO.PRECISION")?, r.u8("TYPE_INFO.SCALE")?);
            if precision > 38 || scale > precision {
                return Err(r.malformed("TYPE_INFO.SCALE", scale.into(), "scale <= precision <= 38"));
            }
            return Ok(Self::Decimal { kind, size, precision, scale });
        }
        if let Some(kind) = LongType::of(id) {
            let size = r.u32("TYPE_INFO.length")?;
            let collation = match kind {
                LongType::Image => None,
                LongType::Text | LongType::NText => Some(Collation(r.array("TYPE_INFO.COLLATION")?)),
            };
            return Ok(Self::Long { kind, size, collation });
        }
        Ok(match id {
            DATE => Self::Date,
            TIME => Self::Time(scale(r)?),
            DATETIME2 => Self::DateTime2(scale(r)?),
            DATETIMEOFFSET => Self::DateTimeOffset(scale(r)?),
            VARIANT => Self::Variant(r.u32("TYPE_INFO.length")?),
            XML => Self::Xml(XmlSchema::parse(r)?),
            UDT => Self::Udt(UdtInfo::parse(r, place)?),
            JSON => Self::Json,
            VECTOR => Self::Vector { size: r.u16("TYPE_INFO.length")?, element: r.u8("TYPE_INFO.SCALE")? },
            id => return Err(r.malformed("TYPE_INFO", id.into(), "no type of TDS 7.2 to 8.0 that may stand here")),
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u8(self.id());
        match self {
            Self::Fixed(_) | Self::Date | Self::Json => {}
            Self::Nullable(_, size) => out.u8(*size),
            Self::Decimal { size, precision, scale, .. } => out.bytes(&[*size, *precision, *scale]),
            Self::Time(scale) | Self::DateTime2(scale) | Self::DateTimeOffset(scale) => out.u8(*scale),
            Self::Bytes(kind, size) if kind.is_old() => {
                out.u8(crate::wire::fit((*size).into(), "TYPE_INFO.length")?);
            }
            Self::Bytes(_, size) => out.u16(*size),
            Self::Char { size, collation, .. } => {
                out.u16(*size);
                out.bytes(&collation.0);
            }
            Self::Long { size, collation, .. } => {
                out.u32(*size);
                out.bytes(collation.as_ref().map_or(&[], |collation| collation.0.as_slice()));
            }
            Self::Variant(size) => out.u32(*size),
            Self::Xml(None) => out.u8(0),
            Self::Xml(Some(schema)) => {
                out.u8(1);
                out.b_varchar(&schema.database, "XML_INFO.DBNAME")?;
                out.b_varchar(&schema.schema, "XML_INFO.OWNING_SCHEMA")?;
                out.us_varchar(&schema.collection, "XML_INFO.XML_SCHEMA_COLLECTION")?;
            }
            Self::Udt(udt) => udt.write(out)?,
            Self::Vector { size, element } => {
                out.u16(*size);
                out.u8(*element);
            }
        }
        Ok(())
    }
}

impl XmlSchema {
    fn parse(r: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        match r.u8("XML_INFO.SCHEMA_PRESENT")? {
            0 => Ok(None),
            1 => Ok(Some(Self {
                database: r.b_varchar("XML_INFO.DBNAME")?,
                schema: r.b_varchar("XML_INFO.OWNING_SCHEMA")?,
                collection: r.us_varchar("XML_INFO.XML_SCHEMA_COLLECTION")?,
            })),
            other => Err(r.malformed("XML_INFO.SCHEMA_PRESENT", other.into(), "0 or 1")),
        }
    }
}

impl UdtInfo {
    fn parse(r: &mut Reader<'_>, place: Place) -> Result<Self, WireError> {
        let size = match place {
            Place::Column => Some(r.u16("UDT_INFO.MAX_BYTE_SIZE")?),
            Place::Parameter => None,
        };
        let database = r.b_varchar("UDT_INFO.DB_NAME")?;
        let schema = r.b_varchar("UDT_INFO.SCHEMA_NAME")?;
        let name = r.b_varchar("UDT_INFO.TYPE_NAME")?;
        let column = match size {
            Some(size) => Some((size, r.us_varchar("UDT_INFO.ASSEMBLY_QUALIFIED_NAME")?)),
            None => None,
        };
        Ok(Self { database, schema, name, column })
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        if let Some((size, _)) = &self.column {
            out.u16(*size);
        }
        out.b_varchar(&self.database, "UDT_INFO.DB_NAME")?;
        out.b_varchar(&self.schema, "UDT_INFO.SCHEMA_NAME")?;
        out.b_varchar(&self.name, "UDT_INFO.TYPE_NAME")?;
        match &self.column {
            Some((_, assembly)) => out.us_varchar(assembly, "UDT_INFO.ASSEMBLY_QUALIFIED_NAME"),
            None => Ok(()),
        }
    }
}

pub(super) fn scale(r: &mut Reader<'_>) -> Result<u8, WireError> {
    match r.u8("TYPE_INFO.SCALE")? {
        scale @ 0..=7 => Ok(scale),
        scale => Err(r.malformed("TYPE_INFO.SCALE", scale.into(), "0 to 7")),
    }
}

impl FixedType {
    const ALL: [Self; 12] = [
        Self::Null,
        Self::TinyInt,
        Self::Bit,
        Self::SmallInt,
        Self::Int,
        Self::SmallDateTime,
        Self::Real,
        Self::Money,
        Self::DateTime,
        Self::Float,
        Self::SmallMoney,
        Self::BigInt,
    ];

    pub(super) fn of(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == id)
    }

    /// Bytes of a value.
    pub fn size(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::TinyInt | Self::Bit => 1,
            Self::SmallInt => 2,
            Self::Int | Self::SmallDateTime | Self::Real | Self::SmallMoney => 4,
            Self::Money | Self::DateTime | Self::Float | Self::BigInt => 8,
        }
    }
}

impl NullableType {
    const ALL: [Self; 6] = [Self::Guid, Self::Int, Self::Bit, Self::Float, Self::Money, Self::DateTime];

    pub(super) fn of(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == id)
    }

    /// Bytes of a value, but for NULL.
    pub fn sizes(self) -> &'static [u8] {
        match self {
            Self::Guid => &[16],
            Self::Int => &[1, 2, 4, 8],
            Self::Bit => &[1],
            Self::Float | Self::Money | Self::DateTime => &[4, 8],
        }
    }
}

impl DecimalType {
    pub(super) fn of(id: u8) -> Option<Self> {
        [Self::OldDecimal, Self::OldNumeric, Self::Decimal, Self::Numeric].into_iter().find(|kind| *kind as u8 == id)
    }
}

impl BytesType {
    pub(super) fn of(id: u8) -> Option<Self> {
        [Self::OldVarBinary, Self::OldVarChar, Self::OldBinary, Self::OldChar, Self::BigVarBinary, Self::BigBinary]
            .into_iter()
            .find(|kind| *kind as u8 == id)
    }

    /// Whether lengths have one byte.
    pub fn is_old(self) -> bool {
        !matches!(self, Self::BigVarBinary | Self::BigBinary)
    }
}

impl CharType {
    pub(super) fn of(id: u8) -> Option<Self> {
        [Self::VarChar, Self::Char, Self::NVarChar, Self::NChar].into_iter().find(|kind| *kind as u8 == id)
    }

    /// Whether it is UTF-16.
    pub fn is_wide(self) -> bool {
        matches!(self, Self::NVarChar | Self::NChar)
    }
}

impl LongType {
    fn of(id: u8) -> Option<Self> {
        [Self::Image, Self::Text, Self::NText].into_iter().find(|kind| *kind as u8 == id)
    }
}

pub(super) const DATE: u8 = 0x28;
pub(super) const TIME: u8 = 0x29;
pub(super) const DATETIME2: u8 = 0x2A;
pub(super) const DATETIMEOFFSET: u8 = 0x2B;
const VARIANT: u8 = 0x62;
const UDT: u8 = 0xF0;
const XML: u8 = 0xF1;
const JSON: u8 = 0xF4;
const VECTOR: u8 = 0xF5;
