use crate::error::{TooLong, WireError};
use crate::login::session::{SessionStateEntry, parse_states, write_states};
use crate::secret::Secret;
use crate::text::Text;
use crate::types::Collation;
use crate::wire::{Put, Reader};

/// Number of a feature (2.2.6.4, FeatureExt).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeatureId(pub u8);

impl FeatureId {
    /// Recovery of a lost session.
    pub const SESSION_RECOVERY: Self = Self(0x01);
    /// Federated authentication.
    pub const FED_AUTH: Self = Self(0x02);
    /// Always Encrypted.
    pub const COLUMN_ENCRYPTION: Self = Self(0x04);
    /// Transactions over several databases.
    pub const GLOBAL_TRANSACTIONS: Self = Self(0x05);
    /// Failover partner with read-only intent.
    pub const AZURE_SQL_SUPPORT: Self = Self(0x08);
    /// Sensitivity labels.
    pub const DATA_CLASSIFICATION: Self = Self(0x09);
    /// UTF-8 collations.
    pub const UTF8_SUPPORT: Self = Self(0x0A);
    /// Caching of the server's address.
    pub const AZURE_SQL_DNS_CACHING: Self = Self(0x0B);
    /// The type `json`.
    pub const JSON_SUPPORT: Self = Self(0x0D);
    /// The type `vector`.
    pub const VECTOR_SUPPORT: Self = Self(0x0E);
    /// Redirects that name a database.
    pub const ENHANCED_ROUTING: Self = Self(0x0F);
    /// What the client is. Sent by drivers; not in MS-TDS v39.
    pub const USER_AGENT: Self = Self(0x10);
    pub(crate) const TERMINATOR: u8 = 0xFF;

    /// As the specification spells it.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::SESSION_RECOVERY => "SESSIONRECOVERY",
            Self::FED_AUTH => "FEDAUTH",
            Self::COLUMN_ENCRYPTION => "COLUMNENCRYPTION",
            Self::GLOBAL_TRANSACTIONS => "GLOBALTRANSACTIONS",
            Self::AZURE_SQL_SUPPORT => "AZURESQLSUPPORT",
            Self::DATA_CLASSIFICATION => "DATACLASSIFICATION",
            Self::UTF8_SUPPORT => "UTF8_SUPPORT",
            Self::AZURE_SQL_DNS_CACHING => "AZURESQLDNSCACHING",
            Self::JSON_SUPPORT => "JSONSUPPORT",
            Self::VECTOR_SUPPORT => "VECTORSUPPORT",
            Self::ENHANCED_ROUTING => "ENHANCEDROUTINGSUPPORT",
            Self::USER_AGENT => "USERAGENT",
            _ => return None,
        })
    }
}

impl std::fmt::Debug for FeatureId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#04x}", self.0),
        }
    }
}

/// What a client asks for at login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `None`: the client would like to recover, should it come to that.
    SessionRecovery(Option<Box<SessionRecovery>>),
    /// Who the client is, or how it will say so.
    FedAuth(FedAuth),
    /// Version.
    ColumnEncryption(u8),
    /// Has no data.
    GlobalTransactions,
    /// Bit 0: failover partner with read-only intent.
    AzureSqlSupport(u8),
    /// Highest version of the token that the client reads.
    DataClassification(u8),
    /// Bit 0: supported. Some drivers send no data.
    Utf8Support(Option<u8>),
    /// Has no data.
    AzureSqlDnsCaching,
    /// Version.
    JsonSupport(u8),
    /// Version.
    VectorSupport(u8),
    /// Has no data.
    EnhancedRouting,
    /// Carried as it is: drivers have sent two formats.
    UserAgent(Vec<u8>),
    /// Any other, carried as it is.
    Other(FeatureId, Vec<u8>),
}

/// State of a lost session (2.2.6.4, SESSIONRECOVERY).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRecovery {
    /// As the session was after login.
    pub initial: SessionRecoveryState,
    /// What is different now; what is empty is not.
    pub current: SessionRecoveryState,
}

/// One of the two states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRecoveryState {
    /// Database; may be empty.
    pub database: Text,
    /// Collation, if it is said.
    pub collation: Option<Collation>,
    /// Language; may be empty.
    pub language: Text,
    /// Everything else, known to the server alone.
    pub states: Vec<SessionStateEntry>,
}

