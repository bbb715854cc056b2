//! Types (2.2.5.4, 2.2.5.6) and values (2.2.5.5).

mod info;
mod scalar;
mod value;
mod variant;
mod write;

pub(crate) use info::Place;
pub use info::{
    BytesType, CharType, Collation, DecimalType, FixedType, LongType, NullableType, TypeInfo, UdtInfo, XmlSchema,
};
pub use scalar::Scalar;
pub use value::Piece;
pub(crate) use value::{Layout, Progress};
pub use variant::Variant;
pub use write::{PlpWriter, write_null, write_row, write_value};
