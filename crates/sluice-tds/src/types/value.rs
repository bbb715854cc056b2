use crate::error::WireError;
use crate::types::info::{BytesType, CharType, LongType, NullableType, TypeInfo};
use crate::wire::{Reader, size};

/// A part of a value. Most come whole; values of `(max)` types, `xml`, `json`,
/// CLR types, `text`, `ntext` and `image` come as `Start`, any number of `Data`,
/// `End` (or as `Null`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// NULL.
    Null,
    /// All of it, without its length.
    Whole(&'a [u8]),
    /// A large value begins.
    Start {
        /// Its length, if it is said.
        total: Option<u64>,
    },
    /// What comes next of it; never empty, and cut anywhere.
    Data(&'a [u8]),
    /// It is over.
    End,
}

/// How the values of a type lie on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// No length, no NULL.
    Fixed(u8),
    /// Nothing at all; always NULL.
    Nothing,
    /// One byte of length; zero is NULL.
    Byte(Sizes),
    /// Two bytes of length; 65,535 is NULL.
    Short { max: u16, wide: bool },
    /// Four bytes of length; zero is NULL.
    Variant,
    /// Four bytes of length. In rows a text pointer and a timestamp before it,
    /// and no pointer is NULL; elsewhere 4,294,967,295 is.
    Long { pointer: bool, wide: bool },
    /// Eight bytes of length, then chunks (2.2.5.2.3).
    Partial { wide: bool },
}

/// Which lengths a value with one byte of length may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizes {
    Of(NullableType, u8),
    Exactly(u8),
    Decimal(u8),
    AtMost(u8),
}

/// How much of a value was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    #[default]
    Start,
    /// Of a [`Layout::Long`]: bytes to come.
    Long(u64),
    /// Between chunks.
    Chunks { total: Option<u64>, seen: u64 },
    /// Within a chunk: its bytes to come.
    Chunk { left: u32, total: Option<u64>, seen: u64 },
}

impl Layout {
    /// `row`: of ROW and its like, where a text pointer stands before `text`.
    pub(crate) fn of(info: &TypeInfo, row: bool) -> Self {
        match info {
            TypeInfo::Fixed(kind) if kind.size() == 0 => Self::Nothing,
            TypeInfo::Fixed(kind) => Self::Fixed(kind.size()),
            TypeInfo::Nullable(kind, size) => Self::Byte(Sizes::Of(*kind, *size)),
            TypeInfo::Decimal { size, .. } => Self::Byte(Sizes::Decimal(*size)),
            TypeInfo::Date => Self::Byte(Sizes::Exactly(3)),
            TypeInfo::Time(scale) => Self::Byte(Sizes::Exactly(time_size(*scale))),
            TypeInfo::DateTime2(scale) => Self::Byte(Sizes::Exactly(time_size(*scale) + 3)),
            TypeInfo::DateTimeOffset(scale) => Self::Byte(Sizes::Exactly(time_size(*scale) + 5)),
            TypeInfo::Bytes(kind, size) if kind.is_old() => {
                Self::Byte(Sizes::AtMost(u8::try_from(*size).unwrap_or(u8::MAX)))
            }
            TypeInfo::Bytes(BytesType::BigVarBinary, TypeInfo::MAX) => Self::Partial { wide: false },
            TypeInfo::Bytes(_, size) => Self::Short { max: *size, wide: false },
            TypeInfo::Char { kind: kind @ (CharType::VarChar | CharType::NVarChar), size: TypeInfo::MAX, .. } => {
                Self::Partial { wide: kind.is_wide() }
            }
            TypeInfo::Char { kind, size, .. } => Self::Short { max: *size, wide: kind.is_wide() },
            TypeInfo::Long { kind, .. } => Self::Long { pointer: row, wide: *kind == LongType::NText },
            TypeInfo::Variant(_) => Self::Variant,
            TypeInfo::Xml(_) | TypeInfo::Udt(_) | TypeInfo::Json => Self::Partial { wide: false },
            TypeInfo::Vector { size, .. } => Self::Short { max: *size, wide: false },
        }
    }

