//! Compaction: keeps files few and deletion vectors small.
//!
//! A step rewrites a few files of one size tier into one. Reading and encoding happen beside the batches; batches
//! that commit meanwhile may delete rows of the old files, and those rows are marked as deleted in the new one when
//! it is taken up. That goes through the same stage, decide, commit as a batch and moves the index entries with
//! the rows, as `dataChange = false`: readers that follow changes see none.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};

use super::aside::Cancel;
use crate::batch::{Deletion, Entry, FileId};
use crate::error::{Error, Result};
use crate::key::owner_of;
use crate::merge::{Moves, Run, moved};
use crate::root::{Root, file_id};
use crate::stage::Work;
use crate::tables::{Disk, Ready, Source, Table};

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

/// Some files of one table to rewrite, as they were when this was found due.
#[derive(Debug)]
pub struct Job {
    table: usize,
    name: String,
    sources: Vec<Source>,
    /// Columns that name the owner of a row; none for `_files`, which has no index.
    owner: Vec<usize>,
    stats: Vec<usize>,
    schema: arrow::datatypes::SchemaRef,
    disk: Arc<dyn Disk>,
    temp: PathBuf,
    /// Id of the next batch: entries that name a file from here on were changed since.
    since: FileId,
}

/// The rewritten rows in a file that no table has yet.
#[derive(Debug)]
pub struct Rewritten {
    table: usize,
    files: Vec<FileId>,
    ready: Ready,
    runs: Vec<Run>,
    since: FileId,
}

/// At most one job a table, all together about a step's bytes.
pub fn due(root: &Root, policy: &Policy) -> Vec<Job> {
    let Ok(since) = file_id(root.next_batch) else { return Vec::new() };
    let mut jobs: Vec<Job> = Vec::new();
    let mut bytes = 0;
    for (at, state) in root.states.iter().enumerate() {
        let Some(files) = choose(&state.table, policy) else { continue };
        let job = Job {
            table: at,
            name: state.table.def.name.clone(),
            sources: files.iter().filter_map(|f| state.table.source(*f)).collect(),
            owner: if at == root.files() { Vec::new() } else { owner_columns(root, at) },
            stats: state.table.def.stats.clone(),
            schema: state.table.def.schema.clone(),
            disk: root.disk.clone(),
            temp: root.paths.temp.join(format!("compact-{}", state.table.def.name)),
            since,
        };
        bytes += job.bytes();
        if bytes > policy.step_bytes && !jobs.is_empty() {
            break;
        }
        jobs.push(job);
    }
    jobs
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
    Some(fits.map(|(id, _)| id).take(policy.fan_in * 4).collect())
}

/// A tier has four times what makes it full.
pub fn is_late(table: &Table, policy: &Policy) -> bool {
    if table.files.len() < policy.fan_in * 4 {
        return false;
    }
    let mut tiers: std::collections::BTreeMap<u32, usize> = Default::default();
    for file in table.files.values() {
        let bytes = file.action.size.max(0) as u64;
        if bytes < policy.step_bytes / 2 {
            *tiers.entry(tier(bytes, policy)).or_default() += 1;
        }
    }
    tiers.values().any(|files| *files >= policy.fan_in * 4)
}

fn tier(bytes: u64, policy: &Policy) -> u32 {
    (bytes / policy.small_bytes.max(1) + 1).ilog(policy.fan_in.max(2) as u64)
}

/// Columns whose values name the owner of a row.
pub fn owner_columns(root: &Root, at: usize) -> Vec<usize> {
    match root.pipeline.tables.get(at) {
        Some(table) => table.owner_columns().to_vec(),
        None => crate::system::QUARANTINE_KEY.to_vec(),
    }
}

