//! The fault laboratory: promise 2 (exactly once) and promise 4 (no bad input stops the stream) tried by breaking things.
//!
//! One file a row of the table in docs/RELIABILITY.md, its tests named `row_NN_…`. `cargo test --test lab row_05` runs
//! one row in its short form; `tests/lab/long` runs all rows in their long form and writes the figures into the page.
//! `MILLRACE_SEED=n` repeats a failing case: every failure prints the seed it came from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod figures;
mod scale;

mod attack;
mod breakages;
mod checkpoint_damage;
mod clock;
mod disk_errors;
mod fuzz;
mod hostile_json;
mod kill_calls;
mod kill_points;
mod mirror_damage;
mod model;
mod power_cut;
mod soak;
mod table_damage;
mod two_processes;
mod watcher;
