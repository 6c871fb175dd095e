//! The pipeline file: as typed, checked, compiled.

pub mod model;
