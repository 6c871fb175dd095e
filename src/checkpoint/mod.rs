//! Checkpoint: a cache of the ledger table, so that starting is quick. Losing it at any instant loses nothing.
//!
//! Whatever is wrong with it, the answer is the same: set it aside, say so, fill a new one from `_files`. Even
//! one rotten value condemns the whole: dropping just that entry would be safe too (its file would be read again,
//! to no effect), but reading a large file again costs more than one scan of `_files`, and where one value
//! rotted the next lost one would be silent.

mod aside;
#[doc(hidden)]
pub mod codec;
mod pool;
mod store;
#[cfg(test)]
mod tests;

pub use store::{Opened, Opening, SledCheckpoint, Tables};

use crate::batch::FileRange;
use crate::ledger::{Ledger, Mark};

/// Where the ledger is kept for a quick start.
pub trait Checkpoint {
    /// Every batch up to this one is kept.
    fn watermark(&self) -> u64;

    /// Keeps the files of a batch whose ledger commit is `mark`, and its batch as the watermark, both or neither. No
    /// fsync: after a power cut the checkpoint is behind, and is brought level.
    fn put(&mut self, mark: Mark, ranges: &[FileRange]) -> Result<(), Lost>;

    /// Brings it level with `ledger`, which knows everything up to the ledger commit `mark`. Killed half way, it is
    /// just still behind.
    fn refill(&mut self, ledger: &Ledger, mark: Mark) -> Result<(), Lost>;
}

/// The checkpoint broke. A run goes on without it: from here on it keeps nothing and says nothing, and the next
/// start fills it from the tables. Said once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint broke ({0}); nothing is lost: the next start fills it again from the tables")]
pub struct Lost(pub String);
