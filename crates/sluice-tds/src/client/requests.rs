use std::fmt;

use crate::client::batch::SqlBatch;
use crate::client::fed_auth::FedAuthMessage;
use crate::client::headers::AllHeaders;
use crate::client::rpc::{Call, CipherInfo, Parameter};
use crate::client::rpc_reader::RpcReader;
use crate::client::transaction::TransactionRequest;
use crate::error::WireError;
use crate::limits::{Limits, Negotiated};
use crate::packet::{Frame, Header, PacketKind, Status};
use crate::secret::SecretBuffer;
use crate::server::{Item, Tokens};
use crate::types::Piece;

/// Reads what a client sends once TLS stands: login and requests.
///
/// Take frames from a [`Deframer`](crate::Deframer), [`feed`](Self::feed) each,
/// [`pull`](Self::pull) until `None`. RPC and bulk load come as they arrive;
/// everything else, when it is whole.
#[derive(Debug)]
pub struct Requests {
    limits: Limits,
    negotiated: Negotiated,
    message: Option<Message>,
}

/// An event and the payload that it was read from. The `raw` of all events of a
/// message are its payload, without a gap.
#[derive(PartialEq)]
pub struct RequestItem<'a> {
    /// What it is.
    pub event: Request<'a>,
    /// Its bytes; empty where an event is only the beginning or end of something.
    pub raw: &'a [u8],
}

/// Without the bytes: passwords and tokens are in them.
impl fmt::Debug for RequestItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestItem").field("event", &self.event).field("raw", &self.raw.len()).finish()
    }
}

/// What comes next from a client. A message is `Begin`, what is in it, `End`.
///
/// In an RPC: `Headers`, then per call `Call` and its parameters, with
/// `NextCall` between calls. A parameter is `Parameter`, its `Value`,
/// `ParameterEnd`; a table's rows are `Row`, `Value`s, `RowEnd`, and `TableEnd`
/// stands after them.
#[derive(Debug, PartialEq)]
pub enum Request<'a> {
    /// A message begins; its first packet's header says of what type, and
    /// whether the session is to be reset first.
    Begin(Header),
    /// PRELOGIN, LOGIN7 or SSPI, whole: see [`PreLogin`](crate::PreLogin::parse)
    /// and [`Login7`](crate::Login7::parse), which know what they hold.
    Login(PacketKind),
    /// A token that follows a login by workflow.
    FedAuth(FedAuthMessage),
    /// SQL text.
    Batch(SqlBatch),
    /// Begin, commit, ...
    Transaction(TransactionRequest),
    /// Cancel.
    Attention,
    /// Headers of an RPC.
    Headers(AllHeaders),
    /// A call begins.
    Call(Call),
    /// A parameter begins.
    Parameter(Box<Parameter>),
    /// A value, or a part of it.
    Value {
        /// Of a table's row, its column among those that are sent, from zero;
        /// else zero.
        column: usize,
        /// What of it.
        piece: Piece<'a>,
    },
    /// A row of a table begins.
    Row,
    /// It is over.
    RowEnd,
    /// The table has no more rows.
    TableEnd,
    /// A parameter is over.
    ParameterEnd(Option<Box<CipherInfo>>),
    /// The call is over, and another one may follow.
    NextCall {
        /// Whether the call that is over is to be executed.
        execute: bool,
    },
    /// What a bulk load is made of.
    Bulk(crate::server::Event<'a>),
    /// The message is over. With [`Status::IGNORE`] it is to be ignored, and may
    /// have ended anywhere.
    End(Status),
}

/// A message that is being read.
#[derive(Debug)]
struct Message {
    /// Until it was handed out.
    begin: Option<Header>,
    /// Once it was fed.
    end: Option<Status>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// Is collected, and read when it is whole.
    Whole {
        kind: PacketKind,
        bytes: SecretBuffer,
        handed_out: bool,
    },
    Rpc(Box<RpcReader>),
    Bulk(Box<Tokens>),
}

impl Requests {
    /// For one client.
    pub fn new(limits: Limits) -> Self {
        Self { limits, negotiated: Negotiated::default(), message: None }
    }

    /// What the server's login answer settled: see [`Tokens::negotiated`].
    pub fn set_negotiated(&mut self, negotiated: Negotiated) {
        self.negotiated = negotiated;
    }

    /// Takes the next frame.
    ///
    /// # Errors
    ///
    /// Types of message that clients do not send, and messages over their limit.
    pub fn feed(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        match (frame, &mut self.message) {
            (Frame::Packet(header), message @ None) => {
                let body = Body::of(header.kind, &self.limits, self.negotiated)?;
                *message = Some(Message { begin: Some(*header), end: None, body });
            }
            (Frame::Packet(_), Some(_)) | (_, None) => {}
            (Frame::Payload(payload), Some(message)) => message.body.feed(payload, &self.limits)?,
            (Frame::End(status), Some(message)) => {
                message.end = Some(*status);
                message.body.end();
            }
        }
        Ok(())
    }

