//! The generated definitions and admission policies, against the real API
//! server: what it accepts, and what it refuses in which words.
//!
//! Nothing here touches what is installed in the cluster. The definitions are
//! put into an API group of the test's own, the policies under names of its
//! own, and bound to its own namespaces.

mod objects;
mod pods;
mod world;
