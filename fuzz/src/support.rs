//! The readers and the oracle that the tests use too.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/support/cells.rs"]
pub mod cells;
#[path = "../../tests/support/json.rs"]
pub mod json;
#[path = "../../tests/support/oracle.rs"]
pub mod oracle;
#[path = "../../tests/support/values.rs"]
mod values;
