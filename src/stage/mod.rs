//! Stage: a plan to durable but invisible files. Knows nothing of events.
//!
//! When it returns, every file of the batch and every directory entry is synced; no log names any of it yet.

use std::path::Path;

use arrow::array::RecordBatch;

use crate::batch::{Deletion, Entry, FileId};
use crate::error::{IoContext, Result};
use crate::fault;
use crate::tables::index_file::{self, IndexFile};
use crate::tables::{Change, Disk, Ready, Table, names};
use crate::threads;

/// What one table has to take up.
#[derive(Debug)]
pub struct Work<'a> {
    pub table: &'a Table,
    /// Rows for a new file, with the `_` columns.
    pub append: Option<RecordBatch>,
    /// A compaction's result: rows for a new file that are written already. `delete` are then rows of this file.
    pub ready: Option<&'a Ready>,
    pub delete: &'a [Deletion],
    /// Files to drop whole (a compaction's sources).
    pub drop: &'a [FileId],
    /// Changes of the key index, by owner.
    pub index: &'a [(u128, Entry)],
}

#[derive(Debug)]
pub struct Staged {
    pub change: Change,
    pub index: Option<IndexFile>,
}

/// Stages every table, each on its own thread: the time goes into syncs and encoding.
pub fn stage(disk: &dyn Disk, batch: FileId, now_ms: i64, work: &[Work<'_>]) -> Result<Vec<Staged>> {
    fault::point("stage.begun");
    threads::each(work, |w| stage_table(disk, batch, now_ms, w))
}

fn stage_table(disk: &dyn Disk, batch: FileId, now_ms: i64, work: &Work<'_>) -> Result<Staged> {
    let table = work.table;
    let change = match work.ready {
        Some(ready) => table.stage_ready(disk, batch, ready, work.delete, work.drop, now_ms)?,
        None => table.stage(disk, batch, work.append.as_ref(), work.delete, now_ms)?,
    };
    if change.add.is_some() || !change.update.is_empty() {
        disk.sync_dir(&table.def.dir).at("syncing", &table.def.dir)?;
        fault::point("stage.folder_synced");
    }
    fault::point("stage.table_written");
    let index = match work.index {
        [] => None,
        entries => Some(write_index(disk, &table.def.dir, batch, 0, entries)?),
    };
    Ok(Staged { change, index })
}

/// Writes an index file, synced with its directory.
pub fn write_index(
    disk: &dyn Disk,
    table: &Path,
    batch: FileId,
    level: u32,
    entries: &[(u128, Entry)],
) -> Result<IndexFile> {
    let dir = names::index_dir(table);
    let name = names::index_file(batch, level);
    let bytes = index_file::encode(entries)?;
    let path = dir.join(&name);
    disk.write(&path, &bytes).at("writing", &path)?;
    fault::point("stage.index_written");
    disk.sync_dir(&dir).at("syncing", &dir)?;
    fault::point("stage.index_synced");
    Ok(index_file::describe(name, &bytes, entries.len()))
}
