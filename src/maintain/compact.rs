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
pub use super::choose::{Policy, is_late};
use super::choose::{choose, choose_at_end, choose_at_rest};
use crate::batch::{Deletion, Entry, FileId};
use crate::error::{Error, Result};
use crate::fault;
use crate::key::owner_of;
use crate::merge::{Moves, Run, moved};
use crate::root::{Root, file_id};
use crate::stage::Work;
use crate::tables::{Disk, Ready, Source, Table};

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

/// At most one job a table, all together about a step's bytes and rows. Tables with the most files come first: who
/// has to wait gets more of them.
pub fn due(root: &Root, policy: &Policy) -> Vec<Job> {
    jobs(root, policy, choose)
}

/// The same while nothing else is to be done.
pub fn due_at_rest(root: &Root, policy: &Policy) -> Vec<Job> {
    jobs(root, policy, choose_at_rest)
}

/// The same at the end of a run: of so many batches if it was a long one, else of none.
pub fn due_at_end(root: &Root, policy: &Policy, batches: u64) -> Vec<Job> {
    jobs(root, policy, |table, policy| choose_at_end(table, policy, batches))
}

fn jobs(root: &Root, policy: &Policy, choose: impl Fn(&Table, &Policy) -> Option<Vec<FileId>>) -> Vec<Job> {
    let Ok(since) = file_id(root.next_batch) else { return Vec::new() };
    let tables = root.states.iter().map(|s| &s.table).enumerate();
    let mut all: Vec<(usize, Vec<FileId>)> =
        tables.filter_map(|(at, table)| Some((at, choose(table, policy)?))).collect();
    all.sort_by_key(|(_, files)| std::cmp::Reverse(files.len()));
    let mut jobs: Vec<Job> = Vec::new();
    let (mut bytes, mut rows) = (0, 0);
    for (at, files) in all {
        let job = Job::new(root, at, &files, since);
        if jobs.is_empty()
            || (bytes + job.bytes() <= policy.step_bytes && rows + job.rows() <= policy.step_rows)
        {
            (bytes, rows) = (bytes + job.bytes(), rows + job.rows());
            jobs.push(job);
        }
    }
    jobs
}

/// Columns whose values name the owner of a row.
pub fn owner_columns(root: &Root, at: usize) -> Vec<usize> {
    match root.pipeline.tables.get(at) {
        Some(table) => table.owner_columns().to_vec(),
        None => crate::system::QUARANTINE_KEY.to_vec(),
    }
}

impl Job {
    fn new(root: &Root, at: usize, files: &[FileId], since: FileId) -> Job {
        let table = &root.states[at].table;
        Job {
            table: at,
            name: table.def.name.clone(),
            sources: files.iter().filter_map(|f| table.source(*f)).collect(),
            owner: if at == root.files() { Vec::new() } else { owner_columns(root, at) },
            stats: table.def.stats.clone(),
            schema: table.def.schema.clone(),
            disk: root.disk.clone(),
            temp: root.paths.temp.join(format!("compact-{}", table.def.name)),
            since,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.sources.iter().map(Source::bytes).sum()
    }

    fn rows(&self) -> u64 {
        self.sources.iter().map(Source::alive).sum()
    }

    pub fn go(self, cancel: &Cancel) -> Result<Rewritten> {
        let mut runs = Runs::default();
        let mut writer = Ready::writer(&self.schema, &self.stats);
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
        let before = self.rows();
        let ready = writer.finish(self.disk.as_ref(), self.temp)?;
        fault::point("compact.rewritten");
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
    fault::point("compact.moved");
    let (staged, batch, took) = root.stage(&work)?;
    std::mem::drop(work);
    let indexes: Vec<&[(u128, Entry)]> = changes.iter().map(Vec::as_slice).collect();
    fault::point("compact.staged");
    root.carry_out("OPTIMIZE", batch, staged, false, &indexes, took)?;
    fault::point("compact.taken_up");
    Ok(())
}

/// As many rows move as are alive in the old files.
fn counts_agree(table: &Table, rewritten: &Rewritten, moves: &Moves) -> bool {
    let alive: u64 = rewritten.files.iter().filter_map(|f| table.files.get(f)).map(|f| f.alive()).sum();
    let dead: u64 = moves.dead.iter().map(|d| u64::from(d.count)).sum();
    rewritten.ready.rows - dead == alive
}
