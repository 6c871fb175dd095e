//! Millrace: nested JSON event files in, a live star schema out.

pub mod batch;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod commit;
pub mod decode;
pub mod discover;
pub mod error;
pub mod flatten;
pub mod key;
pub mod ledger;
pub mod maintain;
pub mod merge;
pub mod mirror;
pub mod origin;
pub mod pipeline;
pub mod repair;
pub mod report;
pub mod root;
pub mod run;
pub mod simulate;
pub mod stage;
pub mod system;
pub mod tables;
pub mod text;
pub mod verify;
