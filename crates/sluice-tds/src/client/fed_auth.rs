use crate::error::{TooLong, WireError};
use crate::secret::Secret;
use crate::wire::{Put, Reader, size};

/// The token that a workflow brought (2.2.6.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FedAuthMessage {
    /// A JWT in UTF-16.
    pub token: Secret,
    /// The server's nonce, if its PRELOGIN had one.
    pub nonce: Option<[u8; 32]>,
}

impl FedAuthMessage {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// If its lengths do not agree.
    pub fn parse(payload: &[u8]) -> Result<Self, WireError> {
        let mut whole = Reader::open(payload, 0);
        let length = size(whole.u32("FEDAUTH.DataLen")?);
        let mut r = whole.inside(length, "FEDAUTH.DataLen")?;
        whole.end("FEDAUTH.DataLen")?;
        let token = Secret::new(r.l_varbyte("FEDAUTH.FedAuthToken")?.to_vec());
        let nonce = if r.left() == 0 { None } else { Some(r.array("FEDAUTH.Nonce")?) };
        r.end("FEDAUTH.DataLen").map(|()| Self { token, nonce })
    }

    /// Appends the message to `out`.
    ///
    /// # Errors
    ///
    /// If the token has 4 GiB or more.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.sized::<u32>("FEDAUTH.DataLen", |out| {
            out.l_varbyte(self.token.expose(), "FEDAUTH.FedAuthToken")?;
            out.bytes(self.nonce.as_ref().map_or(&[], |nonce| nonce.as_slice()));
            Ok(())
        })
    }
}
