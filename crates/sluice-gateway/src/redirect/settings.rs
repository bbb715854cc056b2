//! What the init step is told, by environment variables.

use std::collections::BTreeSet;

use super::{DNS_PORT, GATEWAY_USER, HEALTH_PORT, TCP_PORT};

/// What the rules depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// UID and GID of the gateway: sockets of a process that has both are
    /// exempt.
    pub(super) user: u32,
    /// TCP ports on which the agent takes connections from outside the pod.
    pub(super) inbound: BTreeSet<u16>,
}

/// A variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value:?}: {fix}")]
pub struct SettingsError {
    variable: &'static str,
    value: String,
    fix: String,
}

impl Settings {
    /// Reads the variables through `get`, which knows the environment.
    ///
    /// # Errors
    /// A variable has a value that is none of its kind.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let user = match get(USER) {
            Some(value) => parse_user(&value).map_err(|fix| SettingsError { variable: USER, value, fix })?,
            None => GATEWAY_USER,
        };
        let inbound = match get(INBOUND) {
            Some(value) => parse_ports(&value).map_err(|fix| SettingsError { variable: INBOUND, value, fix })?,
            None => BTreeSet::new(),
        };
        Ok(Self { user, inbound })
    }

    /// UID and GID of the gateway.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.user
    }

    /// TCP ports on which the agent takes connections from outside the pod.
    #[must_use]
    pub fn inbound(&self) -> &BTreeSet<u16> {
        &self.inbound
    }
}

fn parse_user(value: &str) -> Result<u32, String> {
    const FORM: &str = "give the number that is the gateway's UID and GID";
    match number(value) {
        Some(0) => Err(format!("root would be exempt; {FORM}")),
        Some(OVERFLOW) => Err(format!("every user that the pod's user namespace does not know is {OVERFLOW}; {FORM}")),
        Some(user) if user < u32::MAX => Ok(user),
        _ => Err(format!("that is no user; {FORM}, from 1 to {}", u32::MAX - 1)),
    }
}

/// Divided by commas; nothing at all is no port.
fn parse_ports(value: &str) -> Result<BTreeSet<u16>, String> {
    let mut ports = BTreeSet::new();
    for item in value.split(',').map(str::trim) {
        if item.is_empty() && value.trim().is_empty() {
            break;
        }
        let port = number(item).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        let port =
            port.ok_or_else(|| format!("{item:?} is no port; write numbers from 1 to 65535, divided by commas"))?;
        if [TCP_PORT, DNS_PORT, HEALTH_PORT].contains(&port) {
            return Err(format!("{port} is the gateway's own; leave it out"));
        }
        ports.insert(port);
    }
    if ports.len() > PORTS {
        return Err(format!("{} ports; at most {PORTS} can be opened", ports.len()));
    }
    Ok(ports)
}

/// Decimal digits and nothing else (`parse` alone would take `+1`).
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

const USER: &str = "SLUICE_GATEWAY_USER";
const INBOUND: &str = "SLUICE_INBOUND_PORTS";
/// What the kernel calls a user that a user namespace does not know.
const OVERFLOW: u32 = 65534;
/// Each is two rules of one transaction.
const PORTS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(user: Option<&str>, inbound: Option<&str>) -> Result<Settings, String> {
        let get = |name: &str| match name {
            USER => user.map(str::to_owned),
            INBOUND => inbound.map(str::to_owned),
            _ => None,
        };
        Settings::read(get).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_unset_or_empty_has_a_default() {
        let settings = read(None, None).expect("settings");
        assert_eq!((settings.user(), settings.inbound().len()), (GATEWAY_USER, 0));
        assert_eq!(read(None, Some(" ")), Ok(settings));
    }

    #[test]
    fn a_user_who_would_exempt_others_is_refused() {
        assert_eq!(read(Some("1337"), None).expect("settings").user(), 1337);
        for user in ["", "0", "00", "65534", "4294967295", "4294967296", "-1", "+5", "root", " 62051", "0x10"] {
            let error = read(Some(user), None).expect_err(user);
            assert!(error.starts_with("SLUICE_GATEWAY_USER=") && error.contains("UID and GID"), "{error}");
        }
    }

    #[test]
    fn ports_are_ports_of_the_agent() {
        let ports = read(None, Some("8080, 443,8080")).expect("settings").inbound;
        assert_eq!(ports, BTreeSet::from([443, 8080]));
        for ports in ["0", "65536", "80,", ",", "80;81", "80-90", "http", "+80", "15001", "80,15021", "15053"] {
            let error = read(None, Some(ports)).expect_err(ports);
            assert!(error.starts_with("SLUICE_INBOUND_PORTS="), "{error}");
        }
        let many: Vec<String> = (1..=65).map(|port: u16| port.to_string()).collect();
        assert!(read(None, Some(&many.join(","))).expect_err("many").contains("at most 64"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(user in ".{0,16}", ports in "[0-9, +x-]{0,24}") {
            if let Ok(settings) = read(Some(&user), None) {
                prop_assert!(![0, OVERFLOW, u32::MAX].contains(&settings.user()));
            }
            if let Ok(settings) = read(None, Some(&ports)) {
                for own in [0, TCP_PORT, DNS_PORT, HEALTH_PORT] {
                    prop_assert!(!settings.inbound().contains(&own));
                }
            }
        }
    }
}
