//! A root: the tables of one pipeline with their key indexes, opened under the lock and brought to the decision
//! record.

mod begin;
mod create;
mod heal;
mod identity;
mod ledger;
mod load;
mod lock;
pub mod swap;
mod sweep;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::{FileId, Plan};
use crate::clock::Clock;
use crate::commit::record::{Record, TableCommit};
use crate::commit::{self, Paths};
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::merge::KeyIndex;
use crate::pipeline::model::Pipeline;
use crate::stage::{self, Staged, Work};
use crate::system;
use crate::tables::index_file::IndexFile;
use crate::tables::{Disk, Kernel, Table, TableDef, log, names};

pub use begin::Begun;
pub use identity::Identity;
pub use ledger::LedgerLog;
pub use load::load_index;
pub use lock::Lock;

/// A table with its key index. `_files` only ever grows and needs none.
#[derive(Debug)]
pub struct State {
    pub table: Table,
    pub index: KeyIndex,
    pub index_files: Vec<IndexFile>,
}

/// Everything durable of one pipeline.
#[derive(Debug)]
pub struct Root {
    pub pipeline: Arc<Pipeline>,
    pub identity: Identity,
    pub paths: Paths,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub kernel: Kernel,
    /// The pipeline's tables in its order (which is the order of commits), then `_quarantine`, then `_files`.
    pub states: Vec<State>,
    pub record: Record,
    /// Id of the next batch or compaction.
    pub next_batch: u64,
    /// What opening has to tell the user.
    pub notes: Vec<String>,
    lock: Lock,
}

/// A committed batch.
#[derive(Debug)]
pub struct Commit {
    pub batch: u64,
    /// How long staging took, and deciding with publishing.
    pub staged: std::time::Duration,
    pub committed: std::time::Duration,
}

