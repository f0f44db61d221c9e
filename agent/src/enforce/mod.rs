//! Enforcement points.
pub mod park;
