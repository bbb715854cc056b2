use crate::error::{TooLong, WireError};
use crate::wire::{Put, Reader, size};

/// ALL_HEADERS (2.2.5.3): what stands before a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllHeaders {
    /// The headers, in order.
    pub headers: Vec<DataHeader>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataHeader {
    /// 1: asks for a notification when the result would change. Carried as it is.
    QueryNotification(Vec<u8>),
    /// 2: the transaction that the request is part of; zero is none.
    Transaction {
        /// As the server's ENVCHANGE gave it.
        descriptor: u64,
        /// Requests under way on the connection.
        outstanding: u32,
    },
    /// 3: an activity, for tracing.
    Trace {
        /// Which.
        activity: [u8; 16],
        /// Counts its requests.
        sequence: u32,
    },
    /// Any other, carried as it is.
    Other(u16, Vec<u8>),
}

impl AllHeaders {
    /// The usual one: in this transaction, with one request under way.
    pub fn in_transaction(descriptor: u64) -> Self {
        Self { headers: vec![DataHeader::Transaction { descriptor, outstanding: 1 }] }
    }

    /// The transaction that the request is part of; zero: none.
    pub fn transaction(&self) -> u64 {
        self.headers
            .iter()
            .find_map(|header| match header {
                DataHeader::Transaction { descriptor, .. } => Some(*descriptor),
                _ => None,
            })
            .unwrap_or(0)
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let total = r.u32("ALL_HEADERS.TotalLength")?;
        let mut inside = r.inside(own_length(total, 4, "ALL_HEADERS.TotalLength", r)?, "ALL_HEADERS.TotalLength")?;
        let mut headers: Vec<DataHeader> = Vec::new();
        while inside.left() > 0 {
            let length = inside.u32("ALL_HEADERS.HeaderLength")?;
            let length = own_length(length, 4, "ALL_HEADERS.HeaderLength", &inside)?;
            let mut header = inside.inside(length, "ALL_HEADERS.HeaderLength")?;
            let kind = header.u16("ALL_HEADERS.HeaderType")?;
            let header = DataHeader::parse(kind, &mut header)?;
            if headers.iter().any(|other| other.kind() == kind) {
                return Err(inside.malformed("ALL_HEADERS.HeaderType", kind.into(), "a header comes once"));
            }
            headers.push(header);
        }
        Ok(Self { headers })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        with_own_length(out, "ALL_HEADERS.TotalLength", |out| {
            self.headers.iter().try_for_each(|header| {
                with_own_length(out, "ALL_HEADERS.HeaderLength", |out| {
                    header.write(out);
                    Ok(())
                })
            })
        })
    }
}

impl DataHeader {
    fn kind(&self) -> u16 {
        match self {
            Self::QueryNotification(_) => 1,
            Self::Transaction { .. } => 2,
            Self::Trace { .. } => 3,
            Self::Other(kind, _) => *kind,
        }
    }

    fn parse(kind: u16, r: &mut Reader<'_>) -> Result<Self, WireError> {
        let header = match kind {
            1 => Self::QueryNotification(r.rest().to_vec()),
            2 => Self::Transaction {
                descriptor: r.u64("ALL_HEADERS.TransactionDescriptor")?,
                outstanding: r.u32("ALL_HEADERS.OutstandingRequestCount")?,
            },
            3 => Self::Trace {
                activity: r.array("ALL_HEADERS.ActivityId")?,
                sequence: r.u32("ALL_HEADERS.ActivitySequence")?,
            },
            kind => Self::Other(kind, r.rest().to_vec()),
        };
        r.end("ALL_HEADERS.HeaderLength").map(|()| header)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.u16(self.kind());
        match self {
            Self::QueryNotification(data) | Self::Other(_, data) => out.bytes(data),
            Self::Transaction { descriptor, outstanding } => {
                out.u64(*descriptor);
                out.u32(*outstanding);
            }
            Self::Trace { activity, sequence } => {
                out.bytes(activity);
                out.u32(*sequence);
            }
        }
    }
}

/// What follows a length that counts itself.
fn own_length(length: u32, own: u32, field: &'static str, r: &Reader<'_>) -> Result<usize, WireError> {
    match length.checked_sub(own) {
        Some(rest) => Ok(size(rest)),
        None => Err(r.malformed(field, length.into(), "a length that counts itself is at least 4")),
    }
}

fn with_own_length(
    out: &mut Vec<u8>,
    field: &'static str,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), TooLong>,
) -> Result<(), TooLong> {
    let mut inside = Vec::new();
    body(&mut inside)?;
    out.u32(crate::wire::fit(inside.len() + 4, field)?);
    out.bytes(&inside);
    Ok(())
}
