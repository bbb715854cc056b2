use crate::error::{TooLong, WireError};
use crate::login::{SessionStateEntry, parse_states, write_states};
use crate::wire::{Put, Reader, size};

/// What a client must remember to recover the session (2.2.7.21).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// Counts these tokens in the connection.
    pub sequence: u32,
    /// Bit 0: the session can be recovered.
    pub status: u8,
    /// What changed.
    pub states: Vec<SessionStateEntry>,
}

impl SessionState {
    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let length = size(r.u32("SESSIONSTATE.Length")?);
        let mut r = r.inside(length, "SESSIONSTATE.Length")?;
        Ok(Self {
            sequence: r.u32("SESSIONSTATE.SeqNo")?,
            status: r.u8("SESSIONSTATE.Status")?,
            states: parse_states(&mut r)?,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u32(self.sequence);
        out.u8(self.status);
        write_states(&self.states, out)
    }
}
