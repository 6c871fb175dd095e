//! The ledger as the `_files` table has it.

use crate::batch::FileRange;
use crate::error::{Error, Result};
use crate::system;

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
}
