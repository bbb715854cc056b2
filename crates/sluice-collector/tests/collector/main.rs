//! The collector as its peers see it: real certificates, real connections, the
//! real shipper.

mod bed;
mod full;
mod ingest;
mod killed;
mod query;
mod store;
