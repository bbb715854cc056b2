use crate::error::{TooLong, WireError};
use crate::text::Text;
use crate::wire::{Put, Reader};

/// Something about the session changed (2.2.7.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvChange {
    /// Database, language, packet size, ...
    Text {
        /// Which: see the constants.
        kind: u8,
        /// What it is now.
        new: Text,
        /// What it was.
        old: Text,
    },
    /// Collation, and all about transactions: descriptors of 8 bytes.
    Bytes {
        /// Which: see the constants.
        kind: u8,
        /// What it is now.
        new: Vec<u8>,
        /// What it was.
        old: Vec<u8>,
    },
    /// 15: the transaction is a distributed one now.
    Promoted(Vec<u8>),
    /// 20 and 21: the client is to go elsewhere.
    Routing(Routing),
    /// Any other, carried as it is.
    Other {
        /// Which.
        kind: u8,
        /// All that follows.
        data: Vec<u8>,
    },
}

/// Where the client is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// TCP port.
    pub port: u16,
    /// Server.
    pub server: Text,
    /// Database: in the enhanced form (21), which clients ask for at login.
    pub database: Option<Text>,
}

impl EnvChange {
    /// Current database.
    pub const DATABASE: u8 = 1;
    /// Language of messages.
    pub const LANGUAGE: u8 = 2;
    /// Packet size, in digits.
    pub const PACKET_SIZE: u8 = 4;
    /// Collation.
    pub const COLLATION: u8 = 7;
    /// A transaction began.
    pub const BEGIN: u8 = 8;
    /// It was committed.
    pub const COMMIT: u8 = 9;
    /// It was rolled back.
    pub const ROLLBACK: u8 = 10;
    /// The session joined a distributed one.
    pub const ENLIST: u8 = 11;
    /// It left it.
    pub const DEFECT: u8 = 12;
    /// The mirror's name.
    pub const MIRROR: u8 = 13;
    /// The transaction became a distributed one.
    pub const PROMOTE: u8 = 15;
    /// Address of the transaction manager.
    pub const MANAGER_ADDRESS: u8 = 16;
    /// A transaction ended that a batch named.
    pub const ENDED: u8 = 17;
    /// The session was reset, as a request's header asked.
    pub const RESET: u8 = 18;
    /// Name of the user's instance.
    pub const USER_INSTANCE: u8 = 19;
    /// The client is to go elsewhere.
    pub const ROUTING: u8 = 20;
    /// The same, with a database.
    pub const ENHANCED_ROUTING: u8 = 21;

    /// The new packet size, if that is what changed.
    pub fn packet_size(&self) -> Option<u32> {
        match self {
            Self::Text { kind: Self::PACKET_SIZE, new, .. } => new.to_exact()?.parse().ok(),
            _ => None,
        }
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let length = r.u16("ENVCHANGE.Length")?;
        let mut body = r.inside(length.into(), "ENVCHANGE.Length")?;
        let kind = body.u8("ENVCHANGE.Type")?;
        let change = match kind {
            1..=6 | Self::MIRROR | Self::USER_INSTANCE => {
                let new = body.b_varchar("ENVCHANGE.NewValue")?;
                let old = if body.left() == 0 { Text::default() } else { body.b_varchar("ENVCHANGE.OldValue")? };
                Self::Text { kind, new, old }
            }
            Self::COLLATION..=Self::DEFECT | Self::MANAGER_ADDRESS..=Self::RESET => {
                let new = body.b_varbyte("ENVCHANGE.NewValue")?.to_vec();
                let old = if body.left() == 0 { &[] } else { body.b_varbyte("ENVCHANGE.OldValue")? };
                Self::Bytes { kind, new, old: old.to_vec() }
            }
            Self::PROMOTE => {
                // The token is too long for its length, which is 1: that of the type.
                body.end("ENVCHANGE.Length")?;
                let token = r.l_varbyte("ENVCHANGE.NewValue")?.to_vec();
                return match r.u8("ENVCHANGE.OldValue")? {
                    0 => Ok(Self::Promoted(token)),
                    old => Err(r.malformed("ENVCHANGE.OldValue", old.into(), "empty for a promoted transaction")),
                };
            }
            Self::ROUTING | Self::ENHANCED_ROUTING => {
                let length = body.u16("ENVCHANGE.RoutingDataValueLength")?;
                let mut value = body.inside(length.into(), "ENVCHANGE.RoutingDataValueLength")?;
                let routing = Routing::parse(kind, &mut value)?;
                if body.left() > 0 {
                    body.us_varbyte("ENVCHANGE.OldValue")?;
                }
                Self::Routing(routing)
            }
            kind => Self::Other { kind, data: body.rest().to_vec() },
        };
        body.end("ENVCHANGE.Length").map(|()| change)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        if let Self::Promoted(token) = self {
            out.u16(1);
            out.u8(Self::PROMOTE);
            out.l_varbyte(token, "ENVCHANGE.NewValue")?;
            out.u8(0);
            return Ok(());
        }
        out.sized::<u16>("ENVCHANGE.Length", |out| match self {
            Self::Text { kind, new, old } => {
                out.u8(*kind);
                out.b_varchar(new, "ENVCHANGE.NewValue")?;
                out.b_varchar(old, "ENVCHANGE.OldValue")
            }
            Self::Bytes { kind, new, old } => {
                out.u8(*kind);
                out.b_varbyte(new, "ENVCHANGE.NewValue")?;
                out.b_varbyte(old, "ENVCHANGE.OldValue")
            }
            Self::Promoted(_) => Ok(()),
            Self::Routing(routing) => {
                out.u8(if routing.database.is_some() { Self::ENHANCED_ROUTING } else { Self::ROUTING });
                out.sized::<u16>("ENVCHANGE.RoutingDataValueLength", |out| routing.write(out))?;
                out.u16(0);
                Ok(())
            }
            Self::Other { kind, data } => {
                out.u8(*kind);
                out.bytes(data);
                Ok(())
            }
        })
    }
}

impl Routing {
    fn parse(kind: u8, r: &mut Reader<'_>) -> Result<Self, WireError> {
        match r.u8("ENVCHANGE.Protocol")? {
            0 => {}
            other => return Err(r.malformed("ENVCHANGE.Protocol", other.into(), "0, which is TCP")),
        }
        let port = r.u16("ENVCHANGE.ProtocolProperty")?;
        if port == 0 {
            return Err(r.malformed("ENVCHANGE.ProtocolProperty", 0, "a port is not zero"));
        }
        let server = r.us_varchar("ENVCHANGE.AlternateServer")?;
        let database = match kind {
            EnvChange::ENHANCED_ROUTING => Some(r.us_varchar("ENVCHANGE.AlternateDatabase")?),
            _ => None,
        };
        r.end("ENVCHANGE.RoutingDataValueLength").map(|()| Self { port, server, database })
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u8(0);
        out.u16(self.port);
        out.us_varchar(&self.server, "ENVCHANGE.AlternateServer")?;
        match &self.database {
            Some(database) => out.us_varchar(database, "ENVCHANGE.AlternateDatabase"),
            None => Ok(()),
        }
    }
}
