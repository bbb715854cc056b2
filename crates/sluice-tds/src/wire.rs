//! Reading and writing of single fields. Every read is checked; nothing is
//! allocated by a length that the wire claims, only by bytes that are there.

use crate::error::{TooLong, WireError};
use crate::text::Text;

/// Reads fields from bytes that it does not own.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of `bytes` in the message.
    base: u64,
    /// Whether the end of `bytes` is the end of what holds the fields. If not,
    /// a field that reaches past it is merely incomplete.
    closed: bool,
    /// How many of `bytes` may be read at most.
    limit: usize,
}

impl<'a> Reader<'a> {
    /// Over bytes that more may follow.
    pub(crate) fn open(bytes: &'a [u8], base: u64) -> Self {
        Self::bounded(bytes, base, usize::MAX)
    }

    /// The same, for something of at most `limit` bytes. What is longer fails by
    /// its length, whether it is there or not.
    pub(crate) fn bounded(bytes: &'a [u8], base: u64, limit: usize) -> Self {
        Self { bytes, at: 0, base, closed: false, limit }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(crate) fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        self.at_most(self.at.saturating_add(count), self.limit, field)?;
        self.take_unbounded(count, field)
    }

    /// Without regard to the limit: for what is not held until the rest is there.
    pub(crate) fn take_unbounded(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        match self.bytes.get(self.at..).and_then(|rest| rest.get(..count)) {
            Some(bytes) => {
                self.at += count;
                Ok(bytes)
            }
            None if self.closed => Err(self.malformed(field, count as u64, "reaches past the end of what holds it")),
            None => {
                let missing = count.saturating_sub(self.left()) as u64;
                Err(WireError::Incomplete { field, offset: self.offset(), missing })
            }
        }
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u16_be(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, WireError> {
        self.array(field).map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A reader over the same bytes, with all of them to come.
    pub(crate) fn clone_at_start(&self) -> Self {
        Self { at: 0, ..self.clone() }
    }

    /// What is left, of a reader whose end is the end.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    /// A reader for the next `count` bytes; nothing in them reaches past them.
    pub(crate) fn inside(&mut self, count: usize, field: &'static str) -> Result<Reader<'a>, WireError> {
        let base = self.offset();
        let bytes = self.take(count, field)?;
        Ok(Reader { bytes, at: 0, base, closed: true, limit: usize::MAX })
    }

    /// Demands that everything was read.
    pub(crate) fn end(&self, field: &'static str) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            left => Err(self.malformed(field, left as u64, "bytes follow the last field")),
        }
    }

    pub(crate) fn text(&mut self, units: usize, field: &'static str) -> Result<Text, WireError> {
        let offset = self.offset();
        let bytes = self.take(units.saturating_mul(2), field)?;
        text(bytes, field, offset)
    }

    pub(crate) fn b_varchar(&mut self, field: &'static str) -> Result<Text, WireError> {
        let units = self.u8(field)?;
        self.text(units.into(), field)
    }

    pub(crate) fn us_varchar(&mut self, field: &'static str) -> Result<Text, WireError> {
        let units = self.u16(field)?;
        self.text(units.into(), field)
    }

    pub(crate) fn b_varbyte(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        let count = self.u8(field)?;
        self.take(count.into(), field)
    }

    pub(crate) fn us_varbyte(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        let count = self.u16(field)?;
        self.take(count.into(), field)
    }

    pub(crate) fn l_varbyte(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        let count = self.u32(field)?;
        self.take(size(count), field)
    }

    pub(crate) fn malformed(&self, field: &'static str, value: u64, rule: &'static str) -> WireError {
        WireError::Malformed { field, offset: self.offset(), value, rule }
    }

    pub(crate) fn too_large(&self, field: &'static str, value: usize, limit: usize) -> WireError {
        WireError::TooLarge { field, offset: self.offset(), value: value as u64, limit: limit as u64 }
    }

    /// `value`, unless it is over `limit`.
    pub(crate) fn at_most(&self, value: usize, limit: usize, field: &'static str) -> Result<usize, WireError> {
        if value > limit { Err(self.too_large(field, value, limit)) } else { Ok(value) }
    }
}

/// UTF-16 of a whole number of units.
pub(crate) fn text(bytes: &[u8], field: &'static str, offset: u64) -> Result<Text, WireError> {
    Text::from_bytes(bytes).ok_or(WireError::Malformed {
        field,
        offset,
        value: bytes.len() as u64,
        rule: "UTF-16 has an even number of bytes",
    })
}

/// A length of 32 bits in the machine's own; all machines of ours have 64.
pub(crate) fn size(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Writes fields. Fails where a length does not fit.
pub(crate) trait Put {
    fn u8(&mut self, value: u8);
    fn u16(&mut self, value: u16);
    fn u16_be(&mut self, value: u16);
    fn u32(&mut self, value: u32);
    fn i32(&mut self, value: i32);
    fn u64(&mut self, value: u64);
    fn bytes(&mut self, value: &[u8]);
    fn b_varchar(&mut self, value: &Text, field: &'static str) -> Result<(), TooLong>;
    fn us_varchar(&mut self, value: &Text, field: &'static str) -> Result<(), TooLong>;
    fn b_varbyte(&mut self, value: &[u8], field: &'static str) -> Result<(), TooLong>;
    fn us_varbyte(&mut self, value: &[u8], field: &'static str) -> Result<(), TooLong>;
    fn l_varbyte(&mut self, value: &[u8], field: &'static str) -> Result<(), TooLong>;
    /// What `body` writes, after its length.
    fn sized<L: Length>(
        &mut self,
        field: &'static str,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), TooLong>,
    ) -> Result<(), TooLong>;
}

impl Put for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn u16_be(&mut self, value: u16) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }

    fn b_varchar(&mut self, value: &Text, field: &'static str) -> Result<(), TooLong> {
        self.u8(fit(value.units().len(), field)?);
        value.write(self);
        Ok(())
    }

    fn us_varchar(&mut self, value: &Text, field: &'static str) -> Result<(), TooLong> {
        self.u16(fit(value.units().len(), field)?);
        value.write(self);
        Ok(())
    }

    fn b_varbyte(&mut self, value: &[u8], field: &'static str) -> Result<(), TooLong> {
        self.u8(fit(value.len(), field)?);
        self.bytes(value);
        Ok(())
    }

    fn us_varbyte(&mut self, value: &[u8], field: &'static str) -> Result<(), TooLong> {
        self.u16(fit(value.len(), field)?);
        self.bytes(value);
        Ok(())
    }

    fn l_varbyte(&mut self, value: &[u8], field: &'static str) -> Result<(), TooLong> {
        self.u32(fit(value.len(), field)?);
        self.bytes(value);
        Ok(())
    }

    fn sized<L: Length>(
        &mut self,
        field: &'static str,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), TooLong>,
    ) -> Result<(), TooLong> {
        let at = self.len();
        self.extend(std::iter::repeat_n(0, L::BYTES));
        body(self)?;
        let length: L = fit(self.len() - at - L::BYTES, field)?;
        for (slot, byte) in self.iter_mut().skip(at).zip(length.bytes()) {
            *slot = byte;
        }
        Ok(())
    }
}

/// An unsigned length as the wire has it.
pub(crate) trait Length: TryFrom<usize> + Copy {
    const BYTES: usize;
    const MAX: usize;
    fn bytes(self) -> impl Iterator<Item = u8>;
}

impl Length for u8 {
    const BYTES: usize = 1;
    const MAX: usize = u8::MAX as usize;
    fn bytes(self) -> impl Iterator<Item = u8> {
        self.to_le_bytes().into_iter()
    }
}

impl Length for u16 {
    const BYTES: usize = 2;
    const MAX: usize = u16::MAX as usize;
    fn bytes(self) -> impl Iterator<Item = u8> {
        self.to_le_bytes().into_iter()
    }
}

impl Length for u32 {
    const BYTES: usize = 4;
    const MAX: usize = u32::MAX as usize;
    fn bytes(self) -> impl Iterator<Item = u8> {
        self.to_le_bytes().into_iter()
    }
}

/// `length`, if its field has room for it.
pub(crate) fn fit<L: Length>(length: usize, field: &'static str) -> Result<L, TooLong> {
    L::try_from(length).map_err(|_| TooLong { field, value: length, limit: L::MAX })
}
