use crate::error::WireError;
use crate::server::token::id;
use crate::wire::{Put, Reader};

/// DONE, DONEPROC, DONEINPROC (2.2.7.6 to 2.2.7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which of the three.
    pub kind: DoneKind,
    /// Bits, of which those below are known.
    pub status: u16,
    /// What kind of statement it was; its numbers are the server's.
    pub command: u16,
    /// Rows, if [`Self::COUNT`] is set.
    pub rows: u64,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoneKind {
    /// A statement.
    Done,
    /// A procedure.
    DoneProc,
    /// A statement in a procedure.
    DoneInProc,
}

impl Done {
    /// More results follow.
    pub const MORE: u16 = 0x0001;
    /// It failed.
    pub const ERROR: u16 = 0x0002;
    /// A transaction is open.
    pub const IN_TRANSACTION: u16 = 0x0004;
    /// `rows` is valid.
    pub const COUNT: u16 = 0x0010;
    /// Acknowledges an attention.
    pub const ATTENTION: u16 = 0x0020;
    /// Of one of several calls in a message.
    pub const RPC_IN_BATCH: u16 = 0x0080;
    /// It failed so badly that its result is void.
    pub const SERVER_ERROR: u16 = 0x0100;

    /// Whether all of `bits` are set.
    pub fn has(&self, bits: u16) -> bool {
        self.status & bits == bits
    }

    pub(super) fn parse(kind: DoneKind, r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            kind,
            status: r.u16("DONE.Status")?,
            command: r.u16("DONE.CurCmd")?,
            rows: r.u64("DONE.DoneRowCount")?,
        })
    }

    /// In a bulk load, some drivers count with 4 bytes, as before TDS 7.2; it
    /// is the message's end that tells.
    pub(super) fn parse_short(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            kind: DoneKind::Done,
            status: r.u16("DONE.Status")?,
            command: r.u16("DONE.CurCmd")?,
            rows: r.u32("DONE.DoneRowCount")?.into(),
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.u8(match self.kind {
            DoneKind::Done => id::DONE,
            DoneKind::DoneProc => id::DONEPROC,
            DoneKind::DoneInProc => id::DONEINPROC,
        });
        out.u16(self.status);
        out.u16(self.command);
        out.u64(self.rows);
    }
}