    /// The next event. `None`: more must be fed.
    ///
    /// # Errors
    ///
    /// What the grammar does not allow, what is over a limit, and a message that
    /// ends within something.
    pub fn pull(&mut self) -> Result<Option<RequestItem<'_>>, WireError> {
        let Some(message) = &mut self.message else { return Ok(None) };
        if let Some(header) = message.begin.take() {
            return Ok(Some(RequestItem { event: Request::Begin(header), raw: &[] }));
        }
        // A message that is to be ignored is not read to its end.
        let over = message.body.is_over();
        if let Some(status) = message.end.filter(|status| over || status.has(Status::IGNORE)) {
            self.message = None;
            return Ok(Some(RequestItem { event: Request::End(status), raw: &[] }));
        }
        let ended = message.end.is_some();
        match self.message.as_mut().map(|message| &mut message.body) {
            Some(Body::Whole { kind, bytes, handed_out }) if ended => {
                *handed_out = true;
                let raw = bytes.as_slice();
                let event = match kind {
                    PacketKind::SqlBatch => Request::Batch(SqlBatch::parse(raw, &self.negotiated)?),
                    PacketKind::FedAuth => Request::FedAuth(FedAuthMessage::parse(raw)?),
                    PacketKind::TransactionManager => Request::Transaction(TransactionRequest::parse(raw)?),
                    PacketKind::Attention => Request::Attention,
                    kind => Request::Login(*kind),
                };
                Ok(Some(RequestItem { event, raw }))
            }
            Some(Body::Rpc(rpc)) => rpc.pull(&self.limits, &self.negotiated),
            Some(Body::Bulk(tokens)) => {
                let item = tokens.pull()?;
                Ok(item.map(|Item { event, raw }| RequestItem { event: Request::Bulk(event), raw }))
            }
            Some(Body::Whole { .. }) | None => Ok(None),
        }
    }
}

impl Body {
    fn of(kind: PacketKind, limits: &Limits, negotiated: Negotiated) -> Result<Self, WireError> {
        Ok(match kind {
            PacketKind::Rpc => Self::Rpc(Box::new(RpcReader::new(limits))),
            PacketKind::BulkLoad => Self::Bulk(Box::new(Tokens::bulk_load(limits.clone(), negotiated))),
            PacketKind::Response => {
                let (field, value, rule) = ("packet type", kind as u64, "clients do not answer");
                return Err(WireError::Malformed { field, offset: 0, value, rule });
            }
            kind => Self::Whole { kind, bytes: SecretBuffer::default(), handed_out: false },
        })
    }

    fn feed(&mut self, payload: &[u8], limits: &Limits) -> Result<(), WireError> {
        match self {
            Self::Whole { kind, bytes, .. } => {
                let (offset, limit) = (bytes.as_slice().len(), limit(*kind, limits));
                let length = offset.saturating_add(payload.len());
                if length > limit {
                    let (offset, value, limit) = (offset as u64, length as u64, limit as u64);
                    return Err(WireError::TooLarge { field: field(*kind), offset, value, limit });
                }
                bytes.push(payload);
            }
            Self::Rpc(rpc) => rpc.feed(payload),
            Self::Bulk(tokens) => tokens.feed(payload),
        }
        Ok(())
    }

    fn end(&mut self) {
        match self {
            Self::Whole { .. } => {}
            Self::Rpc(rpc) => rpc.end(),
            Self::Bulk(tokens) => tokens.end(),
        }
    }

    /// Whether it was whole, and all of it was handed out.
    fn is_over(&self) -> bool {
        match self {
            Self::Whole { handed_out, .. } => *handed_out,
            Self::Rpc(rpc) => rpc.is_over(),
            Self::Bulk(tokens) => tokens.is_over(),
        }
    }
}

fn limit(kind: PacketKind, limits: &Limits) -> usize {
    match kind {
        PacketKind::SqlBatch => limits.batch,
        PacketKind::Attention => 0,
        PacketKind::Login7 => Limits::LOGIN,
        _ => Limits::MESSAGE,
    }
}

fn field(kind: PacketKind) -> &'static str {
    match kind {
        PacketKind::SqlBatch => "SQLBatch",
        PacketKind::Attention => "Attention",
        PacketKind::Login7 => "LOGIN7",
        PacketKind::FedAuth => "FEDAUTH",
        PacketKind::TransactionManager => "TransMgrReq",
        PacketKind::Sspi => "SSPI",
        _ => "PRELOGIN",
    }
}
