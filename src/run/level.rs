//! Keeps the mirror level with the tables: batch by batch while it can, from the tables when it is behind.

use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use crate::batch::{Entry, FileId, Plan};
use crate::error::{Error, Result};
use crate::fault;
use crate::key::owner_of;
use crate::ledger::Mark;
use crate::maintain::compact::owner_columns;
use crate::mirror::{CatchUp, Change, Changed, Mirror, Outcome, State, SystemTable, TableRef};
use crate::root::{Root, State as TableState};
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

/// The mirror and how far it is. A mirror that cannot be opened or cannot take a batch (another program writes to it,
/// its disk is full) stops nothing: it stays behind, and is brought level as soon as that works.
pub struct Kept {
    mirror: Mirror,
    state: State,
    /// Not open: there is nothing yet, or the file went and could not be made again yet.
    lost: bool,
    /// The last try to bring it level failed: when, and what that took.
    failed: Option<Tried>,
    /// When it was last filled because of what somebody else did to it, and what that took.
    refilled: Option<Tried>,
    /// What was said about its being behind, so that it is said once.
    told: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Tried {
    at: Instant,
    took: Duration,
}

impl Tried {
    fn since(begin: Instant) -> Tried {
        Tried { at: Instant::now(), took: begin.elapsed() }
    }

    /// Trying takes a small part of the time, however long it takes.
    fn is_recent(&self, share: u32) -> bool {
        self.at.elapsed() < self.took * share
    }
}

/// How long another writer is waited for: at first, and while the mirror is behind because of one.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(100));

impl Kept {
    /// Opens the mirror and brings it level. Returns what there is to say about it.
    ///
    /// # Errors
    /// `Config` if a view of the pipeline does not work, `Corrupt` if the tables are damaged where the mirror has to be
    /// filled from them. Whatever is wrong with the mirror stops nothing.
    pub fn open(root: &Root, database: &Path) -> Result<(Kept, Vec<String>)> {
        let mirror = Mirror::closed(database, &root.pipeline, &system_tables(), root.identity.root_id())?;
        let mut kept =
            Kept { mirror, state: State::Fresh, lost: true, failed: None, refilled: None, told: None };
        let mut notes = Vec::new();
        let begin = Instant::now();
        let done = kept.restore(root, &mut notes).and_then(|()| kept.hold_against(root, &mut notes));
        if let Err(e @ Error::Corrupt(_)) = done {
            // The tables are: the mirror's own damage is mended.
            return Err(e);
        }
        kept.note_end(begin, done, root, &mut notes);
        Ok((kept, notes))
    }

    /// It is not level with the tables.
    pub fn is_behind(&self) -> bool {
        self.failed.is_some()
    }

    /// Applies a batch that was just committed.
    pub fn apply(&mut self, root: &Root, plans: &[Plan], ledger: &RecordBatch) -> Vec<String> {
        let mut changes: Vec<Change<'_>> = plans
            .iter()
            .enumerate()
            .filter(|(_, plan)| plan.changes_rows())
            .map(|(at, plan)| Change {
                table: table_ref(root, at),
                rows: plan.append.as_ref().map(|a| &a.rows),
                replaced: is_owned(root, at),
                emptied: &plan.emptied,
            })
            .collect();
        changes.push(Change {
            table: TableRef::System(system::FILES),
            rows: Some(ledger),
            replaced: false,
            emptied: &[],
        });
        self.settle(root, &changes)
    }

    /// A compaction changes no rows: the mirror only takes note of its batch.
    pub fn pass(&mut self, root: &Root) -> Vec<String> {
        self.settle(root, &[])
    }

    /// Between batches: brings a mirror level that was deleted, replaced or changed, or could not take a batch.
    pub fn mend(&mut self, root: &Root) -> Vec<String> {
        let mut notes = Vec::new();
        let begin = Instant::now();
        let done = if !self.lost && self.mirror.present() {
            self.bring_level(root, &mut notes).and_then(|()| self.refill(root, &mut notes))
        } else {
            if !self.lost {
                notes.push("the mirror was deleted or replaced; it is made again from the tables".into());
            }
            self.restore(root, &mut notes)
        };
        self.note_end(begin, done, root, &mut notes);
        notes
    }

