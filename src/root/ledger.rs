//! What the tables say about files: the ledger in `_files`, what is wrong in `_quarantine`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use serde_json::Value;

use crate::batch::FileRange;
use crate::commit::Paths;
use crate::commit::record::Record;
use crate::error::{Error, IoContext, Result};
use crate::ledger::Mark;
use crate::system::{self, QuarantineKey, Tally};
use crate::tables::{Disk, names};

use super::Root;

/// The commits of `_files`, which name the history that these tables have.
#[derive(Debug, Clone)]
pub struct LedgerLog {
    disk: Arc<dyn Disk>,
    log: PathBuf,
    /// The newest.
    version: u64,
}

impl LedgerLog {
    /// As the record decided it.
    pub(super) fn decided(disk: Arc<dyn Disk>, paths: &Paths, record: &Record) -> LedgerLog {
        let log = names::log_dir(&paths.tables.join(system::FILES));
        LedgerLog { disk, log, version: record.versions.get(system::FILES).copied().unwrap_or(0) }
    }

    /// The newest commit.
    pub fn mark(&self) -> Result<Mark> {
        let bytes = self.commit(self.version)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut actions = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // An empty table has none.
        let batch = actions.find_map(|a| a["txn"]["version"].as_u64()).unwrap_or(0);
        Ok(mark(batch, self.version, &bytes))
    }

    /// This very commit is in the log.
    pub fn has(&self, wanted: &Mark) -> bool {
        self.commit(wanted.version).is_ok_and(|bytes| mark(wanted.batch, wanted.version, &bytes) == *wanted)
    }

    fn commit(&self, version: u64) -> Result<Vec<u8>> {
        let path = self.log.join(names::commit_file(version));
        match self.disk.read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::Corrupt(format!(
                "the newest commit {} is missing: something else cleaned up there; run `millrace repair`",
                path.display()
            ))),
            done => done.at("reading", path),
        }
    }
}

impl Root {
    /// The ledger commit of the last batch; `None` if it made none (a compaction of other tables).
    pub fn decided_mark(&self) -> Option<Mark> {
        let commit = self.record.commits.iter().find(|c| c.table == system::FILES)?;
        Some(mark(self.record.batch, commit.version, commit.bytes.as_bytes()))
    }

    /// The newest ledger commit.
    pub fn ledger_mark(&self) -> Result<Mark> {
        self.ledger_log().mark()
    }

    /// This very commit is in the ledger's log.
    pub fn has_mark(&self, wanted: &Mark) -> bool {
        self.ledger_log().has(wanted)
    }

    fn ledger_log(&self) -> LedgerLog {
        let table = &self.states[self.files()].table;
        let log = names::log_dir(&table.def.dir);
        LedgerLog { disk: self.disk.clone(), log, version: table.version }
    }

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

fn mark(batch: u64, version: u64, bytes: &[u8]) -> Mark {
    Mark { batch, version, hash: xxhash_rust::xxh3::xxh3_128(bytes) }
}
