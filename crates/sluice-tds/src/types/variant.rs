use crate::error::{Unwritable, WireError};
use crate::types::info::{
    BytesType, CharType, Collation, DATE, DATETIME2, DATETIMEOFFSET, DecimalType, FixedType, NullableType, TIME,
    TypeInfo, scale,
};
use crate::types::value::{DECIMAL_SIZES, time_size};
use crate::wire::{Put, Reader, fit};

/// What is in a `sql_variant` (2.2.5.5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant<'a> {
    /// Type of the value.
    pub info: TypeInfo,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Variant<'a> {
    /// Reads a value of a `sql_variant` that is not NULL.
    ///
    /// # Errors
    ///
    /// Types that 2.2.5.5.4 does not name, properties and lengths that are not
    /// the type's.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut whole = Reader::open(bytes, 0);
        let r = &mut whole.inside(bytes.len(), "SSVARIANT_INSTANCE")?;
        let id = r.u8("VARIANT_BASETYPE")?;
        let length = r.u8("VARIANT_PROPBYTES")?;
        let mut properties = r.inside(length.into(), "VARIANT_PROPERTIES")?;
        let p = &mut properties;
        let info = if let Some(kind) = FixedType::of(id).filter(|kind| kind.size() > 0) {
            TypeInfo::Fixed(kind)
        } else if let Some(kind) = DecimalType::of(id) {
            let (precision, scale) = (p.u8("VARIANT_PROPERTIES.PRECISION")?, p.u8("VARIANT_PROPERTIES.SCALE")?);
            TypeInfo::Decimal { kind, size: 17, precision, scale }
        } else if let Some(kind) = CharType::of(id) {
            let collation = Collation(p.array("VARIANT_PROPERTIES.COLLATION")?);
            TypeInfo::Char { kind, size: p.u16("VARIANT_PROPERTIES.length")?, collation }
        } else if let Some(kind) = BytesType::of(id).filter(|kind| !kind.is_old()) {
            TypeInfo::Bytes(kind, p.u16("VARIANT_PROPERTIES.length")?)
        } else {
            match id {
                DATE => TypeInfo::Date,
                TIME => TypeInfo::Time(scale(p)?),
                DATETIME2 => TypeInfo::DateTime2(scale(p)?),
                DATETIMEOFFSET => TypeInfo::DateTimeOffset(scale(p)?),
                id if id == NullableType::Guid as u8 => TypeInfo::Nullable(NullableType::Guid, 16),
                id => return Err(r.malformed("VARIANT_BASETYPE", id.into(), "no type that a sql_variant holds")),
            }
        };
        p.end("VARIANT_PROPERTIES")?;
        let value = r.rest();
        if !fits(&info, value.len()) {
            return Err(r.malformed("VARIANT_DATAVAL", value.len() as u64, "no length that this type has"));
        }
        Ok(Self { info, value })
    }

    /// Appends it to `out`, without the length before it.
    ///
    /// # Errors
    ///
    /// If its type is none that a `sql_variant` holds.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Unwritable> {
        let mut properties = Vec::new();
        match &self.info {
            TypeInfo::Fixed(_) | TypeInfo::Date | TypeInfo::Nullable(NullableType::Guid, _) => {}
            TypeInfo::Decimal { precision, scale, .. } => properties.bytes(&[*precision, *scale]),
            TypeInfo::Time(scale) | TypeInfo::DateTime2(scale) | TypeInfo::DateTimeOffset(scale) => {
                properties.u8(*scale);
            }
            TypeInfo::Char { size, collation, .. } => {
                properties.bytes(&collation.0);
                properties.u16(*size);
            }
            TypeInfo::Bytes(kind, size) if !kind.is_old() => properties.u16(*size),
            other => return Err(Unwritable::NotOfType { id: other.id(), rule: "it is not in a sql_variant" }),
        }
        out.u8(self.info.id());
        out.u8(fit(properties.len(), "VARIANT_PROPBYTES")?);
        out.bytes(&properties);
        out.bytes(self.value);
        Ok(())
    }
}

fn fits(info: &TypeInfo, length: usize) -> bool {
    match info {
        TypeInfo::Fixed(kind) => length == usize::from(kind.size()),
        TypeInfo::Nullable(_, size) => length == usize::from(*size),
        TypeInfo::Decimal { .. } => DECIMAL_SIZES.iter().any(|size| length == usize::from(*size)),
        TypeInfo::Date => length == 3,
        TypeInfo::Time(scale) => length == usize::from(time_size(*scale)),
        TypeInfo::DateTime2(scale) => length == usize::from(time_size(*scale)) + 3,
        TypeInfo::DateTimeOffset(scale) => length == usize::from(time_size(*scale)) + 5,
        TypeInfo::Char { kind, .. } => !kind.is_wide() || length.is_multiple_of(2),
        _ => true,
    }
}
