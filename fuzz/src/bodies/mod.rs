//! What is fuzzed: each body takes any bytes and panics when a promise is broken.
//!
//! cargo-fuzz runs them from `fuzz/targets`, `cargo test` from `tests/lab/fuzz.rs`: both have `crate::support`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod checkpoint;
pub mod decode;
pub mod flatten;
pub mod index;
pub mod mask;
pub mod names;
pub mod path;
pub mod pipeline;
pub mod query;
pub mod record;

/// Takes any bytes.
pub type Body = fn(&[u8]);

/// Every target by its name, which is also its folder of seeds and of regressions.
pub const TARGETS: [(&str, Body); 10] = [
    ("checkpoint", checkpoint::run),
    ("decode", decode::run),
    ("flatten", flatten::run),
    ("index", index::run),
    ("mask", mask::run),
    ("names", names::run),
    ("path", path::run),
    ("pipeline", pipeline::run),
    ("query", query::run),
    ("record", record::run),
];

/// The first eight bytes as a number, and what follows; missing bytes are zero.
fn number(data: &[u8]) -> (u64, &[u8]) {
    let (head, rest) = data.split_at(data.len().min(8));
    let mut bytes = [0; 8];
    bytes[..head.len()].copy_from_slice(head);
    (u64::from_le_bytes(bytes), rest)
}
