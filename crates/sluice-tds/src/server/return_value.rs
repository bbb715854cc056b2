use crate::error::{TooLong, WireError};
use crate::limits::Negotiated;
use crate::server::columns::{CryptoMetadata, ENCRYPTED};
use crate::text::Text;
use crate::types::{Place, TypeInfo};
use crate::wire::{Put, Reader};

/// An output parameter, or what a function returned (2.2.7.19); its value
/// follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnValue {
    /// Which parameter of the call, from zero.
    pub ordinal: u16,
    /// Its name.
    pub name: Text,
    /// 1: of a procedure; 2: of a function.
    pub status: u8,
    /// Number of an alias type.
    pub user_type: u32,
    /// As of columns. Bit 11 (encrypted) is set by writing as `crypto` needs it.
    pub flags: u16,
    /// Its type.
    pub info: TypeInfo,
    /// How it is encrypted.
    pub crypto: Option<CryptoMetadata>,
}

impl ReturnValue {
    pub(super) fn parse(negotiated: &Negotiated, r: &mut Reader<'_>) -> Result<Self, WireError> {
        let ordinal = r.u16("RETURNVALUE.ParamOrdinal")?;
        let name = r.b_varchar("RETURNVALUE.ParamName")?;
        let status = r.u8("RETURNVALUE.Status")?;
        let user_type = r.u32("RETURNVALUE.UserType")?;
        let flags = r.u16("RETURNVALUE.Flags")?;
        let info = TypeInfo::parse(r, Place::Column)?;
        let crypto = if negotiated.column_encryption.is_some() && flags & ENCRYPTED != 0 {
            Some(CryptoMetadata::parse(r, false)?)
        } else {
            None
        };
        Ok(Self { ordinal, name, status, user_type, flags, info, crypto })
    }

    pub(super) fn write_body(&self, negotiated: &Negotiated, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u16(self.ordinal);
        out.b_varchar(&self.name, "RETURNVALUE.ParamName")?;
        out.u8(self.status);
        out.u32(self.user_type);
        let crypto = self.crypto.as_ref().filter(|_| negotiated.column_encryption.is_some());
        out.u16(if crypto.is_some() { self.flags | ENCRYPTED } else { self.flags });
        self.info.write(out)?;
        crypto.map_or(Ok(()), |crypto| crypto.write(out))
    }
}
