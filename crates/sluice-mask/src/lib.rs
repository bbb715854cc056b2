//! Maskers: what an agent must not see is replaced while it streams.
