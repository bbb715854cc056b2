use crate::error::{Unwritable, WireError};
use crate::text::Text;
use crate::types::info::{Collation, FixedType, NullableType, TypeInfo};
use crate::types::value::time_size;
use crate::wire::{Put, Reader, text};

/// What a value means (2.2.5.5.1). For values that come whole; of large ones
/// the bytes themselves are what they mean.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// `bit`.
    Bit(bool),
    /// `tinyint` (unsigned), `smallint`, `int`, `bigint`.
    Int(i64),
    /// `real`.
    Real(f32),
    /// `float`.
    Float(f64),
    /// `decimal`, `numeric`.
    Decimal {
        /// Below zero.
        negative: bool,
        /// All digits.
        digits: u128,
        /// How many of them stand after the point.
        scale: u8,
    },
    /// `money`, `smallmoney`: in ten-thousandths.
    Money(i64),
    /// `uniqueidentifier` as it lies on the wire: the first three groups with
    /// their bytes reversed.
    Guid([u8; 16]),
    /// `smalldatetime`: days since 1900-01-01, and minutes.
    SmallDateTime(u16, u16),
    /// `datetime`: days since 1900-01-01, and three-hundredths of a second.
    DateTime(i32, u32),
    /// `date`: days since 0001-01-01.
    Date(u32),
    /// `time`: in units of 100 ns.
    Time(u64),
    /// `datetime2`: both.
    DateTime2(u32, u64),
    /// `datetimeoffset`: both, in UTC, and minutes that local time is ahead.
    DateTimeOffset(u32, u64, i16),
    /// `char`, `varchar`: in the code page of the collation.
    Narrow(&'a [u8], Collation),
    /// `nchar`, `nvarchar`.
    Wide(Text),
    /// `binary`, `varbinary`, `vector`, and types of before SQL Server 7.
    Bytes(&'a [u8]),
}

impl<'a> Scalar<'a> {
    /// Reads a value that is not NULL.
    ///
    /// # Errors
    ///
    /// If the bytes are none of the type's values, or the type's values are
    /// large (or `sql_variant`, for which there is [`Variant`](crate::Variant)).
    pub fn parse(info: &TypeInfo, value: &'a [u8]) -> Result<Self, WireError> {
        let r = &mut Reader::open(value, 0).inside(value.len(), "value")?;
        let scalar = match info {
            TypeInfo::Fixed(kind) => fixed(*kind, r)?,
            TypeInfo::Nullable(kind, _) => nullable(*kind, value.len(), r)?,
            TypeInfo::Decimal { scale, .. } => decimal(*scale, r)?,
            TypeInfo::Date => Self::Date(date(r)?),
            TypeInfo::Time(scale) => Self::Time(time(*scale, r)?),
            TypeInfo::DateTime2(scale) => {
                let time = time(*scale, r)?;
                Self::DateTime2(date(r)?, time)
            }
            TypeInfo::DateTimeOffset(scale) => {
                let time = time(*scale, r)?;
                let date = date(r)?;
                let minutes = r.array("datetimeoffset.offset").map(i16::from_le_bytes)?;
                if minutes.unsigned_abs() > 14 * 60 {
                    let value = u64::from(minutes.unsigned_abs());
                    return Err(r.malformed("datetimeoffset.offset", value, "at most 840 minutes"));
                }
                Self::DateTimeOffset(date, time, minutes)
            }
            TypeInfo::Char { kind, .. } if kind.is_wide() => Self::Wide(text(r.rest(), "value", 0)?),
            TypeInfo::Char { collation, .. } => Self::Narrow(r.rest(), *collation),
            TypeInfo::Bytes(..) | TypeInfo::Vector { .. } => Self::Bytes(r.rest()),
            other => return Err(r.malformed("TYPE_INFO", other.id().into(), "no type whose values come whole")),
        };
        r.end("value").map(|()| scalar)
    }

    /// Appends the value as `info` has it, without its length: what
    /// [`write_value`](crate::write_value) takes.
    ///
    /// # Errors
    ///
    /// If it is no value of the type: of another kind, or too large for it.
    pub fn write(&self, info: &TypeInfo, out: &mut Vec<u8>) -> Result<(), Unwritable> {
        let unlike = |rule| Unwritable::NotOfType { id: info.id(), rule };
        let range = |_| unlike("out of its range");
        match (self, info) {
            (Self::Bit(bit), TypeInfo::Fixed(FixedType::Bit) | TypeInfo::Nullable(NullableType::Bit, _)) => {
                out.u8(u8::from(*bit));
            }
            (Self::Int(value), TypeInfo::Fixed(FixedType::TinyInt) | TypeInfo::Nullable(NullableType::Int, 1)) => {
                out.u8(u8::try_from(*value).map_err(range)?);
            }
            (Self::Int(value), TypeInfo::Fixed(FixedType::SmallInt) | TypeInfo::Nullable(NullableType::Int, 2)) => {
                out.bytes(&i16::try_from(*value).map_err(range)?.to_le_bytes());
            }
            (Self::Int(value), TypeInfo::Fixed(FixedType::Int) | TypeInfo::Nullable(NullableType::Int, 4)) => {
                out.i32(i32::try_from(*value).map_err(range)?);
            }
            (Self::Int(value), TypeInfo::Fixed(FixedType::BigInt) | TypeInfo::Nullable(NullableType::Int, _)) => {
                out.bytes(&value.to_le_bytes());
            }
            (Self::Real(value), TypeInfo::Fixed(FixedType::Real) | TypeInfo::Nullable(NullableType::Float, 4)) => {
                out.bytes(&value.to_le_bytes());
            }
            (Self::Float(value), TypeInfo::Fixed(FixedType::Float) | TypeInfo::Nullable(NullableType::Float, 8)) => {
                out.bytes(&value.to_le_bytes());
            }
            (
                Self::Money(value),
                TypeInfo::Fixed(FixedType::SmallMoney) | TypeInfo::Nullable(NullableType::Money, 4),
            ) => {
                out.i32(i32::try_from(*value).map_err(range)?);
            }
            (Self::Money(value), TypeInfo::Fixed(FixedType::Money) | TypeInfo::Nullable(NullableType::Money, 8)) => {
                let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
                out.bytes(&[e, f, g, h, a, b, c, d]);
            }
            (
                Self::SmallDateTime(days, minutes),
                TypeInfo::Fixed(FixedType::SmallDateTime) | TypeInfo::Nullable(NullableType::DateTime, 4),
            ) => {
                out.u16(*days);
                out.u16(*minutes);
            }
            (
                Self::DateTime(days, thirds),
                TypeInfo::Fixed(FixedType::DateTime) | TypeInfo::Nullable(NullableType::DateTime, 8),
            ) => {
                out.i32(*days);
                out.u32(*thirds);
            }
            (Self::Guid(guid), TypeInfo::Nullable(NullableType::Guid, _)) => out.bytes(guid),
            (Self::Decimal { negative, digits, scale }, TypeInfo::Decimal { size, scale: declared, .. })
                if scale == declared =>
            {
                let bytes = digits.to_le_bytes();
                let used = usize::from(*size).saturating_sub(1).min(bytes.len());
                if bytes.iter().skip(used).any(|byte| *byte != 0) {
                    return Err(unlike("more digits than it has"));
                }
                out.u8(u8::from(!negative));
                out.bytes(bytes.get(..used).unwrap_or_default());
            }
            (Self::Date(days), TypeInfo::Date) => write_date(*days, out).ok_or_else(|| unlike(DATES))?,
            (Self::Time(ticks), TypeInfo::Time(scale)) => {
                write_time(*ticks, *scale, out).ok_or_else(|| unlike(TIMES))?
            }
            (Self::DateTime2(days, ticks), TypeInfo::DateTime2(scale)) => {
                write_time(*ticks, *scale, out).ok_or_else(|| unlike(TIMES))?;
                write_date(*days, out).ok_or_else(|| unlike(DATES))?;
            }
            (Self::DateTimeOffset(days, ticks, minutes), TypeInfo::DateTimeOffset(scale)) => {
                write_time(*ticks, *scale, out).ok_or_else(|| unlike(TIMES))?;
                write_date(*days, out).ok_or_else(|| unlike(DATES))?;
                out.bytes(&minutes.to_le_bytes());
            }
            (Self::Wide(text), TypeInfo::Char { kind, size, .. })
                if kind.is_wide() && text.units().len() <= usize::from(*size) / 2 =>
            {
                text.write(out);
            }
            (Self::Narrow(bytes, _), TypeInfo::Char { kind, size, .. })
                if !kind.is_wide() && bytes.len() <= usize::from(*size) =>
            {
                out.bytes(bytes);
            }
            (Self::Bytes(bytes), TypeInfo::Bytes(_, size) | TypeInfo::Vector { size, .. })
                if bytes.len() <= usize::from(*size) =>
            {
                out.bytes(bytes);
            }
            _ => return Err(unlike("of another type, or longer than declared")),
        }
        Ok(())
    }
}

fn fixed<'a>(kind: FixedType, r: &mut Reader<'_>) -> Result<Scalar<'a>, WireError> {
    Ok(match kind {
        FixedType::Null => return Err(r.malformed("TYPE_INFO", kind as u64, "this type has NULL alone")),
        FixedType::TinyInt => Scalar::Int(r.u8("tinyint")?.into()),
        FixedType::Bit => Scalar::Bit(r.u8("bit")? != 0),
        FixedType::SmallInt => Scalar::Int(r.array("smallint").map(i16::from_le_bytes)?.into()),
        FixedType::Int => Scalar::Int(r.i32("int")?.into()),
        FixedType::BigInt => Scalar::Int(r.array("bigint").map(i64::from_le_bytes)?),
        FixedType::Real => Scalar::Real(r.array("real").map(f32::from_le_bytes)?),
        FixedType::Float => Scalar::Float(r.array("float").map(f64::from_le_bytes)?),
        FixedType::SmallMoney => Scalar::Money(r.i32("smallmoney")?.into()),
        FixedType::Money => {
            // The upper half comes first.
            let [e, f, g, h, a, b, c, d] = r.array("money")?;
            Scalar::Money(i64::from_le_bytes([a, b, c, d, e, f, g, h]))
        }
        FixedType::SmallDateTime => {
            let (days, minutes) = (r.u16("smalldatetime.days")?, r.u16("smalldatetime.minutes")?);
            if minutes >= 24 * 60 {
                return Err(r.malformed("smalldatetime.minutes", minutes.into(), "a day has 1440 minutes"));
            }
            Scalar::SmallDateTime(days, minutes)
        }
        FixedType::DateTime => {
            let (days, thirds) = (r.i32("datetime.days")?, r.u32("datetime.time")?);
            if thirds >= 24 * 60 * 60 * 300 {
                return Err(r.malformed("datetime.time", thirds.into(), "a day has 25920000 of these"));
            }
            Scalar::DateTime(days, thirds)
        }
    })
}

