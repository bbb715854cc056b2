//! Reads a trail.
