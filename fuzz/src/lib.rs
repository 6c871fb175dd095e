//! The fuzz targets' bodies, for cargo-fuzz. `tests/lab/fuzz.rs` runs the same bodies as plain tests.

pub mod bodies;
pub mod support;
