//! Answers of all listeners.

mod answer;

pub use answer::{Answer, Lines, Reply, refuse, stream, text};
