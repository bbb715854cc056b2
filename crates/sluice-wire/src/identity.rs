use std::fmt;
use std::str::FromStr;

/// Trust domain where none is configured.
pub const TRUST_DOMAIN: &str = "sluice.local";

/// Longest SPIFFE ID (SPIFFE-ID, section 2.3).
const MAX_ID: usize = 2048;

/// Who a certificate speaks for: its one URI name, a SPIFFE ID.
///
/// ```
/// use sluice_wire::Identity;
/// let id: Identity = "spiffe://sluice.local/ns/agents/sa/coder/pod/6f1c".parse()?;
/// assert_eq!(id.to_string(), "spiffe://sluice.local/ns/agents/sa/coder/pod/6f1c");
/// # Ok::<(), sluice_wire::NoIdentity>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A pod's sidecar.
    Pod {
        /// Trust domain.
        trust_domain: String,
        /// Namespace of the pod.
        namespace: String,
        /// Its service account.
        service_account: String,
        /// Its UID.
        uid: String,
    },
    /// The control plane.
    Control {
        /// Trust domain.
        trust_domain: String,
    },
    /// The collector.
    Collector {
        /// Trust domain.
        trust_domain: String,
    },
}

/// A URI that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no identity of Sluice; one is spiffe://DOMAIN/ns/NS/sa/SA/pod/UID, /control or /collector")]
pub struct NoIdentity(String);

impl Identity {
    /// The trust domain that it belongs to.
    pub fn trust_domain(&self) -> &str {
        match self {
            Self::Pod { trust_domain, .. } | Self::Control { trust_domain } | Self::Collector { trust_domain } => {
                trust_domain
            }
        }
    }

    /// UID of the pod, if it is one.
    pub fn pod_uid(&self) -> Option<&str> {
        match self {
            Self::Pod { uid, .. } => Some(uid),
            Self::Control { .. } | Self::Collector { .. } => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { trust_domain, namespace, service_account, uid } => {
                write!(f, "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}/pod/{uid}")
            }
            Self::Control { trust_domain } => write!(f, "spiffe://{trust_domain}/control"),
            Self::Collector { trust_domain } => write!(f, "spiffe://{trust_domain}/collector"),
        }
    }
}

impl FromStr for Identity {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Self, NoIdentity> {
        let no = || NoIdentity(text.chars().take(128).collect());
        let rest = text.strip_prefix("spiffe://").filter(|_| text.len() <= MAX_ID).ok_or_else(no)?;
        let parts: Vec<&str> = rest.split('/').collect();
        if !parts.iter().all(|part| is_name(part)) {
            return Err(no());
        }
        match parts.as_slice() {
            [domain, "ns", namespace, "sa", service_account, "pod", uid] => Ok(Self::Pod {
                trust_domain: (*domain).to_owned(),
                namespace: (*namespace).to_owned(),
                service_account: (*service_account).to_owned(),
                uid: (*uid).to_owned(),
            }),
            [domain, "control"] => Ok(Self::Control { trust_domain: (*domain).to_owned() }),
            [domain, "collector"] => Ok(Self::Collector { trust_domain: (*domain).to_owned() }),
            _ => Err(no()),
        }
    }
}

/// Names of Kubernetes objects are lower case; one spelling each, so that two
/// IDs that differ are two identities.
fn is_name(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
        && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}