impl Job {
    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(Source::bytes).sum()
    }

    pub fn go(self, cancel: &Cancel) -> Result<Rewritten> {
        let mut runs = Runs::default();
        let mut writer = Ready::writer(&self.schema, &self.stats)?;
        for source in &self.sources {
            for batch in source.read()? {
                cancel.check()?;
                let batch = batch?;
                if !self.owner.is_empty() {
                    runs.take(&batch.rows, &self.owner, source.file, &batch.positions);
                }
                writer.write(&batch.rows)?;
            }
        }
        let before: u64 = self.sources.iter().map(Source::alive).sum();
        let ready = writer.finish(self.disk.as_ref(), self.temp)?;
        if ready.rows != before {
            return Err(Error::Corrupt(format!(
                "{}: {} rows were found where {before} should be; run `millrace repair`",
                self.name, ready.rows
            )));
        }
        let files = self.sources.iter().map(|s| s.file).collect();
        Ok(Rewritten { table: self.table, files, ready, runs: runs.runs, since: self.since })
    }
}

/// The rewritten rows by owner; the rows of one owner stand together in a file.
#[derive(Default)]
struct Runs {
    runs: Vec<Run>,
    rows: u32,
}

impl Runs {
    fn take(&mut self, rows: &RecordBatch, owner_columns: &[usize], file: FileId, positions: &[u32]) {
        let columns: Vec<ArrayRef> = owner_columns.iter().map(|&c| rows.column(c).clone()).collect();
        for (at, &first) in positions.iter().enumerate() {
            let owner = owner_of(&columns, at);
            match self.runs.last_mut() {
                Some(run) if run.owner == owner && run.file == file => run.count += 1,
                _ => self.runs.push(Run { owner, file, first, count: 1, to: self.rows }),
            }
            self.rows += 1;
        }
    }
}

/// Puts the new files in the place of the old ones, all in one commit.
pub fn take_up(root: &mut Root, rewritten: Vec<Rewritten>) -> Result<()> {
    if rewritten.is_empty() {
        return Ok(());
    }
    let id = file_id(root.next_batch)?;
    let mut changes: Vec<Vec<(u128, Entry)>> = vec![Vec::new(); root.states.len()];
    let mut dead: Vec<Vec<Deletion>> = vec![Vec::new(); root.states.len()];
    let mut drop: Vec<Vec<FileId>> = vec![Vec::new(); root.states.len()];
    let mut ready: Vec<Option<Ready>> = root.states.iter().map(|_| None).collect();
    for r in rewritten {
        let state = &root.states[r.table];
        let moves = moved(&state.index, &r.runs, id, r.since).filter(|m| counts_agree(&state.table, &r, m));
        let Some(moves) = moves else {
            let name = &state.table.def.name;
            return Err(Error::Corrupt(format!(
                "{name}: its key index and its rows disagree; run `millrace repair`"
            )));
        };
        (changes[r.table], dead[r.table]) = (moves.entries, moves.dead);
        // A file whose last rows went meanwhile is out of the table already.
        drop[r.table] = r.files.into_iter().filter(|f| state.table.files.contains_key(f)).collect();
        ready[r.table] = Some(r.ready);
    }
    let work: Vec<Work<'_>> = root
        .states
        .iter()
        .enumerate()
        .map(|(at, state)| Work {
            table: &state.table,
            append: None,
            ready: ready[at].as_ref(),
            delete: &dead[at],
            drop: &drop[at],
            index: &changes[at],
        })
        .collect();
    let (staged, batch, took) = root.stage(&work)?;
    std::mem::drop(work);
    let indexes: Vec<&[(u128, Entry)]> = changes.iter().map(Vec::as_slice).collect();
    root.carry_out("OPTIMIZE", batch, staged, false, &indexes, took)?;
    Ok(())
}

/// As many rows move as are alive in the old files.
fn counts_agree(table: &Table, rewritten: &Rewritten, moves: &Moves) -> bool {
    let alive: u64 = rewritten.files.iter().filter_map(|f| table.files.get(f)).map(|f| f.alive()).sum();
    let dead: u64 = moves.dead.iter().map(|d| u64::from(d.count)).sum();
    rewritten.ready.rows - dead == alive
}
