//! What the server says: tokens (2.2.7).

mod classification;
mod columns;
mod done;
mod env_change;
mod login;
mod message;
mod order;
mod return_value;
mod session_state;
mod token;
mod tokens;

pub use classification::{DataClassification, Sensitivity};
pub use columns::{AltColumn, AltMetadata, ColMetadata, Column, CryptoMetadata, EncryptionKey, EncryptionKeyValue};
pub use done::{Done, DoneKind};
pub use env_change::{EnvChange, Routing};
pub use login::{FeatureAck, FedAuthInfo, LoginAck};
pub use message::Message;
pub use order::ColInfo;
pub use return_value::ReturnValue;
pub use session_state::SessionState;
pub use token::Token;
pub use tokens::{Event, Item, RowKind, Tokens};
