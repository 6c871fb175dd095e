//! From built rows to what has to be written: append, delete, index changes.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use super::KeyIndex;
use crate::batch::{Counts, Deletion, Entry, FileId, OwnerRows, Plan, TableRows};
use crate::error::{Error, Result};

/// Plans one table of a batch. `rows` are those of the winning claims, each newer than its entry in the index.
///
/// # Errors
/// Only for a defect: rows that do not hold together.
pub fn plan(index: &KeyIndex, rows: TableRows, batch: FileId, counts: Counts) -> Result<Plan> {
    let mut plan = Plan { counts, ..Plan::default() };
    let mut kept = Vec::new();
    for owner in rows.owners {
        match index.get(owner.owner) {
            Some(old) if old.content == owner.content && old.count == owner.count => {
                // Nothing is written; only who stated it moves on.
                plan.counts.unchanged += u64::from(owner.count);
                plan.index.push((owner.owner, Entry { order: owner.order, ..old }));
            }
            old => replace(&mut plan, old, owner, &mut kept),
        }
    }
    append(&mut plan, &rows.rows, kept, batch)?;
    Ok(plan)
}

/// An owner whose rows are written.
struct Kept {
    owner: OwnerRows,
    had_rows: bool,
}

fn replace(plan: &mut Plan, old: Option<Entry>, owner: OwnerRows, kept: &mut Vec<Kept>) {
    count(&mut plan.counts, old.map_or(0, |o| o.count), owner.count);
    let deletion = old.as_ref().and_then(Entry::deletion);
    if deletion.is_some() && owner.count == 0 {
        plan.emptied.push(owner.key.clone());
    }
    plan.delete.extend(deletion);
    kept.push(Kept { owner, had_rows: deletion.is_some() });
}

/// Of an owned set that went from `old` to `new` rows, the lesser number was updated.
fn count(counts: &mut Counts, old: u32, new: u32) {
    counts.updated += u64::from(old.min(new));
    counts.inserted += u64::from(new.saturating_sub(old));
    counts.deleted += u64::from(old.saturating_sub(new));
}

/// Packs the kept owners' rows one after the other and says where they will stand.
fn append(plan: &mut Plan, rows: &RecordBatch, kept: Vec<Kept>, batch: FileId) -> Result<()> {
    let total: u64 = kept.iter().map(|k| u64::from(k.owner.count)).sum();
    let total = u32::try_from(total).map_err(|_| Error::Bug("more than 4 billion rows in a batch".into()))?;
    let mut indices = Vec::with_capacity(total as usize);
    let mut owners = Vec::with_capacity(kept.len());
    for Kept { mut owner, had_rows } in kept {
        let from = owner.first;
        owner.first = indices.len() as u32;
        if had_rows && owner.count > 0 {
            plan.replaced.push(owner.first);
        }
        indices.extend(from..from + owner.count);
        let entry = Entry {
            order: owner.order,
            content: owner.content,
            file: batch,
            first: owner.first,
            count: owner.count,
        };
        plan.index.push((owner.owner, entry));
        owners.push(owner);
    }
    plan.index.sort_unstable_by_key(|(owner, _)| *owner);
    if total == 0 {
        return Ok(());
    }
    let packed = if in_place(&indices, rows.num_rows()) {
        rows.clone()
    } else {
        take_record_batch(rows, &UInt32Array::from(indices))
            .map_err(|e| Error::Bug(format!("packing rows: {e}")))?
    };
    plan.append = Some(TableRows { rows: packed, owners });
    Ok(())
}

fn in_place(indices: &[u32], rows: usize) -> bool {
    indices.len() == rows && indices.iter().enumerate().all(|(at, row)| at == *row as usize)
}

/// What a compaction changes: entries whose rows moved to other places, their statements untouched, and rows of the
/// new file that nobody owns any more.
#[derive(Debug, Default)]
pub struct Moves {
    pub entries: Vec<(u128, Entry)>,
    pub dead: Vec<Deletion>,
}

/// Moves `runs` to `file`. A run whose owner was stated anew by a batch from `since` on is dead. `None` when the
/// index has an owner elsewhere without such a batch: it and the rows disagree.
pub fn moved(index: &KeyIndex, runs: &[Run], file: FileId, since: FileId) -> Option<Moves> {
    let mut moves = Moves::default();
    for run in runs {
        let entry = index.get(run.owner)?;
        if (entry.file, entry.first, entry.count) == (run.file, run.first, run.count) {
            moves.entries.push((run.owner, Entry { file, first: run.to, ..entry }));
        } else if entry.file >= since {
            moves.dead.push(Deletion { file, first: run.to, count: run.count });
        } else {
            return None;
        }
    }
    moves.entries.sort_unstable_by_key(|(owner, _)| *owner);
    Some(moves)
}

/// An owner's rows as a compaction found them.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub owner: u128,
    pub file: FileId,
    pub first: u32,
    pub count: u32,
    /// First row in the new file.
    pub to: u32,
}
