//! The one place that knows Delta and Parquet: open, scan, write, publish.

pub mod disk;
mod executor;
pub mod index_file;
pub mod kernel;
pub mod log;
pub mod names;
pub mod parquet;
pub mod rewrite;
mod stats;
mod store;
pub mod table;
mod vectors;

pub use disk::{Disk, LocalDisk};
pub use kernel::Kernel;
pub use rewrite::{Ready, Source};
pub use table::{Change, LiveFile, Table, TableDef};
