//! What the client says after login.

mod batch;
mod fed_auth;
mod headers;
mod requests;
mod rpc;
mod rpc_reader;
mod table;
mod transaction;

pub use batch::SqlBatch;
pub use fed_auth::FedAuthMessage;
pub use headers::{AllHeaders, DataHeader};
pub use requests::{Request, RequestItem, Requests};
pub use rpc::{Call, CipherInfo, Parameter, ParameterType, Procedure};
pub use table::{TableColumn, TableType};
pub use transaction::{TransactionBegin, TransactionKind, TransactionRequest};
