//! Decode: bytes to documents; what cannot be decoded becomes [`crate::batch::Bad`]. Knows nothing of tables.
//!
//! `format` (what a name says) -> `bytes` (text in blocks; from `raw`, or `packed` once `survey` has found it sound) ->
//! `documents` (boundaries, recovery by `skip`) -> `scan` (one value into the arena, led by `guide`). `reader` drives
//! them over one file; `parallel` lets several walk at once; `spares` are buffers that go round.

mod bytes;
mod documents;
mod format;
mod guide;
mod packed;
mod parallel;
mod raw;
mod reader;
mod scan;
mod simd;
mod skip;
mod spares;
mod survey;
#[cfg(test)]
mod tests;

pub use documents::weight;
pub use format::is_event_file;
pub use guide::Guide;
pub use reader::{Range, Reader};
pub use spares::Spares;

use std::io;

use crate::pipeline::model::{Limits, Shape};

/// Decodes a whole file that is in memory; its name says how it is compressed and how documents are told apart.
/// Chunks belong to file 0. An error would be one of the decompressor's own (no memory), never one of the data.
pub fn decode_all(shape: &Shape, limits: Limits, name: &str, bytes: Vec<u8>) -> io::Result<Range> {
    Reader::in_memory(name, bytes, limits)?.next(&Guide::new(shape), 0, u64::MAX, 1)
}
