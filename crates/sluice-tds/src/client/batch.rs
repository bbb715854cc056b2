use crate::client::headers::AllHeaders;
use crate::error::{TooLong, WireError};
use crate::limits::Negotiated;
use crate::text::Text;
use crate::wire::{Put, Reader, text};

/// SQL text (2.2.6.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SqlBatch {
    /// Transaction and the like.
    pub headers: AllHeaders,
    /// For the server's enclave; empty where none is needed. Read and written
    /// where [`Negotiated::enclave`] says so.
    pub enclave: Vec<u8>,
    /// What to do.
    pub text: Text,
}

impl SqlBatch {
    /// Reads a message. It has no end of its own, so all of it must be there.
    ///
    /// # Errors
    ///
    /// Wrong headers, or half a UTF-16 unit.
    pub fn parse(payload: &[u8], negotiated: &Negotiated) -> Result<Self, WireError> {
        let mut r = Reader::open(payload, 0);
        let headers = AllHeaders::parse(&mut r)?;
        let enclave = if negotiated.enclave() { r.us_varbyte("EnclavePackage")?.to_vec() } else { Vec::new() };
        let offset = r.offset();
        let text = text(r.rest(), "SQLBatch.SQLText", offset)?;
        Ok(Self { headers, enclave, text })
    }

    /// Appends the message to `out`.
    ///
    /// # Errors
    ///
    /// If something is longer than its field.
    pub fn write(&self, negotiated: &Negotiated, out: &mut Vec<u8>) -> Result<(), TooLong> {
        self.headers.write(out)?;
        if negotiated.enclave() {
            out.us_varbyte(&self.enclave, "EnclavePackage")?;
        }
        self.text.write(out);
        Ok(())
    }
}