/// How a client authenticates (2.2.6.4, FEDAUTH). `echo`: the server's PRELOGIN
/// asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FedAuth {
    /// Library 0: a token, and proof of its session key.
    LiveId {
        /// Echo of FEDAUTHREQUIRED.
        echo: bool,
        /// The token.
        token: Secret,
        /// Nonce (32), channel binding (any), signature (32).
        signed: Secret,
    },
    /// Library 1: a bearer token.
    SecurityToken {
        /// Echo of FEDAUTHREQUIRED.
        echo: bool,
        /// The token: a JWT in UTF-16.
        token: Secret,
        /// The server's nonce, if it sent one.
        nonce: Option<[u8; 32]>,
    },
    /// Library 2: the token follows in a message of its own, when the server
    /// has said (FEDAUTHINFO) who shall issue it.
    Workflow {
        /// Echo of FEDAUTHREQUIRED.
        echo: bool,
        /// How the client will get it: 1 password, 2 integrated, ...
        workflow: u8,
    },
    /// A library that is not specified.
    Other {
        /// Echo of FEDAUTHREQUIRED.
        echo: bool,
        /// Its number.
        library: u8,
        /// Its data.
        data: Secret,
    },
}

impl Feature {
    /// Which it is.
    pub fn id(&self) -> FeatureId {
        match self {
            Self::SessionRecovery(_) => FeatureId::SESSION_RECOVERY,
            Self::FedAuth(_) => FeatureId::FED_AUTH,
            Self::ColumnEncryption(_) => FeatureId::COLUMN_ENCRYPTION,
            Self::GlobalTransactions => FeatureId::GLOBAL_TRANSACTIONS,
            Self::AzureSqlSupport(_) => FeatureId::AZURE_SQL_SUPPORT,
            Self::DataClassification(_) => FeatureId::DATA_CLASSIFICATION,
            Self::Utf8Support(_) => FeatureId::UTF8_SUPPORT,
            Self::AzureSqlDnsCaching => FeatureId::AZURE_SQL_DNS_CACHING,
            Self::JsonSupport(_) => FeatureId::JSON_SUPPORT,
            Self::VectorSupport(_) => FeatureId::VECTOR_SUPPORT,
            Self::EnhancedRouting => FeatureId::ENHANCED_ROUTING,
            Self::UserAgent(_) => FeatureId::USER_AGENT,
            Self::Other(id, _) => *id,
        }
    }

    /// FeatureExt: features up to the terminator, each once.
    pub(crate) fn parse_all(reader: &mut Reader<'_>) -> Result<Vec<Self>, WireError> {
        let mut features: Vec<Self> = Vec::new();
        loop {
            let id = reader.u8("FeatureExt.FeatureId")?;
            if id == FeatureId::TERMINATOR {
                return Ok(features);
            }
            if features.iter().any(|feature| feature.id().0 == id) {
                return Err(reader.malformed("FeatureExt.FeatureId", id.into(), "a feature comes once"));
            }
            let length = reader.u32("FeatureExt.FeatureDataLen")?;
            let mut data = reader.inside(crate::wire::size(length), "FeatureExt.FeatureData")?;
            features.push(Self::parse(FeatureId(id), &mut data)?);
            data.end("FeatureExt.FeatureData")?;
        }
    }

    fn parse(id: FeatureId, data: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match id {
            FeatureId::SESSION_RECOVERY if data.left() == 0 => Self::SessionRecovery(None),
            FeatureId::SESSION_RECOVERY => {
                let initial = SessionRecoveryState::parse(data)?;
                let current = SessionRecoveryState::parse(data)?;
                Self::SessionRecovery(Some(Box::new(SessionRecovery { initial, current })))
            }
            FeatureId::FED_AUTH => Self::FedAuth(FedAuth::parse(data)?),
            FeatureId::COLUMN_ENCRYPTION => Self::ColumnEncryption(data.u8("COLUMNENCRYPTION_VERSION")?),
            FeatureId::GLOBAL_TRANSACTIONS => Self::GlobalTransactions,
            FeatureId::AZURE_SQL_SUPPORT => Self::AzureSqlSupport(data.u8("AZURESQLSUPPORT")?),
            FeatureId::DATA_CLASSIFICATION => Self::DataClassification(data.u8("DATACLASSIFICATION_VERSION")?),
            FeatureId::UTF8_SUPPORT if data.left() == 0 => Self::Utf8Support(None),
            FeatureId::UTF8_SUPPORT => Self::Utf8Support(Some(data.u8("UTF8_SUPPORT")?)),
            FeatureId::AZURE_SQL_DNS_CACHING => Self::AzureSqlDnsCaching,
            FeatureId::JSON_SUPPORT => Self::JsonSupport(data.u8("JSONSUPPORT_VERSION")?),
            FeatureId::VECTOR_SUPPORT => Self::VectorSupport(data.u8("VECTORSUPPORT_VERSION")?),
            FeatureId::ENHANCED_ROUTING => Self::EnhancedRouting,
            FeatureId::USER_AGENT => Self::UserAgent(data.rest().to_vec()),
            id => Self::Other(id, data.rest().to_vec()),
        })
    }

    pub(crate) fn write_all(features: &[Self], out: &mut Vec<u8>) -> Result<(), TooLong> {
        for feature in features {
            out.u8(feature.id().0);
            out.sized::<u32>("FeatureExt.FeatureDataLen", |out| feature.write(out))?;
        }
        out.u8(FeatureId::TERMINATOR);
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        match self {
            Self::SessionRecovery(None)
            | Self::GlobalTransactions
            | Self::AzureSqlDnsCaching
            | Self::EnhancedRouting
            | Self::Utf8Support(None) => {}
            Self::SessionRecovery(Some(recovery)) => {
                recovery.initial.write(out)?;
                recovery.current.write(out)?;
            }
            Self::FedAuth(fed_auth) => fed_auth.write(out)?,
            Self::ColumnEncryption(byte)
            | Self::AzureSqlSupport(byte)
            | Self::DataClassification(byte)
            | Self::Utf8Support(Some(byte))
            | Self::JsonSupport(byte)
            | Self::VectorSupport(byte) => out.u8(*byte),
            Self::UserAgent(data) | Self::Other(_, data) => out.bytes(data),
        }
        Ok(())
    }
}

