//! Changing the mirror: a batch applied, everything rebuilt, or the owners that changed caught up with.
//!
//! Each is one transaction that ends by storing the batch id.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use rusqlite::{Connection, TransactionBehavior};

use super::ddl::{Ddl, STATE, quoted};
use super::fault::{Fault, damage, named, reason};
use super::hidden::{GONE, Syncing};
use super::indexes;
use super::rows::{Into, delete_all, delete_changed, delete_emptied, delete_owners, fill, insert};
use super::{CatchUp, Change, Changed, Mirror, Outcome, Replaces, TableRef};
use crate::error::{Error, Result};
use crate::fault;

/// A log beyond this is cut back as soon as no reader needs it.
const LOG_BYTES: u64 = 64 << 20;

/// A log that a reader has kept from being cut for so long gets no more: it would fill the disk that the tables need
/// too. The mirror stays behind until the reader ends. (A rebuild may exceed this: its log is as large as what it
/// writes.)
pub const MOST_LOG_BYTES: u64 = 1 << 30;

/// When to cut a log back that readers stand in the way of. Where several come and go there is always one that
/// looks at an older state, and the log never gets a moment of its own; so the writer waits until those of now are
/// gone. It does that seldom, and longer the longer the log is, whoever wrote it: for each quarter more, twice as long.
#[derive(Debug)]
pub(super) struct Cutting {
    /// Bytes of the log from which on it is tried.
    from: u64,
}

/// How long readers are waited for at first.
const SHORTEST: Duration = Duration::from_millis(50);

/// The most that a batch waits for readers.
const LONGEST: Duration = Duration::from_secs(5);

impl Default for Cutting {
    fn default() -> Self {
        Cutting { from: LOG_BYTES }
    }
}

impl Cutting {
    /// How long to wait for readers now, if it is to be tried.
    pub(super) fn due(&self, bytes: u64) -> Option<Duration> {
        let quarters = std::iter::successors(Some(LOG_BYTES), |size| Some(size + size / 4));
        let steps = quarters.skip(1).take_while(|size| *size <= bytes).take(10).count();
        (bytes > self.from).then(|| LONGEST.min(SHORTEST * (1 << steps)))
    }

    /// It was tried; so long is the log now.
    pub(super) fn tried(&mut self, bytes: u64) {
        *self = if bytes <= LOG_BYTES { Cutting::default() } else { Cutting { from: bytes + bytes / 4 } };
    }
}

/// What a change may start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// A mirror of an earlier batch.
    Before,
    /// A mirror that is level with the batch: no row changes.
    Level,
    /// Anything: everything is replaced.
    Any,
}

impl Mirror {
    /// Applies one committed batch.
    ///
    /// # Errors
    /// `Busy` if another program writes to the file; `Io` (a full disk); `Bug` for rows that do not fit the
    /// tables or a mirror that was never filled. Nothing has changed then.
    pub fn apply(&mut self, batch_id: u64, changes: &[Change]) -> Result<Outcome> {
        let put_off = std::mem::take(&mut self.many_come);
        let (touched, version) = (self.touched, self.version);
        let mut dropped = false;
        let outcome = self.transact(batch_id, Start::Before, |conn, ddl| {
            if put_off {
                dropped = indexes::put_off(conn, ddl)?;
            }
            // Somebody else may have put rows of owners there that have none.
            let foreign = touched || super::open::version(conn)? != version;
            for change in changes {
                let table = ddl.find(change.table)?;
                delete_emptied(conn, table, &change.emptied)?;
                let Some(rows) = &change.rows else { continue };
                let into = match &change.replaces {
                    Replaces::Key => Into::Replacing,
                    Replaces::Owners(_) if foreign => {
                        delete_owners(conn, table, rows, 0..rows.num_rows())?;
                        Into::Table
                    }
                    Replaces::Owners(named) => {
                        delete_owners(conn, table, rows, named.iter().map(|&row| row as usize))?;
                        Into::Table
                    }
                };
                insert(conn, table, into, rows)?;
            }
            Ok(())
        })?;
        self.lacks_indexes |= dropped && outcome == Outcome::Done;
        Ok(outcome)
    }

    /// Many batches come one after the other: if every table is empty when the next one is applied, indexes that only
    /// readers need are left out until [`Mirror::index`]. Building one over all rows costs a fraction of keeping it up.
    /// (A start makes those that a kill left out.)
    pub fn expect_many(&mut self) {
        self.many_come = true;
    }

    /// Indexes were left out.
    pub fn lacks_indexes(&self) -> bool {
        self.lacks_indexes
    }

