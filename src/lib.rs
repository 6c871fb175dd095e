//! Millrace: nested JSON event files in, a live star schema out. This is the map; ARCHITECTURE.md says why.
//!
//! # The flow
//! ```text
//! discover -> decode -> flatten -> merge -> stage -> commit -> mirror -> report
//! ```
//! [`discover`] finds complete files, [`decode`] makes documents of their bytes, [`flatten`] checks every value and
//! builds rows, [`merge`] chooses winners against the key index and plans what to write, [`stage`] writes it where no
//! reader looks, [`commit`] decides and publishes, [`mirror`] keeps SQLite level, [`report`] says what happened. Start
//! with [`batch`], which holds the nouns that pass between them, then `run/step.rs`, which reads like the line above.
//!
//! # The arrows
//! A step never imports another step, so each can be read, tested and replaced alone.
//! - Where they meet: [`run`] (the loop), [`root`] (everything durable of one pipeline, under one lock), [`maintain`]
//!   (compaction and cleaning), [`verify`], [`repair`], and on top [`cli`].
//! - What serves them: [`pipeline`] (the file: as typed, checked, compiled), [`tables`] (the one place that knows Delta
//!   and Parquet), [`checkpoint`] (sled), [`simulate`] (a shop that writes events).
//! - Leaves that all may use: [`batch`], [`cell`], [`clock`], [`dense`], [`error`], [`guard`], [`key`], [`ledger`], [`origin`], [`system`],
//!   [`text`], [`threads`].
//!
//! `tests/structure.rs` holds the exact list.
//!
//! # What must never break
//! 1. What the tables hold is a function of the set of events ever seen, whatever their order, cut or repetition.
//! 2. Nothing is visible before the decision record is durable; afterwards everything will be.
//! 3. The rows of one owner stand together in one data file; the index says where, and counts what is alive.
//! 4. The checkpoint, the mirror and the last report are caches: deleting them at any instant loses nothing.
//! 5. [`flatten`] and [`merge`] are pure, and no decision about data asks a clock.

pub mod batch;
pub mod cell;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod commit;
pub mod decode;
pub mod dense;
pub mod discover;
pub mod error;
pub mod fault;
pub mod flatten;
pub mod guard;
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
pub mod threads;
pub mod verify;
