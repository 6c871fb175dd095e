//! The tables against their logs and indexes, and the ledger against itself.

use std::collections::{HashMap, HashSet};

use crate::batch::{Entry, FileId};
use crate::error::{Error, Result};
use crate::key::owner_of;
use crate::maintain::compact::owner_columns;
use crate::root::Root;
use crate::system;

use super::{Findings, TableFindings};

pub fn table(root: &Root, at: usize, findings: &mut Findings) -> Result<()> {
    let state = &root.states[at];
    let name = state.table.def.name.clone();
    if !state.table.agrees_with(&root.kernel.open(&state.table.def.dir)?) {
        findings
            .differences
            .push(format!("{name}: the log names other files than the process has in memory"));
    }
    match rows(root, at) {
        Ok(problems) => findings.differences.extend(problems.into_iter().map(|p| format!("{name}: {p}"))),
        Err(Error::Corrupt(what) | Error::Bug(what)) => findings.differences.push(format!("{name}: {what}")),
        Err(e @ Error::Io { .. }) => findings.differences.push(format!("{name}: {e}")),
        Err(e) => return Err(e),
    }
    findings.tables.push(TableFindings {
        table: name,
        rows: state.table.rows_alive(),
        files: state.table.files.len() as u64,
        version: state.table.version,
        owners: state.index.len() as u64,
    });
    Ok(())
}

/// Every live row stands where the index says, every entry has its rows, and no key occurs twice.
fn rows(root: &Root, at: usize) -> Result<Vec<String>> {
    let state = &root.states[at];
    let keyed = at != root.files();
    let owner = owner_columns(root, at);
    let key = root.pipeline.tables.get(at).map(|t| t.key.clone());
    let mut problems = Vec::new();
    let mut runs: HashMap<u128, Place> = HashMap::new();
    let mut keys = HashSet::new();
    let mut alive = 0;
    for &file in state.table.files.keys() {
        for batch in state.table.read(file)? {
            let batch = batch?;
            let pick =
                |columns: &[usize]| columns.iter().map(|&c| batch.rows.column(c).clone()).collect::<Vec<_>>();
            let (owner, key) = (pick(&owner), key.as_deref().map(pick));
            alive += batch.positions.len() as u64;
            for (row, &position) in batch.positions.iter().enumerate() {
                if keyed {
                    runs.entry(owner_of(&owner, row)).or_default().take(file, position);
                }
                if key.as_ref().is_some_and(|key| !keys.insert(owner_of(key, row))) {
                    problems
                        .push(format!("row {position} of file {file} has a key that another row has too"));
                }
            }
        }
    }
    if alive != state.table.rows_alive() {
        problems.push(format!("{alive} rows are readable, {} should be", state.table.rows_alive()));
    }
    if keyed {
        compare(&runs, state.index.iter(), &mut problems);
    }
    problems.truncate(20);
    Ok(problems)
}

/// Where an owner's rows were found.
#[derive(Debug, Default)]
struct Place {
    file: FileId,
    first: u32,
    count: u32,
    scattered: bool,
}

impl Place {
    fn take(&mut self, file: FileId, position: u32) {
        if self.count == 0 {
            (self.file, self.first) = (file, position);
        } else if self.file != file || self.first + self.count != position {
            self.scattered = true;
        }
        self.count += 1;
    }

    fn is(&self, entry: &Entry) -> bool {
        !self.scattered && (self.file, self.first, self.count) == (entry.file, entry.first, entry.count)
    }
}

fn compare<'a>(
    runs: &HashMap<u128, Place>,
    index: impl Iterator<Item = (u128, &'a Entry)>,
    problems: &mut Vec<String>,
) {
    let mut known = 0;
    for (owner, entry) in index.filter(|(_, e)| e.count > 0) {
        known += 1;
        if !runs.get(&owner).is_some_and(|place| place.is(entry)) {
            problems.push(format!("the key index has owner {owner:032x} in other rows than the table"));
        }
    }
    if known != runs.len() {
        problems.push(format!("{} owners have rows, the key index knows {known}", runs.len()));
    }
}

/// The ledger's ranges of one reading follow each other without gap or overlap, and no row is of a batch to come.
pub fn ledger(root: &Root, findings: &mut Findings) -> Result<()> {
    let mut at: HashMap<(std::sync::Arc<str>, u64, i64), u64> = HashMap::new();
    for (batch, range) in root.ledger_rows(0)? {
        if batch > root.record.batch {
            findings.differences.push(format!(
                "{}: {} is of batch {batch}, which was never decided",
                system::FILES,
                range.name
            ));
        }
        let reading = (range.name.clone(), range.fingerprint.inode, range.fingerprint.ctime_ns);
        let reached = at.entry(reading).or_insert(0);
        if range.start.offset != 0 && range.start.offset != *reached {
            findings.differences.push(format!(
                "{}: {} goes on at byte {}, but {} bytes of it were taken",
                system::FILES,
                range.name,
                range.start.offset,
                *reached
            ));
        }
        *reached = range.end.offset;
    }
    Ok(())
}
