use crate::error::{TooLong, WireError};
use crate::limits::Negotiated;
use crate::login::FeatureId;
use crate::text::Text;
use crate::wire::{Put, Reader, fit, size};

/// Login succeeded (2.2.7.14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginAck {
    /// 1: T-SQL.
    pub interface: u8,
    /// As servers write it: 0x74000004 for TDS 7.4, 0x08000000 for 8.0.
    pub tds_version: u32,
    /// The server's program.
    pub program: Text,
    /// Major, minor, build (big-endian).
    pub version: [u8; 4],
}

impl LoginAck {
    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let ack = Self {
            interface: r.u8("LOGINACK.Interface")?,
            tds_version: r.array("LOGINACK.TDSVersion").map(u32::from_be_bytes)?,
            program: r.b_varchar("LOGINACK.ProgName")?,
            version: r.array("LOGINACK.ProgVersion")?,
        };
        r.end("LOGINACK.Length").map(|()| ack)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.u8(self.interface);
        out.bytes(&self.tds_version.to_be_bytes());
        out.b_varchar(&self.program, "LOGINACK.ProgName")?;
        out.bytes(&self.version);
        Ok(())
    }
}

/// What the server says to a feature that the client asked for (2.2.7.11).
/// Drivers end the connection over one that they did not ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureAck {
    /// Which.
    pub id: FeatureId,
    /// What it says, in the feature's own form.
    pub data: Vec<u8>,
}

impl FeatureAck {
    pub(super) fn parse_all(r: &mut Reader<'_>) -> Result<Vec<Self>, WireError> {
        let mut acks: Vec<Self> = Vec::new();
        loop {
            let id = FeatureId(r.u8("FEATUREEXTACK.FeatureId")?);
            if id.0 == FeatureId::TERMINATOR {
                return Ok(acks);
            }
            if acks.iter().any(|ack| ack.id == id) {
                return Err(r.malformed("FEATUREEXTACK.FeatureId", id.0.into(), "a feature comes once"));
            }
            let data = r.l_varbyte("FEATUREEXTACK.FeatureAckData")?.to_vec();
            acks.push(Self { id, data });
        }
    }

    pub(super) fn write_all(acks: &[Self], out: &mut Vec<u8>) -> Result<(), TooLong> {
        for ack in acks {
            out.u8(ack.id.0);
            out.l_varbyte(&ack.data, "FEATUREEXTACK.FeatureAckData")?;
        }
        out.u8(FeatureId::TERMINATOR);
        Ok(())
    }
}

impl Negotiated {
    /// What a server's acknowledgements mean for the bytes after login.
    pub fn from_acks(acks: &[FeatureAck]) -> Self {
        let data = |id| acks.iter().find(|ack| ack.id == id).map(|ack| ack.data.as_slice());
        Self {
            column_encryption: data(FeatureId::COLUMN_ENCRYPTION).and_then(|data| data.first().copied()),
            data_classification: match data(FeatureId::DATA_CLASSIFICATION) {
                Some([version, enabled, ..]) if *enabled != 0 => Some(*version),
                _ => None,
            },
        }
    }
}

/// Who issues the token that the client shall bring (2.2.7.12). Bytes of
/// UTF-16, by number: 1 the endpoint, 2 the server's principal name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FedAuthInfo {
    /// Number and text.
    pub options: Vec<(u8, Text)>,
}

impl FedAuthInfo {
    /// Where the client gets its token.
    pub const STS_URL: u8 = 1;
    /// What the token shall be for.
    pub const SPN: u8 = 2;

    /// One of them.
    pub fn get(&self, id: u8) -> Option<&Text> {
        self.options.iter().find(|(other, _)| *other == id).map(|(_, text)| text)
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let length = size(r.u32("FEDAUTHINFO.TokenLength")?);
        let mut r = r.inside(length, "FEDAUTHINFO.TokenLength")?;
        let count = r.u32("FEDAUTHINFO.CountOfInfoIDs")?;
        let mut options = Vec::new();
        // No two options are alike, so there are no more than numbers for them.
        r.at_most(size(count), 255, "FEDAUTHINFO.CountOfInfoIDs")?;
        for _ in 0..count {
            let id = r.u8("FEDAUTHINFO.FedAuthInfoID")?;
            let length = size(r.u32("FEDAUTHINFO.FedAuthInfoDataLen")?);
            let offset = size(r.u32("FEDAUTHINFO.FedAuthInfoDataOffset")?);
            let mut data = r.clone_at_start();
            data.take(offset, "FEDAUTHINFO.FedAuthInfoDataOffset")?;
            let at = data.offset();
            let text = crate::wire::text(
                data.take(length, "FEDAUTHINFO.FedAuthInfoDataLen")?,
                "FEDAUTHINFO.FedAuthInfoData",
                at,
            )?;
            options.push((id, text));
        }
        Ok(Self { options })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.sized::<u32>("FEDAUTHINFO.TokenLength", |out| {
            out.u32(fit(self.options.len(), "FEDAUTHINFO.CountOfInfoIDs")?);
            let mut offset = 4 + self.options.len() * 9;
            for (id, text) in &self.options {
                let length = text.units().len() * 2;
                out.u8(*id);
                out.u32(fit(length, "FEDAUTHINFO.FedAuthInfoDataLen")?);
                out.u32(fit(offset, "FEDAUTHINFO.FedAuthInfoDataOffset")?);
                offset += length;
            }
            self.options.iter().for_each(|(_, text)| text.write(out));
            Ok(())
        })
    }
}
