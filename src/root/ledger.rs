//! What the tables say about files: the ledger in `_files`, what is wrong in `_quarantine`.

use arrow::array::RecordBatch;

use crate::batch::FileRange;
use crate::error::{Error, Result};
use crate::system::{self, QuarantineKey, Tally};

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
        let mut keys = Vec::new();
        self.read_quarantine(|rows| {
            keys.extend(system::read_quarantine_keys(rows, wanted)?);
            Some(())
        })?;
        Ok(keys)
    }

    /// How far quarantine is with `file`, of which some ranges were read.
    pub fn tally(&self, file: &str) -> Result<Tally> {
        let mut tally = Tally::default();
        self.read_quarantine(|rows| system::add_to_tally(rows, file, &mut tally))?;
        Ok(tally)
    }

    /// `take` gives `None` for rows that are not quarantine's.
    fn read_quarantine(&self, mut take: impl FnMut(&RecordBatch) -> Option<()>) -> Result<()> {
        let table = &self.states[self.quarantine()].table;
        for &file in table.files.keys() {
            for live in table.read(file)? {
                take(&live?.rows).ok_or_else(|| {
                    Error::Corrupt(format!("{} is not ours; run `millrace repair`", table.def.dir.display()))
                })?;
            }
        }
        Ok(())
    }
}