fn nullable<'a>(kind: NullableType, length: usize, r: &mut Reader<'_>) -> Result<Scalar<'a>, WireError> {
    let kind = match (kind, length) {
        (NullableType::Guid, _) => return r.array("uniqueidentifier").map(Scalar::Guid),
        (NullableType::Bit, 1) => FixedType::Bit,
        (NullableType::Int, 1) => FixedType::TinyInt,
        (NullableType::Int, 2) => FixedType::SmallInt,
        (NullableType::Int, 4) => FixedType::Int,
        (NullableType::Int, 8) => FixedType::BigInt,
        (NullableType::Float, 4) => FixedType::Real,
        (NullableType::Float, 8) => FixedType::Float,
        (NullableType::Money, 4) => FixedType::SmallMoney,
        (NullableType::Money, 8) => FixedType::Money,
        (NullableType::DateTime, 4) => FixedType::SmallDateTime,
        (NullableType::DateTime, 8) => FixedType::DateTime,
        _ => return Err(r.malformed("value.length", length as u64, "no length that this type has")),
    };
    fixed(kind, r)
}

fn decimal<'a>(scale: u8, r: &mut Reader<'_>) -> Result<Scalar<'a>, WireError> {
    let negative = match r.u8("decimal.sign")? {
        0 => true,
        1 => false,
        sign => return Err(r.malformed("decimal.sign", sign.into(), "0 below zero, else 1")),
    };
    let bytes = r.rest();
    if bytes.len() > 16 {
        return Err(r.malformed("decimal", bytes.len() as u64, "digits have at most 16 bytes"));
    }
    let digits = bytes.iter().rev().fold(0, |digits, byte| digits << 8 | u128::from(*byte));
    Ok(Scalar::Decimal { negative, digits, scale })
}

