use crate::error::{TooLong, WireError};
use crate::text::Text;
use crate::wire::{Put, Reader};

/// ERROR and INFO (2.2.7.10, 2.2.7.13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its number; 50000 and above are applications'.
    pub number: i32,
    /// Tells apart what has the same number.
    pub state: u8,
    /// Severity: from 11 on an error, from 20 on the end of the connection.
    pub class: u8,
    /// What people read.
    pub text: Text,
    /// The server.
    pub server: Text,
    /// The procedure, if it was in one.
    pub procedure: Text,
    /// Line in the batch or the procedure; zero if there is none.
    pub line: u32,
}

impl Message {
    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let message = Self {
            number: r.i32("ERROR.Number")?,
            state: r.u8("ERROR.State")?,
            class: r.u8("ERROR.Class")?,
            text: r.us_varchar("ERROR.MsgText")?,
            server: r.b_varchar("ERROR.ServerName")?,
            procedure: r.b_varchar("ERROR.ProcName")?,
            line: r.u32("ERROR.LineNumber")?,
        };
        r.end("ERROR.Length").map(|()| message)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.i32(self.number);
        out.u8(self.state);
        out.u8(self.class);
        out.us_varchar(&self.text, "ERROR.MsgText")?;
        out.b_varchar(&self.server, "ERROR.ServerName")?;
        out.b_varchar(&self.procedure, "ERROR.ProcName")?;
        out.u32(self.line);
        Ok(())
    }
}