impl SessionRecoveryState {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let length = reader.u32("SESSIONRECOVERY.Length")?;
        let mut data = reader.inside(crate::wire::size(length), "SessionRecoveryData")?;
        let database = data.b_varchar("SESSIONRECOVERY.RecoveryDatabase")?;
        let collation = match data.u8("SESSIONRECOVERY.RecoveryCollation")? {
            0 => None,
            5 => Some(Collation(data.array("SESSIONRECOVERY.RecoveryCollation")?)),
            length => {
                let rule = "a collation has 5 bytes, or none";
                return Err(data.malformed("SESSIONRECOVERY.RecoveryCollation", length.into(), rule));
            }
        };
        let language = data.b_varchar("SESSIONRECOVERY.RecoveryLanguage")?;
        Ok(Self { database, collation, language, states: parse_states(&mut data)? })
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.sized::<u32>("SESSIONRECOVERY.Length", |out| {
            out.b_varchar(&self.database, "SESSIONRECOVERY.RecoveryDatabase")?;
            match &self.collation {
                None => out.u8(0),
                Some(collation) => {
                    out.u8(5);
                    out.bytes(&collation.0);
                }
            }
            out.b_varchar(&self.language, "SESSIONRECOVERY.RecoveryLanguage")?;
            write_states(&self.states, out)
        })
    }
}

impl FedAuth {
    /// Options: the library in the upper 7 bits, the echo in bit 0, as drivers
    /// write them; the specification names the library first.
    fn parse(data: &mut Reader<'_>) -> Result<Self, WireError> {
        let options = data.u8("FEDAUTH.Options")?;
        let (library, echo) = (options >> 1, options & 1 == 1);
        Ok(match library {
            0 => {
                let token = Secret::new(data.l_varbyte("FEDAUTH.FedAuthToken")?.to_vec());
                Self::LiveId { echo, token, signed: Secret::new(data.rest().to_vec()) }
            }
            1 => {
                let token = Secret::new(data.l_varbyte("FEDAUTH.FedAuthToken")?.to_vec());
                let nonce = if data.left() == 0 { None } else { Some(data.array("FEDAUTH.Nonce")?) };
                Self::SecurityToken { echo, token, nonce }
            }
            2 => Self::Workflow { echo, workflow: data.u8("FEDAUTH.Workflow")? },
            library => Self::Other { echo, library, data: Secret::new(data.rest().to_vec()) },
        })
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let options = |library: u8, echo: &bool| library << 1 | u8::from(*echo);
        match self {
            Self::LiveId { echo, token, signed } => {
                out.u8(options(0, echo));
                out.l_varbyte(token.expose(), "FEDAUTH.FedAuthToken")?;
                out.bytes(signed.expose());
            }
            Self::SecurityToken { echo, token, nonce } => {
                out.u8(options(1, echo));
                out.l_varbyte(token.expose(), "FEDAUTH.FedAuthToken")?;
                out.bytes(nonce.as_ref().map_or(&[], |nonce| nonce.as_slice()));
            }
            Self::Workflow { echo, workflow } => {
                out.u8(options(2, echo));
                out.u8(*workflow);
            }
            Self::Other { echo, library, data } => {
                out.u8(options(*library & 0x7F, echo));
                out.bytes(data.expose());
            }
        }
        Ok(())
    }
}