fn date(r: &mut Reader<'_>) -> Result<u32, WireError> {
    let [a, b, c] = r.array("date")?;
    match u32::from_le_bytes([a, b, c, 0]) {
        days @ 0..=LAST_DAY => Ok(days),
        days => Err(r.malformed("date", days.into(), DATES)),
    }
}

fn write_date(days: u32, out: &mut Vec<u8>) -> Option<()> {
    (days <= LAST_DAY).then(|| out.extend(days.to_le_bytes().into_iter().take(3)))
}

fn time(scale: u8, r: &mut Reader<'_>) -> Result<u64, WireError> {
    let bytes = r.take(time_size(scale).into(), "time")?;
    let units = bytes.iter().rev().fold(0, |units, byte| units << 8 | u64::from(*byte));
    match units.checked_mul(unit(scale)) {
        Some(ticks) if ticks < DAY => Ok(ticks),
        _ => Err(r.malformed("time", units, TIMES)),
    }
}

fn write_time(ticks: u64, scale: u8, out: &mut Vec<u8>) -> Option<()> {
    let sound = ticks < DAY && ticks.is_multiple_of(unit(scale));
    sound.then(|| out.extend((ticks / unit(scale)).to_le_bytes().into_iter().take(time_size(scale).into())))
}

/// Ticks of 100 ns in a unit of this scale.
fn unit(scale: u8) -> u64 {
    10_u64.pow(u32::from(7_u8.saturating_sub(scale)))
}

/// Days from 0001-01-01 to 9999-12-31.
const LAST_DAY: u32 = 3_652_058;
/// Ticks of 100 ns in a day.
const DAY: u64 = 864_000_000_000;
const DATES: &str = "dates end with 9999-12-31";
const TIMES: &str = "a time of day is a whole number of its units, and shorter than a day";
