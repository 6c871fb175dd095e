//! Which rows of an old table go on, owner by owner, and as of which event.
//!
//! The key index, where it is sound, says both exactly. Where it is not, the rows themselves do: the newest of an
//! owner's are its rows, and nothing that comes later with the same sequence is taken for newer.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};

use crate::batch::{Entry, EventOrder, FileRange, OwnerRows, Sequence, TableRows};
use crate::cell::content_of;
use crate::error::{Error, Result};
use crate::key::owner_of;
use crate::origin;
use crate::pipeline::model::{Pipeline, Table};

use super::inputs::{Fate, Inputs};
use super::old::OldTable;

/// The distinct `_source_file`s of the kept rows, as a batch's files.
#[derive(Default)]
pub struct Sources {
    pub files: Vec<FileRange>,
    at: HashMap<String, u32>,
}

impl Sources {
    fn of(&mut self, name: &str) -> u32 {
        if let Some(at) = self.at.get(name) {
            return *at;
        }
        let at = self.files.len() as u32;
        self.files.push(FileRange { name: name.into(), last: true, ..FileRange::default() });
        self.at.insert(name.to_owned(), at);
        at
    }
}

/// What is kept of a table.
pub struct Kept {
    pub rows: TableRows,
    /// Owners whose newest rows could not be read.
    pub lost: u64,
}

/// An owner's rows and the event they are as of.
struct Choice {
    owner: u128,
    order: EventOrder,
    rows: Vec<u32>,
    /// The index knows of newer rows, which cannot be read.
    stale: bool,
}

/// Chooses what no input can give any more.
pub fn kept(
    old: &OldTable,
    table: &Table,
    pipeline: &Pipeline,
    inputs: &Inputs,
    sources: &mut Sources,
) -> Result<Kept> {
    let chooser = Chooser::new(old, table, pipeline, inputs);
    let (choices, lost) = chooser.choices();
    let (mut indices, mut owners): (Vec<u32>, Vec<OwnerRows>) = Default::default();
    for choice in choices {
        let file = choice.rows.first().map(|row| chooser.source(*row)).unwrap_or_default();
        owners.push(OwnerRows {
            owner: choice.owner,
            order: choice.order,
            file: sources.of(file),
            content: 0,
            first: indices.len() as u32,
            count: choice.rows.len() as u32,
            key: Vec::new(),
        });
        indices.extend(choice.rows);
    }
    let user: Vec<usize> = (0..table.columns.len()).collect();
    let rows = old
        .rows
        .project(&user)
        .and_then(|user| take_record_batch(&user, &UInt32Array::from(indices)))
        .map_err(|e| Error::Bug(format!("keeping rows: {e}")))?;
    for owner in &mut owners {
        owner.content = content_of(rows.columns(), owner.first as usize, owner.count as usize);
    }
    Ok(Kept { rows: TableRows { rows, owners }, lost })
}

struct Chooser<'a> {
    old: &'a OldTable,
    inputs: &'a Inputs,
    /// Parts of the pipeline's sequence.
    parts: usize,
    keys: Vec<ArrayRef>,
    /// Rows that the log says are alive.
    alive: HashMap<u128, Vec<u32>>,
    /// Owners that somebody else wrote rows for.
    foreign: HashSet<u128>,
}

impl<'a> Chooser<'a> {
    fn new(old: &'a OldTable, table: &Table, pipeline: &Pipeline, inputs: &'a Inputs) -> Self {
        let pick =
            |columns: &[usize]| columns.iter().map(|&c| old.rows.column(c).clone()).collect::<Vec<_>>();
        let (owners, keys) = (pick(table.owner_columns()), pick(&table.key));
        let mut alive: HashMap<u128, Vec<u32>> = HashMap::new();
        for &row in old.alive.iter().chain(&old.alive_foreign) {
            alive.entry(owner_of(&owners, row as usize)).or_default().push(row);
        }
        let foreign = old.alive_foreign.iter().map(|row| owner_of(&owners, *row as usize)).collect();
        Chooser { old, inputs, parts: pipeline.event.sequence.len(), keys, alive, foreign }
    }

