use crate::error::{TooLong, WireError};
use crate::wire::{Put, Reader, fit};

/// What both sides offer before login (2.2.6.5). The options stay in their
/// order, with those that nobody here knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreLogin {
    options: Vec<(PreLoginOption, Vec<u8>)>,
}

/// Number of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PreLoginOption(pub u8);

impl PreLoginOption {
    /// Version of the sender: major, minor, build (2, big-endian), sub-build (2).
    pub const VERSION: Self = Self(0);
    /// One byte: [`Encryption`].
    pub const ENCRYPTION: Self = Self(1);
    /// From clients the instance's name with a zero; from servers 0 or 1.
    pub const INSTANCE: Self = Self(2);
    /// The client's thread; empty from servers.
    pub const THREAD_ID: Self = Self(3);
    /// One byte: 1 asks for, or grants, MARS.
    pub const MARS: Self = Self(4);
    /// Connection id (16), activity id (16), sequence (4); empty from servers.
    pub const TRACE_ID: Self = Self(5);
    /// One byte.
    pub const FED_AUTH_REQUIRED: Self = Self(6);
    /// 32 bytes.
    pub const NONCE: Self = Self(7);
}

/// Values of [`PreLoginOption::ENCRYPTION`] without the bits beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encryption {
    /// Available, not wanted: only the login is encrypted.
    Off = 0,
    /// On.
    On = 1,
    /// Not available.
    NotSupported = 2,
    /// Required.
    Required = 3,
}

impl PreLogin {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// Whatever 2.2.6.5 forbids, an option that comes twice, or one whose length
    /// is not its own.
    pub fn parse(payload: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::open(payload, 0);
        let mut options: Vec<(PreLoginOption, Vec<u8>)> = Vec::new();
        loop {
            let token = reader.u8("PRELOGIN.PL_OPTION_TOKEN")?;
            if token == TERMINATOR {
                break;
            }
            let option = PreLoginOption(token);
            if options.iter().any(|(other, _)| *other == option) {
                return Err(reader.malformed("PRELOGIN.PL_OPTION_TOKEN", token.into(), "an option comes once"));
            }
            if options.is_empty() && option != PreLoginOption::VERSION {
                return Err(reader.malformed("PRELOGIN.PL_OPTION_TOKEN", token.into(), "VERSION (0) comes first"));
            }
            let offset = reader.u16_be("PRELOGIN.PL_OFFSET")?;
            let length = reader.u16_be("PRELOGIN.PL_OPTION_LENGTH")?;
            if !option.allows(length) {
                let rule = "no length that this option has";
                return Err(reader.malformed("PRELOGIN.PL_OPTION_LENGTH", length.into(), rule));
            }
            let mut data = Reader::open(payload, 0);
            data.take(offset.into(), "PRELOGIN.PL_OFFSET")?;
            options.push((option, data.take(length.into(), "PRELOGIN.PL_OPTION_DATA")?.to_vec()));
        }
        if options.is_empty() {
            return Err(reader.malformed("PRELOGIN.PL_OPTION_TOKEN", TERMINATOR.into(), "VERSION (0) comes first"));
        }
        Ok(Self { options })
    }

    /// Appends the message to `out`.
    ///
    /// # Errors
    ///
    /// If options and data do not fit into 65,535 bytes.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let mut offset = self.options.len() * 5 + 1;
        for (option, data) in &self.options {
            out.u8(option.0);
            out.u16_be(fit(offset, "PRELOGIN.PL_OFFSET")?);
            out.u16_be(fit(data.len(), "PRELOGIN.PL_OPTION_LENGTH")?);
            offset += data.len();
        }
        out.u8(TERMINATOR);
        for (_, data) in &self.options {
            out.bytes(data);
        }
        Ok(())
    }

    /// All options, in order.
    pub fn options(&self) -> &[(PreLoginOption, Vec<u8>)] {
        &self.options
    }

    /// The data of one.
    pub fn get(&self, option: PreLoginOption) -> Option<&[u8]> {
        self.options.iter().find(|(other, _)| *other == option).map(|(_, data)| data.as_slice())
    }

    /// Sets one, in its place if it is there, else last.
    pub fn set(&mut self, option: PreLoginOption, data: Vec<u8>) {
        match self.options.iter_mut().find(|(other, _)| *other == option) {
            Some((_, old)) => *old = data,
            None => self.options.push((option, data)),
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, option: PreLoginOption) {
        self.options.retain(|(other, _)| *other != option);
    }

    /// What is said of encryption; without the bits for extensions and client
    /// certificates.
    pub fn encryption(&self) -> Option<Encryption> {
        match *self.get(PreLoginOption::ENCRYPTION)?.first()? & 0x0F {
            0 => Some(Encryption::Off),
            1 => Some(Encryption::On),
            2 => Some(Encryption::NotSupported),
            3 => Some(Encryption::Required),
            _ => None,
        }
    }

    /// Whether MARS is asked for, or granted.
    pub fn mars(&self) -> bool {
        self.get(PreLoginOption::MARS).is_some_and(|data| data == [1])
    }
}

impl PreLoginOption {
    /// Options that mean something to this side have the length of 2.2.6.5;
    /// what is for the peer alone is the peer's business.
    fn allows(self, length: u16) -> bool {
        match self {
            Self::VERSION => length == 6,
            Self::ENCRYPTION | Self::FED_AUTH_REQUIRED => length == 1,
            Self::MARS => length <= 1,
            Self::NONCE => length == 32,
            _ => true,
        }
    }
}

const TERMINATOR: u8 = 0xFF;
