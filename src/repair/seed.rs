//! The first batch of new tables: what no input can give any more, from the old ones.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;

use crate::batch::{Counts, EventOrder, FileRange, OwnerRows, TableRows};
use crate::error::{Error, Result};
use crate::key::owner_of;
use crate::merge;
use crate::origin;
use crate::root::file_id;
use crate::run::Session;
use crate::system;

use super::inputs::{Fate, Inputs};
use super::old::{Old, OldTable};
use super::owners::{self, Sources};

/// Commits it. Returns what cannot be known.
pub fn seed(session: &mut Session, old: &Old, inputs: &Inputs) -> Result<Vec<String>> {
    let pipeline = session.root.pipeline.clone();
    let (batch, now) = (session.root.next_batch, session.root.clock.now_micros());
    let id = file_id(batch)?;
    let mut unknown = Unknown::default();
    if let Some(why) = &inputs.unreadable_ledger {
        unknown.told.push(format!("which files were taken ({why}): every file that is there was read again"));
    }
    let mut sources = Sources::default();
    let mut plans = Vec::new();
    for (at, table) in pipeline.tables.iter().enumerate() {
        let found = old.table(at)?;
        let kept = owners::kept(&found, table, &pipeline, inputs, &mut sources)?;
        unknown.look(&table.name, &found, kept.lost);
        let mut plan = merge::plan(&session.root.states[at].index, kept.rows, id, Counts::default())?;
        if let Some(append) = &mut plan.append {
            append.rows = origin::add(append, &pipeline.event, &sources.files, batch, now)?;
        }
        plans.push(plan);
    }
    let found = old.table(session.root.quarantine())?;
    unknown.look(system::QUARANTINE, &found, 0);
    let rows = quarantined(&found, inputs, batch)?;
    let index = &session.root.states[session.root.quarantine()].index;
    let mut plan = merge::plan(index, rows, id, Counts::default())?;
    if let Some(append) = &mut plan.append {
        append.rows = system::quarantine_origin(&append.rows, batch, now)?;
    }
    plans.push(plan);
    // Without a ledger, the rows name the files that they came from.
    let named = sources.files.into_iter().filter(|_| inputs.unreadable_ledger.is_some());
    let files: Vec<FileRange> = named.filter(|f| !f.name.is_empty()).chain(inputs.gone.clone()).collect();
    session.seed(&plans, &files, batch, now)?;
    Ok(unknown.told())
}

/// The quarantine rows of what cannot be read again.
fn quarantined(old: &OldTable, inputs: &Inputs, batch: u64) -> Result<TableRows> {
    let mut gone: HashMap<&str, Vec<(u64, u64)>> = HashMap::new();
    for range in &inputs.gone {
        gone.entry(&range.name).or_default().push((range.start.offset, range.end.offset));
    }
    let [file, offset, _] = system::QUARANTINE_KEY.map(|c| old.rows.column(c).clone());
    let (Some(file), Some(offset)) = (file.as_string_opt::<i32>(), offset.as_primitive_opt::<Int64Type>())
    else {
        return Err(Error::Bug("quarantine rows have other columns".into()));
    };
    let keep = |row: usize| match inputs.fate(file.value(row)) {
        Fate::Unknown { exists } => !exists,
        _ => gone.get(file.value(row)).is_some_and(|ranges| {
            let at = offset.value(row) as u64;
            // What is wrong with the end of a file is told at its end.
            ranges.iter().any(|(start, end)| *start <= at && at <= *end)
        }),
    };
    let key: Vec<ArrayRef> = system::QUARANTINE_KEY.iter().map(|&c| old.rows.column(c).clone()).collect();
    let kept: BTreeMap<u128, u32> = live(old)
        .into_iter()
        .filter(|row| keep(*row as usize))
        .map(|row| (owner_of(&key, row as usize), row))
        .collect();
    // Content 0: a reading that finds the same again replaces the row, to the same effect.
    let order = EventOrder { sequence: [batch as i64, 0], hash: 0 };
    let owner = |(first, owner): (usize, &u128)| OwnerRows {
        owner: *owner,
        order,
        file: 0,
        content: 0,
        first: first as u32,
        count: 1,
        key: Vec::new(),
    };
    let owners = kept.keys().enumerate().map(owner).collect();
    // The last two columns are the `_` columns.
    let columns: Vec<usize> = (0..old.rows.num_columns() - 2).collect();
    let rows = old
        .rows
        .project(&columns)
        .and_then(|rows| take_record_batch(&rows, &kept.into_values().collect::<UInt32Array>()))
        .map_err(|e| Error::Bug(format!("keeping quarantine rows: {e}")))?;
    Ok(TableRows { rows, owners })
}

/// Live rows by the index where it is sound, else by the log.
fn live(old: &OldTable) -> Vec<u32> {
    let Some(index) = &old.index else {
        return old.alive.iter().chain(&old.alive_foreign).copied().collect();
    };
    index.iter().filter_map(|(_, e)| old.place(e.file, e.first, e.count)).flatten().collect()
}

/// What the old tables do not tell.
#[derive(Default)]
struct Unknown {
    told: Vec<String>,
    without_index: Vec<String>,
}

impl Unknown {
    fn look(&mut self, table: &str, found: &OldTable, lost: u64) {
        self.told.extend(found.doubtful.iter().map(|d| format!("{table}: {d}")));
        if lost > 0 {
            self.told.push(format!("the newest rows of {lost} keys of {table} whose inputs may be gone too"));
        }
        // What the log does not tell any more, a sound index does.
        let sound = found.index.is_some();
        if !sound {
            self.without_index.push(table.to_owned());
        }
        if !sound || lost > 0 {
            self.told.extend(found.problems.iter().map(|p| format!("{table}: {p}")));
        }
    }

    fn told(mut self) -> Vec<String> {
        if !self.without_index.is_empty() {
            self.told.push(format!(
                "{}: events of files that are gone that said nothing new, and line sets that became empty; an \
                 older event that comes late could win against them",
                self.without_index.join(", ")
            ));
        }
        self.told.iter().map(|line| Error::without_advice(line)).collect()
    }
}