    /// Reads the next piece of a value. Says what is left to do, and whether the
    /// value is over. Nothing changes where it fails.
    pub(crate) fn read<'a>(
        self,
        progress: Progress,
        r: &mut Reader<'a>,
    ) -> Result<(Piece<'a>, Option<Progress>), WireError> {
        match progress {
            Progress::Start => self.start(r),
            Progress::Long(0) => Ok((Piece::End, None)),
            Progress::Long(left) => {
                let data = some(left, r, "value")?;
                Ok((Piece::Data(data), Some(Progress::Long(left - data.len() as u64))))
            }
            Progress::Chunks { total, seen } => {
                let left = r.u32("PLP_CHUNK.length")?;
                if total.is_some_and(|total| seen.saturating_add(left.into()) > total) {
                    return Err(r.malformed("PLP_CHUNK.length", left.into(), CHUNKS));
                }
                if left == 0 { self.finish(total, seen, r) } else { chunk(left, total, seen, r) }
            }
            Progress::Chunk { left, total, seen } => chunk(left, total, seen, r),
        }
    }

    fn start<'a>(self, r: &mut Reader<'a>) -> Result<(Piece<'a>, Option<Progress>), WireError> {
        match self {
            Self::Nothing => Ok((Piece::Null, None)),
            Self::Fixed(size) => Ok((Piece::Whole(r.take(size.into(), "value")?), None)),
            Self::Byte(sizes) => match r.u8("value.length")? {
                0 => Ok((Piece::Null, None)),
                length if sizes.allow(length) => Ok((Piece::Whole(r.take(length.into(), "value")?), None)),
                length => Err(r.malformed("value.length", length.into(), "no length that this type has")),
            },
            Self::Short { max, wide } => match r.u16("value.length")? {
                u16::MAX => Ok((Piece::Null, None)),
                length if length > max => {
                    Err(r.malformed("value.length", length.into(), "more than its type declares"))
                }
                length => {
                    even(length.into(), wide, r)?;
                    Ok((Piece::Whole(r.take(length.into(), "value")?), None))
                }
            },
            Self::Variant => match r.u32("value.length")? {
                0 => Ok((Piece::Null, None)),
                length => {
                    r.at_most(size(length), MAX_VARIANT, "sql_variant.length")?;
                    Ok((Piece::Whole(r.take(size(length), "value")?), None))
                }
            },
            Self::Long { pointer, wide } => {
                if pointer {
                    match r.u8("TextPointer.length")? {
                        0 => return Ok((Piece::Null, None)),
                        length => r.take(usize::from(length) + 8, "TextPointer")?,
                    };
                }
                match r.u32("value.length")? {
                    u32::MAX => Ok((Piece::Null, None)),
                    length => {
                        even(length.into(), wide, r)?;
                        Ok((Piece::Start { total: Some(length.into()) }, Some(Progress::Long(length.into()))))
                    }
                }
            }
            Self::Partial { .. } => {
                let total = match r.u64("PLP_BODY.length")? {
                    PLP_NULL => return Ok((Piece::Null, None)),
                    PLP_UNKNOWN => None,
                    total => Some(total),
                };
                Ok((Piece::Start { total }, Some(Progress::Chunks { total, seen: 0 })))
            }
        }
    }

    fn finish<'a>(
        self,
        total: Option<u64>,
        seen: u64,
        r: &Reader<'_>,
    ) -> Result<(Piece<'a>, Option<Progress>), WireError> {
        if total.is_some_and(|total| total != seen) {
            return Err(r.malformed("PLP_BODY.length", seen, CHUNKS));
        }
        even(seen, self == Self::Partial { wide: true }, r)?;
        Ok((Piece::End, None))
    }
}

impl Sizes {
    fn allow(self, length: u8) -> bool {
        match self {
            Self::Of(kind, size) => length <= size && kind.sizes().contains(&length),
            Self::Exactly(size) => length == size,
            Self::Decimal(size) => length <= size && DECIMAL_SIZES.contains(&length),
            Self::AtMost(size) => length <= size,
        }
    }
}

/// The next piece of a chunk that has `left` bytes to come.
fn chunk<'a>(
    left: u32,
    total: Option<u64>,
    seen: u64,
    r: &mut Reader<'a>,
) -> Result<(Piece<'a>, Option<Progress>), WireError> {
    let data = some(left.into(), r, "PLP_CHUNK")?;
    let seen = seen.saturating_add(data.len() as u64);
    let left = left.saturating_sub(u32::try_from(data.len()).unwrap_or(u32::MAX));
    let next = match left {
        0 => Progress::Chunks { total, seen },
        left => Progress::Chunk { left, total, seen },
    };
    Ok((Piece::Data(data), Some(next)))
}

/// What is there of the next `left` bytes, but not nothing.
fn some<'a>(left: u64, r: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], WireError> {
    let there = r.left().max(1);
    r.take_unbounded(usize::try_from(left).unwrap_or(usize::MAX).min(there), field)
}

fn even(length: u64, wide: bool, r: &Reader<'_>) -> Result<(), WireError> {
    if wide && length % 2 == 1 {
        return Err(r.malformed("value.length", length, "UTF-16 has an even number of bytes"));
    }
    Ok(())
}

/// Bytes of a time of day (2.2.5.5.1.9).
pub(super) fn time_size(scale: u8) -> u8 {
    match scale {
        0..=2 => 3,
        3 | 4 => 4,
        _ => 5,
    }
}

const CHUNKS: &str = "chunks are together as long as was said before them";
/// A sign and 4, 8, 12 or 16 bytes.
pub(super) const DECIMAL_SIZES: [u8; 4] = [5, 9, 13, 17];
/// Values have at most 8,000 bytes; what describes them has a few.
pub(super) const MAX_VARIANT: usize = 8016 + 16;
pub(super) const PLP_NULL: u64 = u64::MAX;
pub(super) const PLP_UNKNOWN: u64 = u64::MAX - 1;
