//! TDS, the protocol of Azure SQL and SQL Server: bytes to messages and back,
//! for both sides. It holds no socket, no clock and no TLS; who owns those
//! feeds bytes in and takes bytes out.
//!
//! # Who uses it, and how
//!
//! The **gateway** stands between a driver and a server. It reads what the
//! driver asks, decides, forwards, and reads the answer on its way back:
//!
//! ```text
//! driver --bytes--> Deframer --payload--> PreLogin, Login7, FedAuthMessage          (login)
//!                   Requests --events---> SqlBatch, Call, Parameter, Value, ...     (afterwards)
//! server --bytes--> Deframer --payload--> Tokens --events--> ColMetadata, Value, Done, ...
//!                   out: Framer <--payload-- the event's own bytes, or what replaces them
//! ```
//!
//! Each event of [`Requests`] and [`Tokens`] comes with the bytes that it was
//! read from (`raw`), and the `raw` of all events of a message are its payload,
//! without a gap. What is not changed is forwarded byte for byte; what is
//! changed is written by the same types (`write`).
//!
//! The **test server** reads requests with [`Requests`] and answers with
//! [`Token`]s, [`write_row`] and [`Framer`]; it can write what a sound server
//! never would, because raw bytes go through [`Framer`] too.
//!
//! The **fuzzers** feed anything to [`Requests`], [`Tokens`] and
//! [`smp::Deframer`], cut anywhere, and demand: no panic, the same events for
//! any cut, `raw` without a gap, bounded memory.
//!
//! ```
//! use sluice_tds::{Deframer, Event, Frame, Framer, Limits, Negotiated, PacketKind, PacketSize, Token, Tokens};
//! use sluice_tds::{Done, DoneKind, Status};
//!
//! // A server's whole answer: one DONE, 7 rows.
//! let done = Token::Done(Done { kind: DoneKind::Done, status: Done::COUNT, command: 0xC1, rows: 7 });
//! let mut payload = Vec::new();
//! done.write(&Negotiated::default(), &mut payload)?;
//! let mut wire = Vec::new();
//! let mut framer = Framer::new(PacketKind::Response, Status::default(), PacketSize::DEFAULT);
//! framer.write(&payload, &mut wire);
//! framer.finish(&mut wire);
//!
//! // The same, read in whatever pieces the network gives.
//! let (mut deframer, mut tokens) = (Deframer::default(), Tokens::response(Limits::default(), Negotiated::default()));
//! let mut rows = 0;
//! for mut piece in wire.chunks(3) {
//!     while let Some(frame) = deframer.read(&mut piece)? {
//!         match frame {
//!             Frame::Payload(bytes) => tokens.feed(bytes),
//!             Frame::End(_) => tokens.end(),
//!             Frame::Packet(_) => continue,
//!         }
//!         while let Some(item) = tokens.pull()? {
//!             if let Event::Token(Token::Done(done)) = item.event {
//!                 rows = done.rows;
//!             }
//!         }
//!     }
//! }
//! assert_eq!(rows, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it promises
//!
//! - Bytes from the wire never make it panic. What is wrong is a [`WireError`]
//!   that names field, value and offset; after one, the stream cannot be read on.
//! - What has not arrived is no event: a short message is
//!   [`WireError::Incomplete`], never half of something.
//! - Memory is bounded by [`Limits`], whatever lengths the wire claims. Large
//!   values (`varchar(max)`, `xml`, `text`, ...) come in pieces; everything else
//!   comes whole.
//! - Bits that it does not know are kept; tokens, types and messages that it
//!   does not know are errors, because nothing after them can be read.
//!
//! # What it refuses to know
//!
//! TDS before 7.2 (SQL Server 2005), what SQL text means, what may be asked,
//! and in which order messages may come: that is its users' business. Section
//! numbers are those of MS-TDS v39, unless they say MC-SMP.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic))]

// The bottom: bytes, packets, limits.
mod buffer;
mod error;
mod limits;
mod packet;
mod secret;
pub mod smp;
mod text;
mod wire;

// What both sides say: types and values.
mod types;

// What the client says.
mod client;
mod login;

// What the server says.
mod server;

pub use client::{
    AllHeaders, Call, CipherInfo, DataHeader, FedAuthMessage, Parameter, ParameterType, Procedure, Request,
    RequestItem, Requests, SqlBatch, TableColumn, TableType, TransactionBegin, TransactionKind, TransactionRequest,
};
pub use error::{TooLong, Unwritable, WireError};
pub use limits::{Limits, Negotiated};
pub use login::{
    Encryption, Feature, FeatureId, FedAuth, Login7, PreLogin, PreLoginOption, SessionRecovery, SessionRecoveryState,
    SessionStateEntry, TdsVersion,
};
pub use packet::{Deframer, Frame, Framer, Header, PacketKind, PacketSize, Status};
pub use secret::Secret;
pub use server::{
    AltColumn, AltMetadata, ColInfo, ColMetadata, Column, CryptoMetadata, DataClassification, Done, DoneKind,
    EncryptionKey, EncryptionKeyValue, EnvChange, Event, FeatureAck, FedAuthInfo, Item, LoginAck, Message, ReturnValue,
    Routing, RowKind, Sensitivity, SessionState, Token, Tokens,
};
pub use text::Text;
pub use types::{
    BytesType, CharType, Collation, DecimalType, FixedType, LongType, NullableType, Piece, PlpWriter, Scalar, TypeInfo,
    UdtInfo, Variant, XmlSchema, write_null, write_row, write_value,
};
