use std::sync::Arc;

use crate::error::{TooLong, WireError};
use crate::limits::Negotiated;
use crate::secret::Secret;
use crate::server::classification::DataClassification;
use crate::server::columns::{AltMetadata, ColMetadata};
use crate::server::done::{Done, DoneKind};
use crate::server::env_change::EnvChange;
use crate::server::login::{FeatureAck, FedAuthInfo, LoginAck};
use crate::server::message::Message;
use crate::server::order::{ColInfo, parse_col_info, parse_order, parse_tab_name, write_col_info, write_tab_name};
use crate::server::return_value::ReturnValue;
use crate::server::session_state::SessionState;
use crate::text::Text;
use crate::wire::{Put, Reader};

/// A token that comes whole. Rows are no tokens here: see [`Event`](crate::Event).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// 2.2.7.4: the columns of the rows that follow.
    ColMetadata(Arc<ColMetadata>),
    /// 2.2.7.4: rows follow whose columns the client knows already.
    NoMetadata,
    /// 2.2.7.1: the columns of totals.
    AltMetadata(Arc<AltMetadata>),
    /// 2.2.7.6, 2.2.7.7, 2.2.7.8: a statement or a procedure is done.
    Done(Done),
    /// 2.2.7.10.
    Error(Message),
    /// 2.2.7.13.
    Info(Message),
    /// 2.2.7.14.
    LoginAck(LoginAck),
    /// 2.2.7.9.
    EnvChange(EnvChange),
    /// 2.2.7.11.
    FeatureExtAck(Vec<FeatureAck>),
    /// 2.2.7.12.
    FedAuthInfo(FedAuthInfo),
    /// 2.2.7.17: numbers of the columns that the rows are ordered by.
    Order(Vec<u16>),
    /// 2.2.7.18.
    ReturnStatus(i32),
    /// 2.2.7.21.
    SessionState(SessionState),
    /// 2.2.7.22: integrated authentication goes on.
    Sspi(Secret),
    /// 2.2.7.23: tables by the parts of their names.
    TabName(Vec<Vec<Text>>),
    /// 2.2.7.3.
    ColInfo(Vec<ColInfo>),
    /// 2.2.7.5: sensitivity labels of the columns.
    DataClassification(DataClassification),
}

/// Numbers of tokens (2.2.5.8).
pub(super) mod id {
    pub(in crate::server) const RETURNSTATUS: u8 = 0x79;
    pub(in crate::server) const COLMETADATA: u8 = 0x81;
    pub(in crate::server) const ALTMETADATA: u8 = 0x88;
    pub(in crate::server) const DATACLASSIFICATION: u8 = 0xA3;
    pub(in crate::server) const TABNAME: u8 = 0xA4;
    pub(in crate::server) const COLINFO: u8 = 0xA5;
    pub(in crate::server) const ORDER: u8 = 0xA9;
    pub(in crate::server) const ERROR: u8 = 0xAA;
    pub(in crate::server) const INFO: u8 = 0xAB;
    pub(in crate::server) const RETURNVALUE: u8 = 0xAC;
    pub(in crate::server) const LOGINACK: u8 = 0xAD;
    pub(in crate::server) const FEATUREEXTACK: u8 = 0xAE;
    pub(in crate::server) const ROW: u8 = 0xD1;
    pub(in crate::server) const NBCROW: u8 = 0xD2;
    pub(in crate::server) const ALTROW: u8 = 0xD3;
    pub(in crate::server) const ENVCHANGE: u8 = 0xE3;
    pub(in crate::server) const SESSIONSTATE: u8 = 0xE4;
    pub(in crate::server) const SSPI: u8 = 0xED;
    pub(in crate::server) const FEDAUTHINFO: u8 = 0xEE;
    pub(in crate::server) const DONE: u8 = 0xFD;
    pub(in crate::server) const DONEPROC: u8 = 0xFE;
    pub(in crate::server) const DONEINPROC: u8 = 0xFF;
}

