//! Millrace: nested JSON event files in, a live star schema out.

pub mod batch;
pub mod cell;
pub mod cli;
pub mod clock;
pub mod commit;
pub mod decode;
pub mod discover;
pub mod error;
pub mod flatten;
pub mod key;
pub mod merge;
pub mod mirror;
pub mod pipeline;
pub mod report;
pub mod simulate;
pub mod stage;
pub mod tables;
pub mod text;
