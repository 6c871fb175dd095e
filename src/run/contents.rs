//! What the mirror is given: a batch's changes, everything, or what changed since a batch.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use crate::batch::{Entry, FileId, Plan};
use crate::error::Result;
use crate::fault;
use crate::key::owner_of;
use crate::maintain::compact::owner_columns;
use crate::mirror::{CatchUp, Change, Changed, Mirror, Outcome, Replaces, SystemTable, TableRef};
use crate::root::{Root, State};
use crate::system;

/// The engine's own tables, as the mirror shows them.
pub fn system_tables() -> Vec<SystemTable> {
    let files = SystemTable {
        name: system::FILES.into(),
        schema: system::files_schema(),
        key: system::FILES_KEY.to_vec(),
        owner: Vec::new(),
    };
    let quarantine = SystemTable {
        name: system::QUARANTINE.into(),
        schema: system::quarantine_schema(),
        key: system::QUARANTINE_KEY.to_vec(),
        owner: Vec::new(),
    };
    vec![quarantine, files]
}

/// Fills the mirror with all that the tables hold.
pub fn rebuild(root: &Root, mirror: &mut Mirror) -> Result<Outcome> {
    fault::point("level.rebuilding");
    let tables = (0..root.states.len()).map(|at| (table_ref(root, at), all_rows(&root.states[at])));
    mirror.rebuild(root.record.batch, tables)
}

/// What a batch changed in the mirror's tables.
pub fn changes(root: &Root, plans: &[Plan], ledger: &RecordBatch) -> Vec<Change> {
    let changed = plans.iter().enumerate().filter(|(_, plan)| plan.changes_rows());
    let mut changes: Vec<Change> = changed
        .map(|(at, plan)| Change {
            table: table_ref(root, at),
            rows: plan.append.as_ref().map(|a| a.rows.clone()),
            replaces: if is_owned(root, at) {
                Replaces::Owners(plan.replaced.clone())
            } else {
                Replaces::Key
            },
            emptied: plan.emptied.clone(),
        })
        .collect();
    changes.push(Change {
        table: TableRef::System(system::FILES),
        rows: Some(ledger.clone()),
        replaces: Replaces::Key,
        emptied: Vec::new(),
    });
    changes
}

/// Since `batch`: the owners whose entry names a later file. A compaction moves entries too, so this can be more
/// than what changed, never less.
pub fn catch_up(root: &Root, mirror: &mut Mirror, batch: u64) -> Result<Outcome> {
    fault::point("level.catching_up");
    let since = FileId::try_from(batch).unwrap_or(FileId::MAX);
    let changed: Vec<_> = root
        .states
        .iter()
        .map(|state| {
            let index = &state.index;
            move |owner: u128| index.get(owner).is_some_and(|entry: Entry| entry.file > since)
        })
        .collect();
    let none = |_: u128| false;
    let parts = (0..root.states.len()).map(|at| {
        let table = table_ref(root, at);
        if at == root.files() {
            let rows = later_rows(root, at, since, move |rows| Ok(since_batch(&rows, batch)));
            return CatchUp { table, changed: Changed::Owners(&none), rows };
        }
        let owner = owner_columns(root, at);
        let is_changed = &changed[at];
        let rows = later_rows(root, at, since, move |rows| Ok(keep(&rows, &owner, is_changed)));
        CatchUp { table, changed: Changed::Owners(is_changed), rows }
    });
    mirror.catch_up(root.record.batch, parts)
}

type Rows<'a> = Box<dyn Iterator<Item = Result<RecordBatch>> + 'a>;

fn all_rows(state: &State) -> Rows<'_> {
    Box::new(state.table.files.keys().flat_map(|&file| live(state, file)))
}

/// Rows in files of later batches, as `pick` leaves them.
fn later_rows<'a>(
    root: &'a Root,
    at: usize,
    since: FileId,
    pick: impl Fn(RecordBatch) -> Result<RecordBatch> + 'a,
) -> Rows<'a> {
    let state = &root.states[at];
    let files = state.table.files.keys().copied().filter(move |file| *file > since);
    Box::new(files.flat_map(|file| live(state, file)).map(move |rows| pick(rows?)))
}

fn live(state: &State, file: FileId) -> Rows<'_> {
    match state.table.read(file) {
        Ok(rows) => Box::new(rows.map(|batch| Ok(batch?.rows))),
        Err(e) => Box::new(std::iter::once(Err(e))),
    }
}

fn keep(rows: &RecordBatch, owner: &[usize], changed: &dyn Fn(u128) -> bool) -> RecordBatch {
    let columns: Vec<ArrayRef> = owner.iter().map(|&c| rows.column(c).clone()).collect();
    select(rows, |row| changed(owner_of(&columns, row)))
}

fn since_batch(rows: &RecordBatch, batch: u64) -> RecordBatch {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    let ids = rows.column_by_name(crate::origin::BATCH).and_then(|c| c.as_primitive_opt::<Int64Type>());
    select(rows, |row| ids.is_none_or(|ids| ids.value(row) as u64 > batch))
}

fn select(rows: &RecordBatch, keep: impl Fn(usize) -> bool) -> RecordBatch {
    let mask: BooleanArray = (0..rows.num_rows()).map(|row| Some(keep(row))).collect();
    // The mask is as long as the batch: filtering cannot fail.
    filter_record_batch(rows, &mask).unwrap_or_else(|_| rows.clone())
}

fn is_owned(root: &Root, at: usize) -> bool {
    root.pipeline.tables.get(at).is_some_and(|t| t.kind.is_owned())
}

/// How the mirror names the table at `at`.
pub fn table_ref(root: &Root, at: usize) -> TableRef<'static> {
    match root.pipeline.tables.get(at) {
        Some(_) => TableRef::Pipeline(at),
        None if at == root.files() => TableRef::System(system::FILES),
        None => TableRef::System(system::QUARANTINE),
    }
}