impl Root {
    /// Takes the lock, makes what is missing, carries out the last decision, and loads the indexes.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process has the root, [`Error::Config`] if it belongs to another pipeline,
    /// [`Error::Corrupt`] or [`Error::Foreign`] if what is there is not what was written.
    pub fn open(
        paths: Paths,
        pipeline: Arc<Pipeline>,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Root> {
        Begun::begin(paths, pipeline, disk, clock)?.load()
    }

    /// Index of `_quarantine` in `states`.
    pub fn quarantine(&self) -> usize {
        self.pipeline.tables.len()
    }

    /// Index of `_files` in `states`.
    pub fn files(&self) -> usize {
        self.pipeline.tables.len() + 1
    }

    /// Stages and commits one batch: `plans` per keyed table (rows with the `_` columns), and the ledger's rows.
    pub fn commit_batch(&mut self, plans: &[Plan], ledger: arrow::array::RecordBatch) -> Result<Commit> {
        let work: Vec<Work<'_>> = plans
            .iter()
            .zip(&self.states)
            .map(|(plan, state)| Work {
                table: &state.table,
                append: plan.append.as_ref().map(|a| a.rows.clone()),
                ready: None,
                delete: &plan.delete,
                drop: &[],
                index: &plan.index,
            })
            .chain(std::iter::once(Work {
                table: &self.states[plans.len()].table,
                append: Some(ledger),
                ready: None,
                delete: &[],
                drop: &[],
                index: &[],
            }))
            .collect();
        let indexes: Vec<&[_]> = plans.iter().map(|p| p.index.as_slice()).collect();
        let (staged, batch, took) = self.stage(&work)?;
        fault::point("commit.staged");
        drop(work);
        self.carry_out("MERGE", batch, staged, true, &indexes, took)
    }

    /// The tables are where they were when they were locked; anything else would be written into, or removed from,
    /// somebody else's.
    ///
    /// # Errors
    /// [`Error::Busy`] if not.
    pub fn in_place(&self) -> Result<()> {
        self.lock.still_holds()
    }

    /// Stages `work`, one item per table, under the next batch id.
    pub fn stage(&self, work: &[Work<'_>]) -> Result<(Vec<Staged>, u64, std::time::Duration)> {
        self.in_place()?;
        let begin = std::time::Instant::now();
        let id = file_id(self.next_batch)?;
        let now_ms = self.clock.now_micros() / 1000;
        Ok((stage::stage(self.disk.as_ref(), id, now_ms, work)?, self.next_batch, begin.elapsed()))
    }

    /// Decides and publishes what was staged, then brings the memory to it.
    pub fn carry_out(
        &mut self,
        operation: &str,
        batch: u64,
        staged: Vec<Staged>,
        data_change: bool,
        indexes: &[&[(u128, crate::batch::Entry)]],
        took: std::time::Duration,
    ) -> Result<Commit> {
        let begin = std::time::Instant::now();
        let record = self.record_of(operation, batch, &staged, data_change);
        for commit in &record.commits {
            commit::still_ours(self.disk.as_ref(), &self.paths.tables.join(&commit.table), commit.base)?;
        }
        self.in_place()?;
        fault::point("commit.checked");
        commit::decide(self.disk.as_ref(), &self.paths, &record)?;
        commit::publish(self.disk.as_ref(), &self.paths, &record)?;
        fault::point("commit.published");
        for (at, staged) in staged.into_iter().enumerate() {
            let state = &mut self.states[at];
            if !staged.change.is_empty() {
                state.table.apply(staged.change);
            }
            state.index_files.extend(staged.index);
            fault::point("apply.table");
            if let Some(changes) = indexes.get(at) {
                state.index.apply(changes);
            }
        }
        fault::point("apply.done");
        let old = std::mem::replace(&mut self.record, record);
        self.next_batch = batch + 1;
        self.drop_folded(&old)?;
        Ok(Commit { batch, staged: took, committed: begin.elapsed() })
    }

    /// Removes index files that the durable record no longer names: they were folded into others.
    fn drop_folded(&self, old: &Record) -> Result<()> {
        for (table, files) in &old.index {
            let named = self.record.index.get(table).map(Vec::as_slice).unwrap_or_default();
            let dir = names::index_dir(&self.paths.tables.join(table));
            for file in files.iter().filter(|f| !named.contains(f)) {
                let path = dir.join(&file.name);
                self.disk.remove(&path).at("removing", &path)?;
                fault::point("fold.source_removed");
            }
        }
        Ok(())
    }

    fn record_of(&self, operation: &str, batch: u64, staged: &[Staged], data_change: bool) -> Record {
        let now_ms = self.clock.now_micros() / 1000;
        let app = app_id(&self.pipeline.name);
        let mut commits = Vec::new();
        let (mut versions, mut index) = (BTreeMap::new(), BTreeMap::new());
        for (state, staged) in self.states.iter().zip(staged) {
            let table = &state.table;
            let mut version = table.version;
            if !staged.change.is_empty() {
                version += 1;
                let mut actions =
                    vec![log::commit_info(operation, batch, now_ms), log::txn(&app, batch, now_ms)];
                actions.extend(table.actions(&staged.change, data_change));
                commits.push(TableCommit {
                    table: table.def.name.clone(),
                    base: table.version,
                    version,
                    bytes: log::to_bytes(&actions),
                });
            }
            versions.insert(table.def.name.clone(), version);
            let files: Vec<IndexFile> = state.index_files.iter().chain(&staged.index).cloned().collect();
            index.insert(table.def.name.clone(), files);
        }
        Record { root: self.identity.root.clone(), batch, commits, versions, index }
    }
}

/// Takes the lock of a root that is not to be opened.
pub fn take_lock(paths: &Paths) -> Result<Lock> {
    lock::take(&paths.own.join("lock"))
}

/// The process that works on a root, if one does and as far as it says who it is.
pub fn holder(paths: &Paths) -> Result<Option<Option<u32>>> {
    lock::holder(&paths.own.join("lock"))
}

/// The application that a commit's `txn` names.
pub fn app_id(pipeline: &str) -> String {
    format!("millrace/{pipeline}")
}

/// A batch id as the id of the files it writes.
pub fn file_id(batch: u64) -> Result<FileId> {
    FileId::try_from(batch).map_err(|_| Error::Bug("more than 4 billion batches".into()))
}

/// Every table of a root, in the order of commits.
pub fn defs(pipeline: &Pipeline, paths: &Paths) -> Vec<TableDef> {
    let mut defs: Vec<TableDef> = pipeline
        .tables
        .iter()
        .map(|t| TableDef {
            name: t.name.clone(),
            dir: paths.tables.join(&t.name),
            schema: crate::origin::with_origin(&t.schema(), &pipeline.event),
            stats: t.key.clone(),
        })
        .collect();
    for (name, schema) in
        [(system::QUARANTINE, system::quarantine_schema()), (system::FILES, system::files_schema())]
    {
        let dir = paths.tables.join(name);
        defs.push(TableDef { name: name.to_owned(), dir, schema, stats: vec![0] });
    }
    defs
}
