//! What the tables say about files: the ledger in `_files`, what is wrong in `_quarantine`.

use crate::batch::FileRange;
use crate::error::{Error, Result};
use crate::system::{self, QuarantineKey};

use super::Root;

impl Root {
    /// Ledger rows of batches after `batch`, in the order of batches, each with its batch.
    ///
    /// Files are named by the batch that wrote them, so older ones are not even opened.
    pub fn ledger_rows(&self, batch: u64) -> Result<Vec<(u64, FileRange)>> {
        let table = &self.states[self.files()].table;
        let mut rows = Vec::new();
        for (&file, _) in table.files.iter().filter(|(id, _)| u64::from(**id) > batch) {
            for live in table.read(file)? {
                let read = system::read_files(&live?.rows).ok_or_else(|| {
                    Error::Corrupt(format!(
                        "{} is not a ledger; run `millrace repair`",
                        table.def.dir.display()
                    ))
                })?;
                rows.extend(read.into_iter().filter(|(b, _)| *b > batch));
            }
        }
        rows.sort_by_key(|(batch, _)| *batch);
        Ok(rows)
    }

    /// What is in quarantine of the files that `wanted` names. Reads all of `_quarantine`, which is small or else the
    /// user's first worry.
    pub fn quarantined(&self, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<QuarantineKey>> {
        let table = &self.states[self.quarantine()].table;
        let mut keys = Vec::new();
        for &file in table.files.keys() {
            for live in table.read(file)? {
                let read = system::read_quarantine_keys(&live?.rows, wanted);
                keys.extend(read.ok_or_else(|| {
                    Error::Corrupt(format!("{} is not ours; run `millrace repair`", table.def.dir.display()))
                })?);
            }
        }
        Ok(keys)
    }
}
