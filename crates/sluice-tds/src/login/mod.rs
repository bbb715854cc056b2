//! Before and during login.

mod features;
mod login7;
mod prelogin;
mod session;

pub use features::{Feature, FeatureId, FedAuth, SessionRecovery, SessionRecoveryState};
pub use login7::{Login7, TdsVersion};
pub use prelogin::{Encryption, PreLogin, PreLoginOption};
pub use session::SessionStateEntry;
pub(crate) use session::{parse_states, write_states};
