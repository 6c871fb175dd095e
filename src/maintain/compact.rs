//! Compaction: keeps files few and deletion vectors small, between batches, in bounded steps.
//!
//! A step rewrites a few files of one size tier into one and moves the index entries with the rows, through the
//! same stage, decide, commit as a batch, as `dataChange = false`: readers that follow changes see none.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;

use crate::batch::{Entry, FileId};
use crate::error::{Error, Result};
use crate::key::owner_of;
use crate::merge::{Run, moved};
use crate::root::{Root, State, file_id};
use crate::stage::Work;
use crate::tables::Table;

/// How eagerly files are rewritten.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Files of one size tier that make a step.
    pub fan_in: usize,
    /// Bytes that one step reads at most; a larger file is left alone unless it is mostly deleted.
    pub step_bytes: u64,
    /// Files smaller than this are all of the lowest tier.
    pub small_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { fan_in: 8, step_bytes: 128 << 20, small_bytes: 256 << 10 }
    }
}

/// Does one step on the first table that needs one. Returns its name and how many files became one.
pub fn step(root: &mut Root, policy: &Policy) -> Result<Option<(String, usize)>> {
    for at in 0..root.states.len() {
        if let Some(files) = choose(&root.states[at].table, policy) {
            let name = root.states[at].table.def.name.clone();
            rewrite(root, at, &files)?;
            return Ok(Some((name, files.len())));
        }
    }
    Ok(None)
}

/// The files that the next step would rewrite: the oldest of the smallest tier that is full, or one file of which
/// more than half is deleted.
pub fn choose(table: &Table, policy: &Policy) -> Option<Vec<FileId>> {
    let mut tiers: std::collections::BTreeMap<u32, Vec<(FileId, u64)>> = Default::default();
    for (id, file) in &table.files {
        let bytes = file.action.size.max(0) as u64;
        if file.deleted.len() * 2 > file.rows && bytes <= policy.step_bytes * 4 {
            return Some(vec![*id]);
        }
        if bytes < policy.step_bytes / 2 {
            tiers.entry(tier(bytes, policy)).or_default().push((*id, bytes));
        }
    }
    let full = tiers.into_values().find(|files| files.len() >= policy.fan_in)?;
    let mut total = 0;
    let fits = full.into_iter().take_while(|(_, bytes)| {
        total += bytes;
        total <= policy.step_bytes
    });
    Some(fits.map(|(id, _)| id).take(policy.fan_in * 2).collect())
}

fn tier(bytes: u64, policy: &Policy) -> u32 {
    (bytes / policy.small_bytes.max(1) + 1).ilog(policy.fan_in.max(2) as u64)
}

fn rewrite(root: &mut Root, at: usize, files: &[FileId]) -> Result<()> {
    let state = &root.states[at];
    let gathered = gather(state, files)?;
    let before: u64 = files.iter().filter_map(|f| state.table.files.get(f)).map(|f| f.alive()).sum();
    if gathered.rows.num_rows() as u64 != before {
        return Err(Error::Corrupt(format!(
            "{}: {} rows were found where {before} should be; run `millrace repair`",
            state.table.def.name,
            gathered.rows.num_rows()
        )));
    }
    let changes = index_changes(root, at, files, &gathered)?;
    let none: Vec<(u128, Entry)> = Vec::new();
    let work: Vec<Work<'_>> = root
        .states
        .iter()
        .enumerate()
        .map(|(n, s)| Work {
            table: &s.table,
            append: (n == at).then(|| gathered.rows.clone()),
            delete: &[],
            drop: if n == at { files } else { &[] },
            index: if n == at { &changes } else { &none },
        })
        .collect();
    let (staged, batch, took) = root.stage(&work)?;
    drop(work);
    let mut indexes: Vec<&[(u128, Entry)]> = vec![&none; root.states.len()];
    indexes[at] = &changes;
    root.carry_out("OPTIMIZE", batch, staged, false, &indexes, took)?;
    Ok(())
}

/// Where the index will find the rows of the rewritten files. `_files` has no index.
fn index_changes(
    root: &Root,
    at: usize,
    files: &[FileId],
    gathered: &Gathered,
) -> Result<Vec<(u128, Entry)>> {
    let state = &root.states[at];
    if at == root.files() {
        return Ok(Vec::new());
    }
    let runs = runs(gathered, &owner_columns(root, at), files)?;
    moved(&state.index, &runs, file_id(root.next_batch)?).ok_or_else(|| {
        Error::Corrupt(format!(
            "{}: its key index and its rows disagree; run `millrace repair`",
            state.table.def.name
        ))
    })
}

/// Columns whose values name the owner of a row.
pub fn owner_columns(root: &Root, at: usize) -> Vec<usize> {
    match root.pipeline.tables.get(at) {
        Some(table) => table.owner_columns().to_vec(),
        None => crate::system::QUARANTINE_KEY.to_vec(),
    }
}

/// The live rows of some files, one after the other, and where each came from.
struct Gathered {
    rows: RecordBatch,
    /// (file, physical row) of each row.
    origin: Vec<(FileId, u32)>,
}

fn gather(state: &State, files: &[FileId]) -> Result<Gathered> {
    let mut batches = Vec::new();
    let mut origin = Vec::new();
    for &file in files {
        for batch in state.table.read(file)? {
            let batch = batch?;
            origin.extend(batch.positions.iter().map(|p| (file, *p)));
            batches.push(batch.rows);
        }
    }
    let rows = concat_batches(&state.table.def.schema, &batches)
        .map_err(|e| Error::Corrupt(format!("{}: {e}; run `millrace repair`", state.table.def.name)))?;
    Ok(Gathered { rows, origin })
}

/// Groups the gathered rows by owner; the rows of one owner stand together in a file.
fn runs(gathered: &Gathered, owner_columns: &[usize], files: &[FileId]) -> Result<Vec<Run>> {
    debug_assert!(!files.is_empty());
    let columns: Vec<ArrayRef> = owner_columns.iter().map(|&c| gathered.rows.column(c).clone()).collect();
    let mut runs: Vec<Run> = Vec::new();
    for (at, &(file, position)) in gathered.origin.iter().enumerate() {
        let owner = owner_of(&columns, at);
        match runs.last_mut() {
            Some(run) if run.owner == owner && run.file == file => run.count += 1,
            _ => runs.push(Run { owner, file, first: position, count: 1, to: at as u32 }),
        }
    }
    Ok(runs)
}
