use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Who runs the gateway and its clients, and over which family they speak.
/// Every test runs from both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// Root, IPv4 everywhere.
    RootV4,
    /// An ordinary user with no groups and no capabilities, IPv6 everywhere.
    OrdinaryV6,
}

impl Seat {
    /// The loopback address of the family.
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::RootV4 => Ipv4Addr::LOCALHOST.into(),
            Self::OrdinaryV6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// `IP:0` as a listening address.
    pub fn any_port(self) -> String {
        match self {
            Self::RootV4 => "127.0.0.1:0".to_owned(),
            Self::OrdinaryV6 => "[::1]:0".to_owned(),
        }
    }

    /// A word for names of files and namespaces.
    pub fn label(self) -> &'static str {
        match self {
            Self::RootV4 => "r4",
            Self::OrdinaryV6 => "u6",
        }
    }

    /// A command that runs as the user of this seat, its environment cleared
    /// but for `PATH`.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self {
            Self::RootV4 => Command::new(program),
            Self::OrdinaryV6 => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", ORDINARY, "--regid", ORDINARY, "--clear-groups", "--no-new-privs"])
                    .args(["--inh-caps", "-all", "--ambient-caps", "-all", "--bounding-set", "-all", "--"])
                    .arg(program);
                command
            }
        };
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// Gives a file or folder to the user of this seat.
    ///
    /// # Errors
    /// When the owner cannot be changed.
    pub fn own(self, path: &Path) -> Result<()> {
        match self {
            Self::RootV4 => Ok(()),
            Self::OrdinaryV6 => std::os::unix::fs::chown(path, Some(ORDINARY_ID), Some(ORDINARY_ID))
                .with_context(|| format!("give {} to uid {ORDINARY}", path.display())),
        }
    }
}

const ORDINARY: &str = "65534";
const ORDINARY_ID: u32 = 65_534;
