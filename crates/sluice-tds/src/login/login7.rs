use std::fmt;

use zeroize::Zeroizing;

use crate::error::{TooLong, WireError};
use crate::limits::Limits;
use crate::login::features::Feature;
use crate::secret::Secret;
use crate::text::Text;
use crate::wire::{Put, Reader, fit, size, text};

/// Who logs in, to what, and what it asks for (2.2.6.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login7 {
    /// Highest version that the client speaks.
    pub tds_version: TdsVersion,
    /// Packet size that it asks for; see [`PacketSize::granted`](crate::PacketSize::granted).
    pub packet_size: u32,
    /// Version of the client's library.
    pub client_version: u32,
    /// The client's process id.
    pub client_pid: u32,
    /// Connection id of the primary server.
    pub connection_id: u32,
    /// Byte order, character set, ...
    pub option_flags1: u8,
    /// Bit 7: integrated authentication.
    pub option_flags2: u8,
    /// Bit 5: read-only intent.
    pub type_flags: u8,
    /// Bit 0: change of password. Bit 4 (extension) is set by
    /// [`write`](Self::write) as `features` needs it.
    pub option_flags3: u8,
    /// Minutes from UTC.
    pub time_zone: i32,
    /// Ignored by servers.
    pub lcid: u32,
    /// The client's host.
    pub host_name: Text,
    /// SQL login.
    pub user_name: Text,
    /// Its password, in UTF-16.
    pub password: Secret,
    /// The application.
    pub app_name: Text,
    /// The server, as the client calls it.
    pub server_name: Text,
    /// The client's library.
    pub library_name: Text,
    /// Language asked for.
    pub language: Text,
    /// Database asked for.
    pub database: Text,
    /// Usually a MAC address.
    pub client_id: [u8; 6],
    /// First message of integrated authentication.
    pub sspi: Secret,
    /// Database file to attach.
    pub attach_file: Text,
    /// New password, in UTF-16.
    pub new_password: Secret,
    /// Extensions; `None`: the client knows none.
    pub features: Option<Vec<Feature>>,
}

/// A version of TDS as clients write it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TdsVersion(pub u32);

impl TdsVersion {
    /// SQL Server 2005.
    pub const V7_2: Self = Self(0x7209_0002);
    /// SQL Server 2012 and Azure SQL.
    pub const V7_4: Self = Self(0x7400_0004);
    /// SQL Server 2022: TLS before everything.
    pub const V8_0: Self = Self(0x0800_0000);

    /// Whether this crate reads it.
    pub fn is_known(self) -> bool {
        matches!(self.0 >> 24, 0x72..=0x74 | 0x08)
    }
}

impl Default for TdsVersion {
    fn default() -> Self {
        Self::V7_4
    }
}

