//! Judges a trail.
