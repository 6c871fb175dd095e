//! A shop that writes order events, for trying Millrace out, for tests and for benchmarks.
//!
//! [`Shop`] gives events one after the other, [`Writer`] puts them into a folder. Everything is a function of the
//! seed and the order's number: no clock, nothing remembered but the orders that are under way.

mod catalog;
mod damage;
mod json;
mod life;
mod output;
mod rng;
mod shop;
mod stamp;
mod telling;

#[cfg(test)]
mod tests;

pub use output::{Compression, Output, Writer, write_atomically};
pub use shop::{Event, Options, Shop};