    fn settle(&mut self, root: &Root, changes: &[Change<'_>]) -> Vec<String> {
        let mut notes = Vec::new();
        let batch = root.record.batch;
        // Batches must not wait, one after the other, for a mirror that cannot be written to.
        if self.failed.is_some_and(|tried| tried.is_recent(10)) {
            return notes;
        }
        let begin = Instant::now();
        let done = if self.lost {
            self.restore(root, &mut notes)
        } else if self.state == State::Level(batch - 1) {
            self.follow(root);
            match self.mirror.apply(batch, changes) {
                Ok(Outcome::Lost(how)) => {
                    notes.push(format!("{how}; it is made again from the tables"));
                    self.restore(root, &mut notes)
                }
                Ok(_) => {
                    self.state = State::Level(batch);
                    Ok(())
                }
                Err(e) => Err(e),
            }
        } else {
            self.bring_level(root, &mut notes)
        };
        self.note_end(begin, done, root, &mut notes);
        notes
    }

    /// Takes note of how trying went; what there is to say about it is said once.
    fn note_end(&mut self, begin: Instant, done: Result<()>, root: &Root, notes: &mut Vec<String>) {
        match done {
            Ok(()) => {
                if self.failed.take().is_some() {
                    self.mirror.wait_for_others(PATIENCE.0);
                    notes.push(format!("the mirror is level again, at batch {}", root.record.batch));
                }
                self.told = None;
            }
            Err(e) => {
                self.failed = Some(Tried::since(begin));
                self.mirror.wait_for_others(PATIENCE.1);
                let said = e.to_string();
                if self.told.as_ref() != Some(&said) {
                    notes.push(format!(
                        "the mirror is behind, and brought level as soon as that works (the tables go on without \
                         it): {said}"
                    ));
                    self.told = Some(said);
                }
            }
        }
    }

    /// A small mirror that says it is level must have as many rows as the tables: somebody may have deleted some
    /// while nobody was running. (What was changed otherwise is `verify`'s to find.)
    fn hold_against(&mut self, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        for (at, state) in root.states.iter().enumerate() {
            let table = table_ref(root, at);
            if self.mirror.count_if_small(table)?.is_some_and(|rows| rows != state.table.rows_alive()) {
                notes.push(format!(
                    "the mirror has other rows of {} than the table: another program changed it; it is filled again \
                     from the tables",
                    state.table.def.name
                ));
                return self.fill(root, notes);
            }
        }
        Ok(())
    }

    /// Another program wrote to the file while we had it open: what it changed is not known, so everything is
    /// filled again. Not over and over, should it go on writing.
    fn refill(&mut self, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        if !self.mirror.is_touched() || self.refilled.is_some_and(|tried| tried.is_recent(50)) {
            return Ok(());
        }
        notes.push("another program wrote to the mirror; it is filled again from the tables".into());
        self.fill(root, notes)
    }

    fn fill(&mut self, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        let begin = Instant::now();
        self.follow(root);
        let outcome = rebuild(root, &mut self.mirror)?;
        self.refilled = Some(Tried::since(begin));
        self.settled(outcome, root, notes)
    }

    fn restore(&mut self, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        self.restored(notes)?;
        let mark = self.mirror.history().and_then(Mark::from_text);
        if self.state != State::Fresh && !mark.is_some_and(|mark| root.has_mark(&mark)) {
            notes.push(
                "nothing in the tables' log shows that the mirror follows them (they were put back to an older state, \
                 or it is far behind); it is filled again"
                    .into(),
            );
            self.state = State::Fresh;
        }
        self.bring_level(root, notes)
    }

    /// The next that is written makes the mirror one of the tables as they are now.
    fn follow(&mut self, root: &Root) {
        if let Some(mark) = root.decided_mark().or_else(|| root.ledger_mark().ok()) {
            self.mirror.follow(mark.text());
        }
    }

    fn bring_level(&mut self, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        let now = root.record.batch;
        if self.state == State::Level(now) {
            return Ok(());
        }
        self.follow(root);
        let outcome = match self.state {
            State::Level(batch) if batch < now => catch_up(root, &mut self.mirror, batch)?,
            State::Level(batch) => {
                notes.push(format!("the mirror is at batch {batch}, the tables at {now}: it is made again"));
                rebuild(root, &mut self.mirror)?
            }
            State::Fresh => rebuild(root, &mut self.mirror)?,
        };
        self.settled(outcome, root, notes)
    }

    fn settled(&mut self, outcome: Outcome, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        match outcome {
            Outcome::Done | Outcome::Already => {
                fault::point("level.done");
                self.state = State::Level(root.record.batch);
                Ok(())
            }
            Outcome::Lost(how) => {
                // Twice in a row is no accident: the next batch tries again.
                self.restored(notes)?;
                Err(Error::Busy(how))
            }
        }
    }

    fn restored(&mut self, notes: &mut Vec<String>) -> Result<()> {
        // Until the file is there again nothing can be written to it.
        self.lost = true;
        let (state, more) = self.mirror.restore()?;
        self.lost = false;
        notes.extend(more);
        self.state = state;
        Ok(())
    }
}

fn rebuild(root: &Root, mirror: &mut Mirror) -> Result<Outcome> {
    fault::point("level.rebuilding");
    let tables = (0..root.states.len()).map(|at| (table_ref(root, at), all_rows(&root.states[at])));
    mirror.rebuild(root.record.batch, tables)
}

/// Since `batch`: the owners whose entry names a later file. A compaction moves entries too, so this can be more
/// than what changed, never less.
fn catch_up(root: &Root, mirror: &mut Mirror, batch: u64) -> Result<Outcome> {
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

fn all_rows(state: &TableState) -> Rows<'_> {
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

fn live(state: &TableState, file: FileId) -> Rows<'_> {
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
pub fn table_ref(root: &Root, at: usize) -> TableRef<'_> {
    match root.pipeline.tables.get(at) {
        Some(_) => TableRef::Pipeline(at),
        None if at == root.files() => TableRef::System(system::FILES),
        None => TableRef::System(system::QUARANTINE),
    }
}