    /// Makes the indexes that were left out, each in a transaction of its own, in a mirror that is level with `batch_id`;
    /// until all are there, or `pause` is set.
    ///
    /// # Errors
    /// As [`Mirror::apply`].
    pub fn index(&mut self, batch_id: u64, pause: &AtomicBool) -> Result<Outcome> {
        let mut syncing = self.begin_sync();
        let outcome = self.make_indexes(batch_id, pause, &mut syncing);
        self.end_sync(syncing).map_or(outcome, Ok)
    }

    fn make_indexes(
        &mut self,
        batch_id: u64,
        pause: &AtomicBool,
        syncing: &mut Option<Syncing>,
    ) -> Result<Outcome> {
        while self.lacks_indexes {
            if self.was_hidden_long() {
                let lost = self.end_sync(syncing.take());
                let shown = lost.map_or_else(|| self.show(), Ok)?;
                if matches!(shown, Outcome::Lost(_)) {
                    return Ok(shown);
                }
            }
            let mut all = false;
            let outcome = self.transact(batch_id, Start::Level, |conn, ddl| {
                all = indexes::make(conn, ddl, 1)?;
                Ok(())
            })?;
            if outcome != Outcome::Done {
                return Ok(outcome);
            }
            self.lacks_indexes = !all;
            if pause.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(Outcome::Done)
    }

    /// Replaces everything by the full contents of the tables as of `batch_id`; a table that is not among them
    /// becomes empty. Readers see the old contents until it is done.
    ///
    /// # Errors
    /// As [`Mirror::apply`], what the iterators say, and `Corrupt` if two rows of a table have one key.
    pub fn rebuild<'t, R>(
        &mut self,
        batch_id: u64,
        tables: impl IntoIterator<Item = (TableRef<'t>, R)>,
    ) -> Result<Outcome>
    where
        R: IntoIterator<Item = Result<RecordBatch>>,
    {
        let outcome = self.transact(batch_id, Start::Any, |conn, ddl| {
            empty(conn, ddl)?;
            fault::point("mirror.emptied");
            for (table, rows) in tables {
                fill(conn, ddl.find(table)?, rows)?;
                fault::point("mirror.table_filled");
            }
            indexes::make(conn, ddl, usize::MAX).map(|_| ())
        })?;
        self.lacks_indexes = false;
        self.cut_log(Duration::from_secs(1))?;
        fault::point("mirror.log_cut");
        Ok(outcome)
    }

    /// Brings a mirror that is behind level: of each table, the rows whose owner changed are replaced by `rows`,
    /// which must hold the changed owners' rows and no others.
    ///
    /// # Errors
    /// As [`Mirror::apply`], and what the iterators say.
    pub fn catch_up<'t>(
        &mut self,
        batch_id: u64,
        tables: impl IntoIterator<Item = CatchUp<'t>>,
    ) -> Result<Outcome> {
        self.transact(batch_id, Start::Before, |conn, ddl| {
            for part in tables {
                let table = ddl.find(part.table)?;
                match part.changed {
                    Changed::Owners(changed) => delete_changed(conn, table, changed)?,
                    Changed::All => delete_all(conn, table)?,
                }
                fault::point("mirror.owners_deleted");
                for rows in part.rows {
                    insert(conn, table, Into::Table, &rows?)?;
                }
            }
            Ok(())
        })
    }

    /// Runs `work` and stores the batch id, in one transaction.
    fn transact(
        &mut self,
        batch_id: u64,
        start: Start,
        work: impl FnOnce(&Connection, &Ddl) -> Result<(), Fault>,
    ) -> Result<Outcome> {
        if !self.present() {
            return Ok(self.lost(match self.is_hidden() {
                true => GONE,
                false => "or its log was deleted, moved or replaced",
            }));
        }
        self.room_in_log()?;
        let mut version = self.version;
        let done = {
            let history = self.history.as_deref();
            within(self.conn.as_mut(), &self.ddl, batch_id, history, start, &mut version, work)
        };
        // Of what was committed before our transaction began, a rebuild leaves nothing.
        self.touched = (self.touched || version != self.version) && !(start == Start::Any && done.is_ok());
        self.version = version;
        match done {
            Ok(outcome) => {
                // The transaction is committed: what is wrong with the log, the next one meets.
                if let Some(patience) = self.cutting.due(self.log_bytes())
                    && self.cut_log(patience).is_ok()
                {
                    self.cutting.tried(self.log_bytes());
                }
                Ok(outcome)
            }
            Err(Fault::Sql(e)) if start == Start::Any && constraint(&e) => Err(two_rows(&e)),
            Err(Fault::Sql(e)) if damage(&e) => {
                self.damaged = true;
                Ok(self.lost(&format!("is damaged ({})", reason(&e))))
            }
            Err(Fault::Sql(e)) => match named(&self.path, "writing to", e) {
                // Without a log nobody knows what of it is whole.
                e @ Error::Io { .. } if self.is_hidden() => Ok(self.lost(&format!("cannot be made ({e})"))),
                e => Err(e),
            },
            Err(Fault::Ours(e)) => Err(e),
        }
    }

