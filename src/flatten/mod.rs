//! Flatten: a document to claims and rows of every table, by the compiled pipeline. Pure: no I/O, no clock.
//!
//! [`Flattener::check`] looks at every value of every event and states what each event claims;
//! [`Flattener::build`] makes the rows of the claims that won. Both are called from several threads at once.

mod build;
mod check;
mod columns;
mod explain;
mod mask;
mod number;
mod plan;
mod rows;
mod scope;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod twigs;
mod value;

pub use check::{Checked, gather};
pub use plan::Flattener;