impl fmt::Debug for TdsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl Login7 {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// Whatever 2.2.6.4 forbids, names over its limits, versions before 7.2.
    pub fn parse(payload: &[u8]) -> Result<Self, WireError> {
        let mut whole = Reader::open(payload, 0);
        let length = size(whole.u32("LOGIN7.Length")?);
        whole.at_most(length, Limits::LOGIN, "LOGIN7.Length")?;
        whole.take(length.saturating_sub(4), "LOGIN7")?;
        whole.end("LOGIN7")?;
        let mut data = Reader::open(payload, 0).inside(length, "LOGIN7.Length")?;
        let r = &mut data;
        r.u32("LOGIN7.Length")?;
        let tds_version = TdsVersion(r.u32("LOGIN7.TDSVersion")?);
        if !tds_version.is_known() {
            return Err(r.malformed("LOGIN7.TDSVersion", tds_version.0.into(), "only TDS 7.2 to 7.4 and 8.0 are read"));
        }
        let mut login = Self {
            tds_version,
            packet_size: r.u32("LOGIN7.PacketSize")?,
            client_version: r.u32("LOGIN7.ClientProgVer")?,
            client_pid: r.u32("LOGIN7.ClientPID")?,
            connection_id: r.u32("LOGIN7.ConnectionID")?,
            option_flags1: r.u8("LOGIN7.OptionFlags1")?,
            option_flags2: r.u8("LOGIN7.OptionFlags2")?,
            type_flags: r.u8("LOGIN7.TypeFlags")?,
            option_flags3: r.u8("LOGIN7.OptionFlags3")?,
            time_zone: r.i32("LOGIN7.ClientTimeZone")?,
            lcid: r.u32("LOGIN7.ClientLCID")?,
            ..Self::default()
        };
        login.host_name = name(r, "LOGIN7.HostName", NAME)?;
        login.user_name = name(r, "LOGIN7.UserName", NAME)?;
        login.password = password(r, "LOGIN7.Password")?;
        login.app_name = name(r, "LOGIN7.AppName", NAME)?;
        login.server_name = name(r, "LOGIN7.ServerName", NAME)?;
        let extension = (r.u16("LOGIN7.ibExtension")?, r.u16("LOGIN7.cbExtension")?);
        login.library_name = name(r, "LOGIN7.CltIntName", NAME)?;
        login.language = name(r, "LOGIN7.Language", NAME)?;
        login.database = name(r, "LOGIN7.Database", NAME)?;
        login.client_id = r.array("LOGIN7.ClientID")?;
        let sspi = (r.u16("LOGIN7.ibSSPI")?, r.u16("LOGIN7.cbSSPI")?);
        login.attach_file = name(r, "LOGIN7.AtchDBFile", FILE_NAME)?;
        login.new_password = password(r, "LOGIN7.ChangePassword")?;
        let long_sspi = r.u32("LOGIN7.cbSSPILong")?;
        let sspi_length = if sspi.1 == u16::MAX && long_sspi > 0 { size(long_sspi) } else { sspi.1.into() };
        login.sspi = Secret::new(at(r, sspi.0, sspi_length, "LOGIN7.SSPI")?.rest().to_vec());
        if login.option_flags3 & EXTENSION != 0 {
            let mut block = at(r, extension.0, extension.1.into(), "LOGIN7.Extension")?;
            let offset = block.u32("LOGIN7.Extension.FeatureExtOffset")?;
            let mut features = r.clone_at_start();
            features.take(size(offset), "LOGIN7.Extension.FeatureExtOffset")?;
            login.features = Some(Feature::parse_all(&mut features)?);
        }
        Ok(login)
    }

    /// Appends the message to `out`.
    ///
    /// # Errors
    ///
    /// If a name is longer than its field, or all of it longer than a LOGIN7.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let mut fixed = Vec::with_capacity(FIXED);
        // Room for all that is allowed: passwords must not stay behind in an outgrown allocation.
        let mut data = Zeroizing::new(Vec::with_capacity(Limits::LOGIN));
        let extended = self.features.is_some();
        let flags3 = if extended { self.option_flags3 | EXTENSION } else { self.option_flags3 & !EXTENSION };
        for number in [self.tds_version.0, self.packet_size, self.client_version, self.client_pid, self.connection_id] {
            fixed.u32(number);
        }
        fixed.bytes(&[self.option_flags1, self.option_flags2, self.type_flags, flags3]);
        fixed.i32(self.time_zone);
        fixed.u32(self.lcid);
        write_name(&mut fixed, &mut data, &self.host_name, "LOGIN7.HostName", NAME)?;
        write_name(&mut fixed, &mut data, &self.user_name, "LOGIN7.UserName", NAME)?;
        write_password(&mut fixed, &mut data, &self.password, "LOGIN7.Password")?;
        write_name(&mut fixed, &mut data, &self.app_name, "LOGIN7.AppName", NAME)?;
        write_name(&mut fixed, &mut data, &self.server_name, "LOGIN7.ServerName", NAME)?;
        write_place(&mut fixed, &data, if extended { 4 } else { 0 }, "LOGIN7.Extension")?;
        let extension = data.len();
        data.bytes(if extended { &[0; 4] } else { &[] });
        write_name(&mut fixed, &mut data, &self.library_name, "LOGIN7.CltIntName", NAME)?;
        write_name(&mut fixed, &mut data, &self.language, "LOGIN7.Language", NAME)?;
        write_name(&mut fixed, &mut data, &self.database, "LOGIN7.Database", NAME)?;
        fixed.bytes(&self.client_id);
        let sspi = self.sspi.expose();
        let long_sspi = sspi.len() >= usize::from(u16::MAX);
        let sspi_length = if long_sspi { usize::from(u16::MAX) } else { sspi.len() };
        // What is long comes last, so that offsets of 16 bits reach the rest.
        let sspi_place = fixed.len();
        fixed.u32(0);
        write_name(&mut fixed, &mut data, &self.attach_file, "LOGIN7.AtchDBFile", FILE_NAME)?;
        write_password(&mut fixed, &mut data, &self.new_password, "LOGIN7.ChangePassword")?;
        fixed.u32(if long_sspi { fit(sspi.len(), "LOGIN7.cbSSPILong")? } else { 0 });
        let mut place = Vec::new();
        write_place(&mut place, &data, sspi_length, "LOGIN7.SSPI")?;
        overwrite(&mut fixed, sspi_place, &place);
        data.bytes(sspi);
        if let Some(features) = &self.features {
            let offset: u32 = fit(FIXED + data.len(), "LOGIN7.Extension.FeatureExtOffset")?;
            overwrite(&mut data, extension, &offset.to_le_bytes());
            Feature::write_all(features, &mut data)?;
        }
        let length = FIXED + data.len();
        if length > Limits::LOGIN {
            return Err(TooLong { field: "LOGIN7.Length", value: length, limit: Limits::LOGIN });
        }
        out.u32(fit(length, "LOGIN7.Length")?);
        out.bytes(&fixed);
        out.bytes(&data);
        Ok(())
    }

    /// Whether the client wants integrated (Windows) authentication.
    pub fn integrated_security(&self) -> bool {
        self.option_flags2 & 0x80 != 0
    }

    /// Whether the client only means to read.
    pub fn read_only_intent(&self) -> bool {
        self.type_flags & 0x20 != 0
    }

    /// Whether the client changes its password.
    pub fn change_password(&self) -> bool {
        self.option_flags3 & 0x01 != 0
    }
}

