//! Session multiplexing (MC-SMP): the frames under TDS when MARS is on. Each
//! session's data is a stream of TDS packets of its own.

use std::fmt;

use crate::error::WireError;

/// What a frame does (MC-SMP 2.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Control {
    /// Opens a session.
    Syn = 0x01,
    /// Acknowledges, and moves the window.
    Ack = 0x02,
    /// Closes a session.
    Fin = 0x04,
    /// Carries data.
    Data = 0x08,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame does.
    pub control: Control,
    /// Whose it is.
    pub session: u16,
    /// Bytes of the frame, this header included.
    pub length: u32,
    /// Counts the session's data frames.
    pub sequence: u32,
    /// Highest sequence number that the sender is ready to take.
    pub window: u32,
}

impl Header {
    /// Bytes of a header.
    pub const BYTES: usize = 16;
    /// First byte of each frame.
    const MARK: u8 = 0x53;

    /// The header of a frame with `data` bytes; `None` if a frame cannot carry
    /// so much, or if it is not of a kind that carries any.
    pub fn new(control: Control, session: u16, data: usize, sequence: u32, window: u32) -> Option<Self> {
        let length = u32::try_from(data.checked_add(Self::BYTES)?).ok()?;
        (data == 0 || control == Control::Data).then_some(Self { control, session, length, sequence, window })
    }

    /// Bytes of data that follow the header.
    pub fn data(&self) -> usize {
        crate::wire::size(self.length).saturating_sub(Self::BYTES)
    }

    /// As it goes on the wire.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let [s0, s1] = self.session.to_le_bytes();
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        let [q0, q1, q2, q3] = self.sequence.to_le_bytes();
        let [w0, w1, w2, w3] = self.window.to_le_bytes();
        [Self::MARK, self.control as u8, s0, s1, l0, l1, l2, l3, q0, q1, q2, q3, w0, w1, w2, w3]
    }

    fn parse(bytes: [u8; Self::BYTES], offset: u64, limit: usize) -> Result<Self, WireError> {
        let [mark, flags, s0, s1, l0, l1, l2, l3, q0, q1, q2, q3, w0, w1, w2, w3] = bytes;
        let malformed = |field, at, value, rule| Err(WireError::Malformed { field, offset: offset + at, value, rule });
        if mark != Self::MARK {
            return malformed("SMP.SMID", 0, mark.into(), "each frame begins with 0x53");
        }
        let control = match flags {
            0x01 => Control::Syn,
            0x02 => Control::Ack,
            0x04 => Control::Fin,
            0x08 => Control::Data,
            _ => return malformed("SMP.FLAGS", 1, flags.into(), "exactly one of SYN, ACK, FIN and DATA"),
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length < 16 || control != Control::Data && length != 16 {
            return malformed("SMP.LENGTH", 4, length.into(), "16, and more for DATA alone");
        }
        let header = Self {
            control,
            session: u16::from_le_bytes([s0, s1]),
            length,
            sequence: u32::from_le_bytes([q0, q1, q2, q3]),
            window: u32::from_le_bytes([w0, w1, w2, w3]),
        };
        if header.data() > limit {
            return Err(WireError::TooLarge {
                field: "SMP.LENGTH",
                offset: offset + 4,
                value: length.into(),
                limit: limit as u64,
            });
        }
        Ok(header)
    }
}

/// What [`Deframer::read`] finds.
#[derive(PartialEq, Eq)]
pub enum Frame<'a> {
    /// A frame begins.
    Header(Header),
    /// Data of the session; never empty.
    Data(u16, &'a [u8]),
}

/// Without the bytes, as [`crate::Frame`].
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(header) => f.debug_tuple("Header").field(header).finish(),
            Self::Data(session, bytes) => f.debug_tuple("Data").field(session).field(&bytes.len()).finish(),
        }
    }
}

/// Cuts a stream of bytes into frames. Holds at most a header.
#[derive(Debug)]
pub struct Deframer {
    header: [u8; Header::BYTES],
    have: usize,
    /// Session of the frame that is being read, and its bytes to come.
    data: (u16, usize),
    offset: u64,
    limit: usize,
}

impl Deframer {
    /// Frames carry at most `limit` bytes each: one packet, in practice.
    pub fn new(limit: usize) -> Self {
        Self { header: [0; Header::BYTES], have: 0, data: (0, 0), offset: 0, limit }
    }

    /// Reads what comes next, and takes it off `input`. `None`: all of `input`
    /// was taken, and more is needed.
    ///
    /// # Errors
    ///
    /// A header that no frame has.
    pub fn read<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, WireError> {
        let (session, left) = self.data;
        if left > 0 {
            let data = self.advance(left, input);
            self.data = (session, left - data.len());
            return Ok((!data.is_empty()).then_some(Frame::Data(session, data)));
        }
        let begin = self.offset - self.have as u64;
        let part = self.advance(Header::BYTES - self.have, input);
        for (slot, byte) in self.header.iter_mut().skip(self.have).zip(part) {
            *slot = *byte;
        }
        self.have += part.len();
        if self.have < Header::BYTES {
            return Ok(None);
        }
        let header = Header::parse(self.header, begin, self.limit)?;
        self.have = 0;
        self.data = (header.session, header.data());
        Ok(Some(Frame::Header(header)))
    }

    /// Whether the stream may end here: not within a frame.
    pub fn is_between_frames(&self) -> bool {
        self.have == 0 && self.data.1 == 0
    }

    fn advance<'a>(&mut self, count: usize, input: &mut &'a [u8]) -> &'a [u8] {
        let (taken, rest) = input.split_at(count.min(input.len()));
        *input = rest;
        self.offset += taken.len() as u64;
        taken
    }
}
