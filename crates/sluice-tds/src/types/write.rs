use crate::error::{TooLong, Unwritable};
use crate::types::info::TypeInfo;
use crate::types::value::{Layout, PLP_NULL, PLP_UNKNOWN};
use crate::wire::{Put, fit};

/// Writes ROW (2.2.7.20) with these values; `None` is NULL.
///
/// # Errors
///
/// If a value does not fit its column: see [`write_value`].
pub fn write_row<'a>(
    columns: impl IntoIterator<Item = (&'a TypeInfo, Option<&'a [u8]>)>,
    out: &mut Vec<u8>,
) -> Result<(), Unwritable> {
    out.u8(0xD1);
    for (info, value) in columns {
        match value {
            Some(value) => write_value(info, true, value, out)?,
            None => write_null(info, true, out)?,
        }
    }
    Ok(())
}

/// Writes a value with its length. `row`: it stands in a row, where `text`,
/// `ntext` and `image` have a pointer before them (one of zeros is written).
///
/// # Errors
///
/// If it is longer than the length's field can say, or, where there is none,
/// not of the type's only length.
pub fn write_value(info: &TypeInfo, row: bool, value: &[u8], out: &mut Vec<u8>) -> Result<(), Unwritable> {
    match Layout::of(info, row) {
        Layout::Nothing if value.is_empty() => {}
        Layout::Fixed(size) if value.len() == usize::from(size) => out.bytes(value),
        Layout::Fixed(_) | Layout::Nothing => {
            return Err(Unwritable::NotOfType { id: info.id(), rule: "its values have one length" });
        }
        Layout::Byte(_) => out.b_varbyte(value, "value.length")?,
        Layout::Short { .. } => out.us_varbyte(value, "value.length")?,
        Layout::Variant => out.l_varbyte(value, "value.length")?,
        Layout::Long { pointer, .. } => {
            if pointer {
                out.u8(16);
                out.bytes(&[0; 24]);
            }
            out.l_varbyte(value, "value.length")?;
        }
        Layout::Partial { .. } => {
            let plp = PlpWriter::start(Some(value.len() as u64), out);
            plp.chunk(value, out)?;
            plp.end(out);
        }
    }
    Ok(())
}

/// Writes NULL.
///
/// # Errors
///
/// If the type has none.
pub fn write_null(info: &TypeInfo, row: bool, out: &mut Vec<u8>) -> Result<(), Unwritable> {
    match Layout::of(info, row) {
        Layout::Nothing => {}
        Layout::Fixed(_) => return Err(Unwritable::NotOfType { id: info.id(), rule: "it has no NULL" }),
        Layout::Byte(_) => out.u8(0),
        Layout::Short { .. } => out.u16(u16::MAX),
        Layout::Variant => out.u32(0),
        Layout::Long { pointer: true, .. } => out.u8(0),
        Layout::Long { pointer: false, .. } => out.u32(u32::MAX),
        Layout::Partial { .. } => out.u64(PLP_NULL),
    }
    Ok(())
}

/// Writes a large value piece by piece (2.2.5.2.3).
#[derive(Debug)]
#[must_use = "a value that is not ended breaks what follows"]
pub struct PlpWriter(());

impl PlpWriter {
    /// Begins the value; `None`: its length is not known yet.
    pub fn start(total: Option<u64>, out: &mut Vec<u8>) -> Self {
        out.u64(total.unwrap_or(PLP_UNKNOWN));
        Self(())
    }

    /// Writes a piece of it.
    ///
    /// # Errors
    ///
    /// If the piece has 4 GiB or more.
    pub fn chunk(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
        if !bytes.is_empty() {
            out.u32(fit(bytes.len(), "PLP_CHUNK.length")?);
            out.bytes(bytes);
        }
        Ok(())
    }

    /// Ends the value.
    pub fn end(self, out: &mut Vec<u8>) {
        out.u32(0);
    }
}
