//! Secrets of the Kubernetes API, in JSON, masked as they stream.
//!
//! Every document of an answer about Secrets goes through: an object, a List,
//! a Table, watch events one after the other, a `Status`. What is masked does
//! not depend on `kind` (items of a list have none, and it may come last), but
//! on place:
//!
//! | Place | What happens |
//! | --- | --- |
//! | `data`, anywhere but below `metadata` | every value becomes a marker in base64 |
//! | `stringData`, likewise | every value becomes a marker |
//! | an annotation that holds JSON (`last-applied-configuration`) | masked by the same rules inside its string |
//! | an annotation that holds a packed copy of the object | becomes a marker |
//!
//! Keys, order, white space and everything else are kept byte for byte (JSON
//! inside an annotation may be escaped differently). `null` stays: it holds
//! nothing.

mod annotation;
mod masker;
mod number;
mod string;

pub use masker::{Masker, NotMaskable};

#[cfg(test)]
mod tests;
