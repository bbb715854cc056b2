//! Packets (2.2.3): how messages are cut on the wire.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::WireError;

/// What a packet's message is (2.2.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketKind {
    /// SQL text.
    SqlBatch = 0x01,
    /// Procedure calls.
    Rpc = 0x03,
    /// What the server answers; PRELOGIN's answer too.
    Response = 0x04,
    /// Cancels the request under way.
    Attention = 0x06,
    /// Rows for `INSERT BULK`.
    BulkLoad = 0x07,
    /// A federated authentication token.
    FedAuth = 0x08,
    /// Begin, commit, enlist, ...
    TransactionManager = 0x0E,
    /// Login.
    Login7 = 0x10,
    /// Continues integrated authentication.
    Sspi = 0x11,
    /// Before login; in TDS 7 also the TLS handshake.
    PreLogin = 0x12,
}

impl PacketKind {
    const ALL: [Self; 10] = [
        Self::SqlBatch,
        Self::Rpc,
        Self::Response,
        Self::Attention,
        Self::BulkLoad,
        Self::FedAuth,
        Self::TransactionManager,
        Self::Login7,
        Self::Sspi,
        Self::PreLogin,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A packet's status bits (2.2.3.1.2); unknown ones are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// Last packet of its message.
    pub const END: Self = Self(0x01);
    /// With [`Self::END`]: the message is to be ignored.
    pub const IGNORE: Self = Self(0x02);
    /// Reset the session before this request.
    pub const RESET: Self = Self(0x08);
    /// The same, but keep the transaction.
    pub const RESET_KEEP_TRANSACTION: Self = Self(0x10);

    /// Whether all bits of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// A packet's header (2.2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message is.
    pub kind: PacketKind,
    /// Where in it the packet stands, and what it asks for.
    pub status: Status,
    /// Bytes of the packet, this header included.
    pub length: u16,
    /// The server's process id; zero from clients.
    pub spid: u16,
    /// Counts packets; nobody relies on it.
    pub packet_id: u8,
    /// Always zero, so far.
    pub window: u8,
}

impl Header {
    /// Bytes of a header.
    pub const BYTES: usize = 8;

    fn parse(bytes: [u8; Self::BYTES], offset: u64) -> Result<Self, WireError> {
        let [kind, status, high, low, spid_high, spid_low, packet_id, window] = bytes;
        let malformed =
            |field, offset, value, rule| Err(WireError::Malformed { field, offset, value: u64::from(value), rule });
        let length = u16::from_be_bytes([high, low]);
        let Some(kind) = PacketKind::of(kind) else {
            return malformed("packet type", offset, kind.into(), "no type of TDS 7.2 to 8.0");
        };
        if usize::from(length) < Self::BYTES {
            return malformed("packet length", offset + 2, length, "a packet has at least its header");
        }
        if length > PacketSize::MAX.get() {
            return malformed("packet length", offset + 2, length, "packets have at most 32767 bytes");
        }
        let spid = u16::from_be_bytes([spid_high, spid_low]);
        Ok(Self { kind, status: Status(status), length, spid, packet_id, window })
    }

    /// As it goes on the wire.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let ([high, low], [spid_high, spid_low]) = (self.length.to_be_bytes(), self.spid.to_be_bytes());
        [self.kind as u8, self.status.0, high, low, spid_high, spid_low, self.packet_id, self.window]
    }
}

/// Bytes of the packets that a side sends, headers included: 512 to 32,767.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketSize(u16);

impl PacketSize {
    /// What holds until login has settled something else.
    pub const DEFAULT: Self = Self(4096);
    /// The largest.
    pub const MAX: Self = Self(32767);
    /// The smallest.
    pub const MIN: Self = Self(512);

    /// What is granted to who asks for `size`, as servers do: the nearest that
    /// is allowed; zero asks for the default.
    pub fn granted(size: u32) -> Self {
        match u16::try_from(size) {
            Ok(0) => Self::DEFAULT,
            Ok(size) => Self(size.clamp(Self::MIN.0, Self::MAX.0)),
            Err(_) => Self::MAX,
        }
    }

    /// As a number.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// What [`Deframer::read`] finds.
#[derive(PartialEq, Eq)]
pub enum Frame<'a> {
    /// A packet begins. The first one of a message carries the reset bits.
    Packet(Header),
    /// Bytes of the message; never empty.
    Payload(&'a [u8]),
    /// The message is over. With [`Status::IGNORE`], it was never sent.
    End(Status),
}

/// Without the bytes: passwords and tokens are in them.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet(header) => f.debug_tuple("Packet").field(header).finish(),
            Self::Payload(bytes) => f.debug_tuple("Payload").field(&bytes.len()).finish(),
            Self::End(status) => f.debug_tuple("End").field(status).finish(),
        }
    }
}

