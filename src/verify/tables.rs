//! The tables against their logs and indexes, and the ledger against itself.

use std::collections::{HashMap, HashSet};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use crate::batch::{Entry, FileId};
use crate::cell::{Cell, content_hash};
use crate::error::{Error, Result, refused};
use crate::key::owner_of;
use crate::maintain::compact::owner_columns;
use crate::root::Root;
use crate::system;
use crate::tables::parquet::LiveBatch;

use super::{Findings, TableFindings, log};

/// Looks at one table. Returns the batches that its rows say they are of.
pub fn table(root: &Root, at: usize, findings: &mut Findings) -> Result<HashSet<u64>> {
    let state = &root.states[at];
    let name = state.table.def.name.clone();
    if !state.table.agrees_with(&root.kernel.open(&state.table.def.dir)?) {
        findings
            .differences
            .push(format!("{name}: the log names other files than the process has in memory"));
    }
    let mut look = Look::new(root, at);
    match look.all() {
        Ok(()) => {}
        Err(Error::Corrupt(what) | Error::Bug(what)) => look.problems.push(what),
        Err(e) => return Err(e),
    }
    let mut problems = look.problems;
    problems.extend(log::problems(&state.table.def.dir, state.table.version)?);
    let more = problems.len().saturating_sub(SHOWN);
    problems.truncate(SHOWN);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    findings.differences.extend(problems.into_iter().map(|p| format!("{name}: {p}")));
    findings.tables.push(TableFindings {
        table: name,
        rows: state.table.rows_alive(),
        files: state.table.files.len() as u64,
        version: state.table.version,
        owners: state.index.len() as u64,
    });
    Ok(look.batches)
}

/// Problems that are told of one table.
const SHOWN: usize = 20;

/// Every live row stands where the index says, with the contents that the index says; every entry has its rows,
/// and no key occurs twice.
struct Look<'a> {
    root: &'a Root,
    at: usize,
    /// Columns of the pipeline; 0 for the engine's own tables, whose contents no hash is kept of.
    columns: usize,
    owner: Vec<usize>,
    key: Option<Vec<usize>>,
    places: HashMap<u128, Place>,
    /// The owner whose rows are being read, and their cells so far: the rows of one owner stand together.
    current: u128,
    cells: Vec<u8>,
    keys: HashSet<u128>,
    batches: HashSet<u64>,
    problems: Vec<String>,
}

impl<'a> Look<'a> {
    fn new(root: &'a Root, at: usize) -> Self {
        let table = root.pipeline.tables.get(at);
        Look {
            root,
            at,
            columns: table.map_or(0, |t| t.columns.len()),
            owner: owner_columns(root, at),
            key: table.map(|t| t.key.clone()),
            places: HashMap::new(),
            current: 0,
            cells: Vec::new(),
            keys: HashSet::new(),
            batches: HashSet::new(),
            problems: Vec::new(),
        }
    }

    fn all(&mut self) -> Result<()> {
        let state = &self.root.states[self.at];
        let mut alive = 0;
        let mut damaged = false;
        for &file in state.table.files.keys() {
            match self.file(file) {
                Ok(rows) => alive += rows,
                // The next one may be damaged too, and a person wants to know.
                Err(Error::Corrupt(what)) => self.problems.push(what),
                // What is refused (no rights, no descriptors) says nothing about damage.
                Err(e @ Error::Io { .. }) if refused(&e).is_none() => self.problems.push(e.to_string()),
                Err(e) => return Err(e),
            }
            damaged |= !self.problems.is_empty();
        }
        self.end_owner();
        if damaged {
            // What is missing from the index now, is missing because of that.
            return Ok(());
        }
        if alive != state.table.rows_alive() {
            self.problems.push(format!("{alive} rows are readable, {} should be", state.table.rows_alive()));
        }
        if self.at != self.root.files() {
            self.compare(state.index.iter());
        }
        Ok(())
    }

    /// Reads a file; how many rows of it are alive.
    fn file(&mut self, file: FileId) -> Result<u64> {
        let mut alive = 0;
        for batch in self.root.states[self.at].table.read(file)? {
            let batch = batch?;
            alive += batch.positions.len() as u64;
            self.rows(file, &batch);
        }
        Ok(alive)
    }

    fn rows(&mut self, file: FileId, batch: &LiveBatch) {
        let pick =
            |columns: &[usize]| columns.iter().map(|&c| batch.rows.column(c).clone()).collect::<Vec<_>>();
        let (owner, key) = (pick(&self.owner), self.key.as_deref().map(pick));
        let ids = batch.rows.column_by_name(crate::origin::BATCH);
        let ids = ids.and_then(|c| c.as_primitive_opt::<Int64Type>());
        self.batches.extend(ids.into_iter().flat_map(|ids| ids.iter().flatten()).map(|id| id as u64));
        for (row, &position) in batch.positions.iter().enumerate() {
            if self.at != self.root.files() {
                let owner = owner_of(&owner, row);
                if owner != self.current {
                    self.end_owner();
                    self.current = owner;
                }
                self.places.entry(owner).or_default().take(file, position);
                for column in &batch.rows.columns()[..self.columns] {
                    Cell::read(column, row).encode(&mut self.cells);
                }
            }
            if key.as_ref().is_some_and(|key| !self.keys.insert(owner_of(key, row))) {
                self.problems
                    .push(format!("row {position} of file {file} has a key that another row has too"));
            }
        }
    }

    fn end_owner(&mut self) {
        if let Some(place) = self.places.get_mut(&self.current) {
            place.content = content_hash(&self.cells);
        }
        self.cells.clear();
    }

    fn compare(&mut self, index: impl Iterator<Item = (u128, Entry)>) {
        let mut known = 0;
        for (owner, entry) in index.filter(|(_, e)| e.count > 0) {
            known += 1;
            match self.places.get(&owner) {
                Some(place) if !place.is(&entry) => self
                    .problems
                    .push(format!("the key index has owner {owner:032x} in other rows than the table")),
                Some(place) if self.columns > 0 && place.content != entry.content => {
                    let (first, file) = (entry.first, entry.file);
                    self.problems.push(format!("row {first} of file {file} is not what was written"));
                }
                Some(_) => {}
                None => {
                    self.problems.push(format!("the key index has owner {owner:032x}, the table has not"))
                }
            }
        }
        if known != self.places.len() {
            self.problems
                .push(format!("{} owners have rows, the key index knows {known}", self.places.len()));
        }
    }
}

/// Where an owner's rows were found.
#[derive(Debug, Default)]
struct Place {
    file: FileId,
    first: u32,
    count: u32,
    scattered: bool,
    /// Hash of the rows' contents, once they are all seen.
    content: u64,
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

/// The ledger's ranges of one reading follow each other without gap or overlap, no row is of a batch to come, and
/// every batch that left rows left some here.
pub fn ledger(root: &Root, batches: &HashSet<u64>, findings: &mut Findings) -> Result<()> {
    let mut known = HashSet::new();
    let mut at: HashMap<(std::sync::Arc<str>, u64, i64), u64> = HashMap::new();
    for (batch, range) in root.ledger_rows(0)? {
        known.insert(batch);
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
    let mut unknown: Vec<u64> = batches.difference(&known).copied().collect();
    unknown.sort_unstable();
    for batch in unknown {
        let files = system::FILES;
        findings.differences.push(format!("{files}: rows are of batch {batch}, of which it knows no file"));
    }
    Ok(())
}