impl Token {
    /// Reads the token that begins with `id`, of those that are read in one go.
    pub(super) fn parse(id: u8, r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match id {
            id::RETURNSTATUS => Self::ReturnStatus(r.i32("RETURNSTATUS.Value")?),
            id::TABNAME => Self::TabName(parse_tab_name(&mut short(r, "TABNAME.Length")?)?),
            id::COLINFO => Self::ColInfo(parse_col_info(&mut short(r, "COLINFO.Length")?)?),
            id::ORDER => Self::Order(parse_order(&mut short(r, "ORDER.Length")?)?),
            id::ERROR => Self::Error(Message::parse(&mut short(r, "ERROR.Length")?)?),
            id::INFO => Self::Info(Message::parse(&mut short(r, "INFO.Length")?)?),
            id::LOGINACK => Self::LoginAck(LoginAck::parse(&mut short(r, "LOGINACK.Length")?)?),
            id::FEATUREEXTACK => Self::FeatureExtAck(FeatureAck::parse_all(r)?),
            id::ENVCHANGE => Self::EnvChange(EnvChange::parse(r)?),
            id::SESSIONSTATE => Self::SessionState(SessionState::parse(r)?),
            id::SSPI => Self::Sspi(Secret::new(r.us_varbyte("SSPI.SSPIBuffer")?.to_vec())),
            id::FEDAUTHINFO => Self::FedAuthInfo(FedAuthInfo::parse(r)?),
            id::DONE => Self::Done(Done::parse(DoneKind::Done, r)?),
            id::DONEPROC => Self::Done(Done::parse(DoneKind::DoneProc, r)?),
            id::DONEINPROC => Self::Done(Done::parse(DoneKind::DoneInProc, r)?),
            id => return Err(r.malformed("token", id.into(), "no token of TDS 7.2 to 8.0 that may stand here")),
        })
    }

    /// Appends the token to `out`.
    ///
    /// # Errors
    ///
    /// If something is longer than its field.
    pub fn write(&self, negotiated: &Negotiated, out: &mut Vec<u8>) -> Result<(), TooLong> {
        match self {
            Self::ColMetadata(columns) => {
                out.u8(id::COLMETADATA);
                columns.write(negotiated, out)
            }
            Self::NoMetadata => {
                out.u8(id::COLMETADATA);
                out.u16(u16::MAX);
                Ok(())
            }
            Self::AltMetadata(columns) => {
                out.u8(id::ALTMETADATA);
                columns.write(out)
            }
            Self::Done(done) => {
                done.write(out);
                Ok(())
            }
            Self::Error(message) => {
                out.u8(id::ERROR);
                out.sized::<u16>("ERROR.Length", |out| message.write(out))
            }
            Self::Info(message) => {
                out.u8(id::INFO);
                out.sized::<u16>("INFO.Length", |out| message.write(out))
            }
            Self::LoginAck(ack) => {
                out.u8(id::LOGINACK);
                out.sized::<u16>("LOGINACK.Length", |out| ack.write(out))
            }
            Self::EnvChange(change) => {
                out.u8(id::ENVCHANGE);
                change.write(out)
            }
            Self::FeatureExtAck(acks) => {
                out.u8(id::FEATUREEXTACK);
                FeatureAck::write_all(acks, out)
            }
            Self::FedAuthInfo(info) => {
                out.u8(id::FEDAUTHINFO);
                info.write(out)
            }
            Self::Order(columns) => {
                out.u8(id::ORDER);
                out.sized::<u16>("ORDER.Length", |out| {
                    columns.iter().for_each(|column| out.u16(*column));
                    Ok(())
                })
            }
            Self::ReturnStatus(status) => {
                out.u8(id::RETURNSTATUS);
                out.i32(*status);
                Ok(())
            }
            Self::SessionState(state) => {
                out.u8(id::SESSIONSTATE);
                out.sized::<u32>("SESSIONSTATE.Length", |out| state.write(out))
            }
            Self::Sspi(data) => {
                out.u8(id::SSPI);
                out.us_varbyte(data.expose(), "SSPI.SSPIBuffer")
            }
            Self::TabName(tables) => {
                out.u8(id::TABNAME);
                out.sized::<u16>("TABNAME.Length", |out| write_tab_name(tables, out))
            }
            Self::ColInfo(columns) => {
                out.u8(id::COLINFO);
                out.sized::<u16>("COLINFO.Length", |out| write_col_info(columns, out))
            }
            Self::DataClassification(classification) => {
                out.u8(id::DATACLASSIFICATION);
                classification.write(negotiated, out)
            }
        }
    }
}

impl ReturnValue {
    /// Appends RETURNVALUE (2.2.7.19) up to its value, which
    /// [`write_value`](crate::write_value) appends.
    ///
    /// # Errors
    ///
    /// If something is longer than its field.
    pub fn write(&self, negotiated: &Negotiated, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u8(id::RETURNVALUE);
        self.write_body(negotiated, out)
    }
}

/// What a USHORT of length holds. The token's own reader checks its end.
fn short<'a>(r: &mut Reader<'a>, field: &'static str) -> Result<Reader<'a>, WireError> {
    let length = r.u16(field)?;
    r.inside(length.into(), field)
}