    /// In the order of owners, and how many owners are lost.
    fn choices(&self) -> (Vec<Choice>, u64) {
        let mut lost = 0;
        let mut choices = Vec::new();
        if let Some(index) = &self.old.index {
            for (owner, entry) in index.iter() {
                match self.indexed(owner, &entry) {
                    None => lost += 1,
                    Some(choice) => {
                        lost += u64::from(choice.stale);
                        choices.extend(Some(choice).filter(|c| self.is_needed(c)));
                    }
                }
            }
        }
        for (owner, rows) in &self.alive {
            let known = self.old.index.as_ref().map(|index| index.get(*owner).is_some());
            if known == Some(true) {
                continue;
            }
            let choice = self.newest(*owner, rows);
            // An owner that a sound index does not know came from somebody else: no input gives it.
            if known == Some(false) || self.is_needed(&choice) {
                choices.push(choice);
            }
        }
        choices.sort_unstable_by_key(|c| c.owner);
        (choices, lost)
    }

    /// What the index says, unless somebody else wrote since. `None`: the rows cannot be read.
    fn indexed(&self, owner: u128, entry: &Entry) -> Option<Choice> {
        let alive = self.alive.get(&owner);
        let theirs = alive.map(|rows| self.newest(owner, rows));
        if let Some(theirs) = theirs.as_ref().filter(|_| self.foreign.contains(&owner))
            && theirs.order.sequence > entry.order.sequence
        {
            return Some(Choice { owner, order: theirs.order, rows: theirs.rows.clone(), stale: false });
        }
        let same_event = |c: &Choice| c.order.sequence == entry.order.sequence;
        let written_over = self.foreign.contains(&owner) && theirs.as_ref().is_some_and(same_event);
        let rows = if entry.count > 0 && (self.old.taken.contains(&entry.file) || written_over) {
            theirs.map(|c| c.rows).unwrap_or_default()
        } else if entry.count == 0 {
            Vec::new()
        } else {
            match self.old.place(entry.file, entry.first, entry.count) {
                Some(rows) => rows,
                None => match theirs? {
                    same if same_event(&same) => same.rows,
                    // Of an older event, and as of that event only: the newer one must win if it is read again.
                    older => return Some(Choice { stale: true, ..older }),
                },
            }
        };
        Some(Choice { owner, order: entry.order, rows, stale: false })
    }

    /// Of an owner's rows those of the newest event; of two with one key, the last.
    fn newest(&self, owner: u128, rows: &[u32]) -> Choice {
        let newest = rows.iter().map(|r| self.sequence(*r)).max().unwrap_or_default();
        let mut seen = HashSet::new();
        let mut kept: Vec<u32> = rows.iter().copied().filter(|r| self.sequence(*r) == newest).collect();
        kept.reverse();
        kept.retain(|r| seen.insert(owner_of(&self.keys, *r as usize)));
        kept.reverse();
        // Where the file of the rows is read again, its event must win over what is kept of it here.
        let read_again =
            |r: &u32| matches!(self.inputs.fate(self.source(*r)), Fate::Unknown { exists: true });
        let hash = if kept.first().is_some_and(read_again) { 0 } else { u128::MAX };
        Choice { owner, order: EventOrder { sequence: newest, hash }, rows: kept, stale: false }
    }

    /// No input gives it: its file is gone, or another event than that of its rows was the last word.
    fn is_needed(&self, choice: &Choice) -> bool {
        let Some(&row) = choice.rows.first() else { return true };
        self.inputs.fate(self.source(row)) != Fate::There || self.sequence(row) != choice.order.sequence
    }

    fn source(&self, row: u32) -> &str {
        let names = self.old.rows.column_by_name(origin::FILE).and_then(|c| c.as_string_opt::<i32>());
        names.filter(|n| n.is_valid(row as usize)).map(|n| n.value(row as usize)).unwrap_or_default()
    }

    fn sequence(&self, row: u32) -> Sequence {
        let second = if self.parts < 2 { Some(0) } else { part(&self.old.rows, origin::VERSION, row) };
        let first = part(&self.old.rows, origin::SEQUENCE, row);
        [first.unwrap_or(i64::MIN), second.unwrap_or(i64::MIN)]
    }
}

fn part(rows: &RecordBatch, name: &str, row: u32) -> Option<i64> {
    let column = rows.column_by_name(name)?;
    let row = row as usize;
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Timestamp(_, _) => Some(column.as_primitive_opt::<TimestampMicrosecondType>()?.value(row)),
        _ => Some(column.as_primitive_opt::<Int64Type>()?.value(row)),
    }
}