/// Cuts a stream of bytes into packets. Holds at most a header.
#[derive(Debug, Default)]
pub struct Deframer {
    header: [u8; Header::BYTES],
    /// Bytes of the header that are there.
    have: usize,
    /// The packet that is being read, and how many bytes of it are to come.
    packet: Option<(Header, usize)>,
    /// Type of the message that is not over.
    message: Option<PacketKind>,
    offset: u64,
}

impl Deframer {
    /// Reads what comes next, and takes it off `input`. `None`: all of `input`
    /// was taken, and more is needed.
    ///
    /// # Errors
    ///
    /// A header that no packet has, or a packet of one message within another.
    pub fn read<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, WireError> {
        match self.packet {
            None => self.header(input).map(|header| header.map(Frame::Packet)),
            Some((header, 0)) => {
                self.packet = None;
                if !header.status.has(Status::END) {
                    return self.read(input);
                }
                self.message = None;
                Ok(Some(Frame::End(header.status)))
            }
            Some((header, left)) => {
                let payload = self.advance(left, input);
                self.packet = Some((header, left - payload.len()));
                Ok((!payload.is_empty()).then_some(Frame::Payload(payload)))
            }
        }
    }

    /// Whether the stream may end here: not within a message.
    pub fn is_between_messages(&self) -> bool {
        self.have == 0 && self.packet.is_none() && self.message.is_none()
    }

    fn header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, WireError> {
        let begin = self.offset - self.have as u64;
        let part = self.advance(Header::BYTES - self.have, input);
        for (slot, byte) in self.header.iter_mut().skip(self.have).zip(part) {
            *slot = *byte;
        }
        self.have += part.len();
        if self.have < Header::BYTES {
            return Ok(None);
        }
        let header = Header::parse(self.header, begin)?;
        if self.message.is_some_and(|kind| kind != header.kind) {
            let value = u64::from(header.kind as u8);
            let rule = "a message of another type is not over";
            return Err(WireError::Malformed { field: "packet type", offset: begin, value, rule });
        }
        self.have = 0;
        self.message = Some(header.kind);
        self.packet = Some((header, usize::from(header.length) - Header::BYTES));
        Ok(Some(header))
    }

    fn advance<'a>(&mut self, count: usize, input: &mut &'a [u8]) -> &'a [u8] {
        let (taken, rest) = input.split_at(count.min(input.len()));
        *input = rest;
        self.offset += taken.len() as u64;
        taken
    }
}

/// Cuts one message into packets. Holds at most a packet's payload: whether a
/// packet is the last one is known when the next byte comes, or none does.
pub struct Framer {
    header: Header,
    capacity: usize,
    /// Wiped at the end, and never outgrown: it may be a login's.
    held: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framer").field("header", &self.header).field("held", &self.held.len()).finish()
    }
}

impl Framer {
    /// For a message of type `kind`. Reset bits of `status` go into its first
    /// packet; [`Status::END`] and [`Status::IGNORE`] are not the caller's.
    pub fn new(kind: PacketKind, status: Status, size: PacketSize) -> Self {
        let status = status.without(Status::END).without(Status::IGNORE);
        let header = Header { kind, status, length: 0, spid: 0, packet_id: 1, window: 0 };
        let capacity = usize::from(size.get()) - Header::BYTES;
        Self { header, capacity, held: Zeroizing::new(Vec::with_capacity(capacity)) }
    }

    /// What the header says of the server's process; clients leave it zero.
    #[must_use]
    pub fn spid(mut self, spid: u16) -> Self {
        self.header.spid = spid;
        self
    }

    /// Appends to `out` the packets that `payload` fills.
    pub fn write(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let mut payload = payload;
        while !payload.is_empty() {
            if self.held.len() == self.capacity {
                self.packet(Status::default(), out);
            }
            let (now, later) = payload.split_at(payload.len().min(self.capacity - self.held.len()));
            self.held.extend_from_slice(now);
            payload = later;
        }
    }

    /// Ends the message. The next bytes begin another one of the same type.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.packet(Status::END, out);
        self.header.packet_id = 1;
    }

    /// Ends a message that its receiver is to ignore.
    pub fn abandon(&mut self, out: &mut Vec<u8>) {
        self.packet(Status::END.with(Status::IGNORE), out);
        self.header.packet_id = 1;
    }

    fn packet(&mut self, status: Status, out: &mut Vec<u8>) {
        let length = u16::try_from(self.held.len() + Header::BYTES).unwrap_or(u16::MAX);
        let header = Header { status: self.header.status.with(status), length, ..self.header };
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(&self.held);
        self.held.clear();
        self.header.status = self.header.status.without(Status::RESET).without(Status::RESET_KEEP_TRANSACTION);
        self.header.packet_id = self.header.packet_id.wrapping_add(1);
    }
}
