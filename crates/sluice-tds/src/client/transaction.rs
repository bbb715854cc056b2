use crate::client::headers::AllHeaders;
use crate::error::{TooLong, WireError};
use crate::wire::{Put, Reader};

/// What to do with a transaction (2.2.6.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionRequest {
    /// The transaction, and the like.
    pub headers: AllHeaders,
    /// What to do.
    pub kind: TransactionKind,
}

/// Names are UTF-16, and may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionKind {
    /// 0: where is the coordinator?
    GetAddress(Vec<u8>),
    /// 1: join this distributed one.
    Propagate(Vec<u8>),
    /// 5.
    Begin(TransactionBegin),
    /// 6: make it a distributed one.
    Promote,
    /// 7: and begin another at once, if it says so.
    Commit(Vec<u8>, Option<TransactionBegin>),
    /// 8: the same; a name may be a savepoint's.
    Rollback(Vec<u8>, Option<TransactionBegin>),
    /// 9: set a savepoint.
    Save(Vec<u8>),
}

/// A transaction to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionBegin {
    /// 0: the session's; 1 to 5: read uncommitted to snapshot.
    pub isolation: u8,
    /// Its name.
    pub name: Vec<u8>,
}

impl TransactionRequest {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// Requests that 2.2.6.9 does not name.
    pub fn parse(payload: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::open(payload, 0);
        let headers = AllHeaders::parse(&mut r)?;
        let kind = match r.u16("TransMgrReq.RequestType")? {
            0 => TransactionKind::GetAddress(r.us_varbyte("TransMgrReq.RequestPayload")?.to_vec()),
            1 => TransactionKind::Propagate(r.us_varbyte("TransMgrReq.RequestPayload")?.to_vec()),
            5 => TransactionKind::Begin(TransactionBegin::parse(&mut r)?),
            6 => TransactionKind::Promote,
            7 => {
                let name = r.b_varbyte("TransMgrReq.XACT_NAME")?.to_vec();
                TransactionKind::Commit(name, TransactionBegin::parse_next(&mut r)?)
            }
            8 => {
                let name = r.b_varbyte("TransMgrReq.XACT_NAME")?.to_vec();
                TransactionKind::Rollback(name, TransactionBegin::parse_next(&mut r)?)
            }
            9 => TransactionKind::Save(r.b_varbyte("TransMgrReq.XACT_SAVEPOINT_NAME")?.to_vec()),
            other => return Err(r.malformed("TransMgrReq.RequestType", other.into(), "0, 1, or 5 to 9")),
        };
        r.end("TransMgrReq.RequestPayload").map(|()| Self { headers, kind })
    }

    /// Appends the message to `out`.
    ///
    /// # Errors
    ///
    /// If something is longer than its field.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        self.headers.write(out)?;
        out.u16(match &self.kind {
            TransactionKind::GetAddress(_) => 0,
            TransactionKind::Propagate(_) => 1,
            TransactionKind::Begin(_) => 5,
            TransactionKind::Promote => 6,
            TransactionKind::Commit(..) => 7,
            TransactionKind::Rollback(..) => 8,
            TransactionKind::Save(_) => 9,
        });
        match &self.kind {
            TransactionKind::GetAddress(data) | TransactionKind::Propagate(data) => {
                out.us_varbyte(data, "TransMgrReq.RequestPayload")
            }
            TransactionKind::Begin(begin) => begin.write(out),
            TransactionKind::Promote => Ok(()),
            TransactionKind::Commit(name, next) | TransactionKind::Rollback(name, next) => {
                out.b_varbyte(name, "TransMgrReq.XACT_NAME")?;
                out.u8(u8::from(next.is_some()));
                next.as_ref().map_or(Ok(()), |next| next.write(out))
            }
            TransactionKind::Save(name) => out.b_varbyte(name, "TransMgrReq.XACT_SAVEPOINT_NAME"),
        }
    }
}

impl TransactionBegin {
    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            isolation: r.u8("TransMgrReq.ISOLATION_LEVEL")?,
            name: r.b_varbyte("TransMgrReq.BEGIN_XACT_NAME")?.to_vec(),
        })
    }

    /// XACT_FLAGS, and what they announce.
    fn parse_next(r: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        match r.u8("TransMgrReq.XACT_FLAGS")? {
            0 => Ok(None),
            1 => Self::parse(r).map(Some),
            other => Err(r.malformed("TransMgrReq.XACT_FLAGS", other.into(), "0, or 1 to begin another")),
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u8(self.isolation);
        out.b_varbyte(&self.name, "TransMgrReq.BEGIN_XACT_NAME")
    }
}