    /// # Errors
    /// `Busy` if the log is too large and a reader keeps it so.
    fn room_in_log(&mut self) -> Result<()> {
        if self.log_bytes() <= self.most_log {
            return Ok(());
        }
        self.cut_log(Duration::from_millis(50))?;
        if self.log_bytes() <= self.most_log {
            return Ok(());
        }
        Err(Error::Busy(format!(
            "another program has read {} in one transaction for so long that its log has grown to {} MiB: finish \
             that transaction or close the program",
            self.path.display(),
            self.log_bytes() >> 20
        )))
    }

    pub(super) fn lost(&mut self, how: &str) -> Outcome {
        // The database is in its place, so it is its log that is gone, and with it what was not checkpointed.
        self.damaged |= super::open::file_identity(self.at()) == self.files.database;
        Outcome::Lost(format!("the mirror {} {how}", self.path.display()))
    }

    /// Brings the log into the database and cuts it to nothing, unless a reader needs it for longer than `wait`.
    pub(super) fn cut_log(&mut self, wait: Duration) -> Result<()> {
        let (conn, patience) = (self.connection()?, self.patience);
        let cut = conn.busy_timeout(wait).and_then(|()| {
            let cut = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            conn.busy_timeout(patience)?;
            cut
        });
        match cut {
            // The batch is in: whatever is wrong with the file is met, and named, by the next one.
            Err(e) if damage(&e) => Ok(()),
            Err(e) => match named(&self.path, "checkpointing", e) {
                Error::Busy(_) => Ok(()),
                e => Err(e),
            },
            Ok(()) => Ok(()),
        }
    }
}

fn within(
    conn: Option<&mut Connection>,
    ddl: &Ddl,
    batch_id: u64,
    history: Option<&str>,
    start: Start,
    version: &mut i64,
    work: impl FnOnce(&Connection, &Ddl) -> Result<(), Fault>,
) -> Result<Outcome, Fault> {
    let conn = conn.ok_or_else(|| Error::Bug("the mirror is used after it failed to open".into()))?;
    let id = i64::try_from(batch_id).map_err(|_| Error::Bug(format!("batch id {batch_id}")))?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    *version = super::open::version(&tx)?;
    let select = format!("SELECT batch_id FROM {}", quoted(STATE));
    let stored: Option<i64> = tx.prepare_cached(&select)?.query_row([], |r| r.get(0))?;
    match (start, stored) {
        (Start::Any, _) => {}
        (_, None) => return Err(Error::Bug("the mirror was never filled: rebuild first".into()).into()),
        (Start::Before, Some(stored)) if stored >= id => return Ok(Outcome::Already),
        (Start::Level, Some(stored)) if stored != id => return Ok(Outcome::Already),
        _ => {}
    }
    fault::point("mirror.begun");
    work(&tx, ddl)?;
    fault::point("mirror.worked");
    let update = format!("UPDATE {} SET batch_id = ?, history = ?", quoted(STATE));
    tx.prepare_cached(&update)?.execute((id, history))?;
    fault::point("mirror.committing");
    tx.commit()?;
    fault::point("mirror.committed");
    Ok(Outcome::Done)
}

fn constraint(e: &rusqlite::Error) -> bool {
    e.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

fn two_rows(e: &rusqlite::Error) -> Error {
    Error::Corrupt(format!("a table has two rows with one key ({}): run `millrace verify`", reason(e)))
}

fn empty(conn: &Connection, ddl: &Ddl) -> Result<(), Fault> {
    while let Some((trigger, _)) = super::open::foreign_trigger(conn, ddl)? {
        conn.execute(&format!("DROP TRIGGER {}", quoted(&trigger)), [])?;
    }
    // Building them over sorted rows in the end costs a fraction of keeping them up.
    indexes::drop_all(conn, ddl)?;
    ddl.tables.iter().try_for_each(|table| delete_all(conn, table))
}