/// Bytes before the variable part.
const FIXED: usize = 94;
/// Units of a name, and of a password.
const NAME: usize = 128;
/// Units of a file's name.
const FILE_NAME: usize = 260;
/// fExtension in OptionFlags3.
const EXTENSION: u8 = 0x10;

/// What stands at an offset from the beginning. Where the length is zero, the
/// offset means nothing.
fn at<'a>(r: &Reader<'a>, offset: u16, length: usize, field: &'static str) -> Result<Reader<'a>, WireError> {
    let mut start = r.clone_at_start();
    if length > 0 {
        start.take(offset.into(), field)?;
    }
    start.inside(length, field)
}

fn name(r: &mut Reader<'_>, field: &'static str, limit: usize) -> Result<Text, WireError> {
    let (offset, units) = (r.u16(field)?, r.u16(field)?);
    r.at_most(units.into(), limit, field)?;
    let mut data = at(r, offset, usize::from(units) * 2, field)?;
    let offset = data.offset();
    text(data.rest(), field, offset)
}

fn password(r: &mut Reader<'_>, field: &'static str) -> Result<Secret, WireError> {
    let (offset, units) = (r.u16(field)?, r.u16(field)?);
    r.at_most(units.into(), NAME, field)?;
    let hidden = at(r, offset, usize::from(units) * 2, field)?.rest();
    Ok(Secret::new(hidden.iter().map(|byte| (byte ^ MASK).rotate_left(4)).collect()))
}

/// Passwords are not encrypted, only made unreadable to people.
const MASK: u8 = 0xA5;

fn write_place(fixed: &mut Vec<u8>, data: &[u8], length: usize, field: &'static str) -> Result<(), TooLong> {
    fixed.u16(fit(FIXED + data.len(), field)?);
    fixed.u16(fit(length, field)?);
    Ok(())
}

fn write_name(
    fixed: &mut Vec<u8>,
    data: &mut Vec<u8>,
    name: &Text,
    field: &'static str,
    limit: usize,
) -> Result<(), TooLong> {
    let units = name.units().len();
    if units > limit {
        return Err(TooLong { field, value: units, limit });
    }
    write_place(fixed, data, units, field)?;
    name.write(data);
    Ok(())
}

fn write_password(
    fixed: &mut Vec<u8>,
    data: &mut Zeroizing<Vec<u8>>,
    password: &Secret,
    field: &'static str,
) -> Result<(), TooLong> {
    let units = password.expose().len() / 2;
    if units > NAME {
        return Err(TooLong { field, value: units, limit: NAME });
    }
    write_place(fixed, data, units, field)?;
    data.extend(password.expose().iter().take(units * 2).map(|byte| byte.rotate_left(4) ^ MASK));
    Ok(())
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (slot, byte) in bytes.iter_mut().skip(at).zip(with) {
        *slot = *byte;
    }
}
