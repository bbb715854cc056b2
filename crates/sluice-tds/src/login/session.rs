use crate::error::{TooLong, WireError};
use crate::wire::{Put, Reader, fit, size};

/// One piece of a session's state (2.2.7.21), opaque to all but the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStateEntry {
    /// Which; 0xFF is reserved.
    pub id: u8,
    /// Its value.
    pub value: Vec<u8>,
}

/// SessionStateDataSet: entries up to the end of what holds them.
pub(crate) fn parse_states(reader: &mut Reader<'_>) -> Result<Vec<SessionStateEntry>, WireError> {
    let mut states = Vec::new();
    while reader.left() > 0 {
        let id = reader.u8("SessionState.StateId")?;
        let length = match reader.u8("SessionState.StateLen")? {
            0xFF => size(reader.u32("SessionState.StateLen")?),
            length => length.into(),
        };
        states.push(SessionStateEntry { id, value: reader.take(length, "SessionState.StateValue")?.to_vec() });
    }
    Ok(states)
}

pub(crate) fn write_states(states: &[SessionStateEntry], out: &mut Vec<u8>) -> Result<(), TooLong> {
    for state in states {
        out.u8(state.id);
        match u8::try_from(state.value.len()) {
            Ok(length) if length < 0xFF => out.u8(length),
            _ => {
                out.u8(0xFF);
                out.u32(fit(state.value.len(), "SessionState.StateLen")?);
            }
        }
        out.bytes(&state.value);
    }
    Ok(())
}
