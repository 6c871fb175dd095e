//! Changing the mirror: a batch applied, everything rebuilt, or the owners that changed caught up with.
//!
//! Each is one transaction that ends by storing the batch id.

use std::time::Duration;

use arrow::array::RecordBatch;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, TransactionBehavior, params_from_iter};

use super::bind::{Column, bind_row, columns, text_of};
use super::ddl::{Ddl, STATE, TableDdl, quoted};
use super::fault::{Fault, damage, named, reason};
use super::{CatchUp, Change, Changed, Mirror, Outcome, TableRef};
use crate::batch::KeyPart;
use crate::error::{Error, Result};
use crate::fault;
use crate::key::OwnerHash;

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

/// Rows of one `INSERT`: a tenth faster than one at a time; more gains nothing (measured).
const ROWS_AT_ONCE: usize = 8;

/// SQLite's default bound on parameters of a statement.
const PARAMETERS: usize = 32_766;

impl Mirror {
    /// Applies one committed batch.
    ///
    /// # Errors
    /// `Busy` if another program writes to the file; `Io` (a full disk); `Bug` for rows that do not fit the
    /// tables or a mirror that was never filled. Nothing has changed then.
    pub fn apply(&mut self, batch_id: u64, changes: &[Change<'_>]) -> Result<Outcome> {
        self.transact(batch_id, false, |conn, ddl| {
            for change in changes {
                let table = ddl.find(change.table)?;
                if change.replaced {
                    delete_owners(conn, table, change.rows)?;
                }
                delete_emptied(conn, table, change.emptied)?;
                if let Some(rows) = change.rows {
                    insert(conn, table, &quoted(&table.name), rows, !change.replaced)?;
                }
            }
            Ok(())
        })
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
        let outcome = self.transact(batch_id, true, |conn, ddl| {
            empty(conn, ddl)?;
            fault::point("mirror.emptied");
            for (table, rows) in tables {
                fill(conn, ddl.find(table)?, rows)?;
                fault::point("mirror.table_filled");
            }
            for index in ddl.tables.iter().flat_map(|t| &t.indexes) {
                conn.execute(&index.sql, [])?;
            }
            Ok(())
        })?;
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
        self.transact(batch_id, false, |conn, ddl| {
            for part in tables {
                let table = ddl.find(part.table)?;
                match part.changed {
                    Changed::Owners(changed) => delete_changed(conn, table, changed)?,
                    Changed::All => delete_all(conn, table)?,
                }
                fault::point("mirror.owners_deleted");
                for rows in part.rows {
                    insert(conn, table, &quoted(&table.name), &rows?, false)?;
                }
            }
            Ok(())
        })
    }

    /// Runs `work` and stores the batch id, in one transaction. `whole` = the work replaces everything, so it may
    /// start from any state.
    fn transact(
        &mut self,
        batch_id: u64,
        whole: bool,
        work: impl FnOnce(&Connection, &Ddl) -> Result<(), Fault>,
    ) -> Result<Outcome> {
        if !self.present() {
            return Ok(self.lost("or its log was deleted, moved or replaced"));
        }
        self.room_in_log()?;
        let mut version = self.version;
        let done = {
            let history = self.history.as_deref();
            within(self.conn.as_mut(), &self.ddl, batch_id, history, whole, &mut version, work)
        };
        // Of what was committed before our transaction began, a rebuild leaves nothing.
        self.touched = (self.touched || version != self.version) && !(whole && done.is_ok());
        self.version = version;
        match done {
            Ok(outcome) => {
                if let Some(patience) = self.cutting.due(self.log_bytes()) {
                    self.cut_log(patience)?;
                    self.cutting.tried(self.log_bytes());
                }
                Ok(outcome)
            }
            Err(Fault::Sql(e)) if whole && constraint(&e) => Err(two_rows(&e)),
            Err(Fault::Sql(e)) if damage(&e) => {
                self.damaged = true;
                Ok(self.lost(&format!("is damaged ({})", reason(&e))))
            }
            Err(Fault::Sql(e)) => Err(named(&self.path, "writing to", e)),
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

    fn lost(&mut self, how: &str) -> Outcome {
        // The database is in its place, so it is its log that is gone, and with it what was not checkpointed.
        self.damaged |= super::open::file_identity(&self.path) == self.files.database;
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
    whole: bool,
    version: &mut i64,
    work: impl FnOnce(&Connection, &Ddl) -> Result<(), Fault>,
) -> Result<Outcome, Fault> {
    let conn = conn.ok_or_else(|| Error::Bug("the mirror is used after it failed to open".into()))?;
    let id = i64::try_from(batch_id).map_err(|_| Error::Bug(format!("batch id {batch_id}")))?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    *version = super::open::version(&tx)?;
    let select = format!("SELECT batch_id FROM {}", quoted(STATE));
    let stored: Option<i64> = tx.prepare_cached(&select)?.query_row([], |r| r.get(0))?;
    match stored {
        None if !whole => return Err(Error::Bug("the mirror was never filled: rebuild first".into()).into()),
        Some(stored) if !whole && stored >= id => return Ok(Outcome::Already),
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

// ------------------------------------------------------------------------------------------------- deleting

fn delete_statement(table: &TableDdl) -> String {
    let equal: Vec<String> =
        table.owner.iter().map(|&c| format!("{} = ?", quoted(&table.columns[c].name))).collect();
    format!("DELETE FROM {} WHERE {}", quoted(&table.name), equal.join(" AND "))
}

/// Deletes what the owners of `rows` had. Rows of one owner stand together, so each owner is deleted once; one
/// that did come again would be deleted again before anything is inserted, which does no harm.
fn delete_owners(conn: &Connection, table: &TableDdl, rows: Option<&RecordBatch>) -> Result<(), Fault> {
    let Some(rows) = rows.filter(|_| !table.owner.is_empty()) else { return Ok(()) };
    let all = columns(table, rows)?;
    let owner: Vec<&Column<'_>> = table.owner.iter().filter_map(|&c| all.get(c)).collect();
    let mut delete = conn.prepare_cached(&delete_statement(table))?;
    let mut scratch = String::new();
    for row in 0..rows.num_rows() {
        if row == 0 || !same_owner(&owner, row - 1, row) {
            bind_row(&mut delete, 1, owner.iter().copied(), row, &mut scratch)?;
            delete.raw_execute()?;
        }
    }
    Ok(())
}

fn same_owner(owner: &[&Column<'_>], a: usize, b: usize) -> bool {
    let (mut x, mut y) = (String::new(), String::new());
    owner.iter().all(|c| c.value(a, &mut x) == c.value(b, &mut y))
}

fn delete_emptied(conn: &Connection, table: &TableDdl, emptied: &[Vec<KeyPart>]) -> Result<(), Fault> {
    if emptied.is_empty() {
        return Ok(());
    }
    let mut delete = conn.prepare_cached(&delete_statement(table))?;
    for key in emptied {
        if key.len() != table.owner.len() {
            return Err(Error::Bug(format!("`{}` is told of an emptied key {key:?}", table.name)).into());
        }
        delete.execute(params_from_iter(
            key.iter()
                .map(|part| match part {
                    KeyPart::Text(t) => ValueRef::Text(t.as_bytes()),
                    KeyPart::Int(i) => ValueRef::Integer(*i),
                })
                .map(ToSqlOutput::Borrowed),
        ))?;
    }
    Ok(())
}

/// Deletes the rows whose owner's hash says yes. The scan runs over the primary key's index alone, and what it
/// keeps is eight bytes a row.
fn delete_changed(conn: &Connection, table: &TableDdl, changed: &dyn Fn(u128) -> bool) -> Result<(), Fault> {
    if table.owner.is_empty() {
        return Err(Error::Bug(format!("`{}` has no owner to catch up by", table.name)).into());
    }
    let (name, rowid) = (quoted(&table.name), rowid(table)?);
    let mut scan = conn.prepare(&format!("SELECT {rowid}, {} FROM {name}", table.list(&table.owner)))?;
    let mut rows = scan.query([])?;
    let mut gone: Vec<i64> = Vec::new();
    while let Some(row) = rows.next()? {
        let mut hash = OwnerHash::new();
        for part in 1..=table.owner.len() {
            hash.part(text_of(row.get_ref(part)?).unwrap_or_default().as_bytes());
        }
        if changed(hash.finish()) {
            gone.push(row.get(0)?);
        }
    }
    let mut delete = conn.prepare(&format!("DELETE FROM {name} WHERE {rowid} = ?"))?;
    for id in gone {
        delete.execute([id])?;
    }
    Ok(())
}

/// A name of SQLite's own row number that no column of the table hides.
fn rowid(table: &TableDdl) -> Result<&'static str> {
    let free = |name: &&str| !table.columns.iter().any(|c| c.name.eq_ignore_ascii_case(name));
    let found = ["_rowid_", "rowid", "oid"].into_iter().find(free);
    found.ok_or_else(|| Error::Bug(format!("`{}` has columns rowid, _rowid_ and oid", table.name)))
}

fn delete_all(conn: &Connection, table: &TableDdl) -> Result<(), Fault> {
    conn.execute(&format!("DELETE FROM {}", quoted(&table.name)), [])?;
    Ok(())
}

/// Indexes go first and come back last: building one over sorted rows costs a fraction of keeping it up.
fn empty(conn: &Connection, ddl: &Ddl) -> Result<(), Fault> {
    while let Some((trigger, _)) = super::open::foreign_trigger(conn, ddl)? {
        conn.execute(&format!("DROP TRIGGER {}", quoted(&trigger)), [])?;
    }
    for table in &ddl.tables {
        for index in &table.indexes {
            conn.execute(&format!("DROP INDEX IF EXISTS {}", quoted(&index.name)), [])?;
        }
        delete_all(conn, table)?;
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------------ inserting

/// Fills an empty table in the order of its key. Rows in the order of their arrival would touch the key's index
/// all over: with ten million of them every page is written many times, and each time again to the log. So they
/// go through a temporary table, which is not logged, and SQLite's external sort.
fn fill(
    conn: &Connection,
    table: &TableDdl,
    rows: impl IntoIterator<Item = Result<RecordBatch>>,
) -> Result<(), Fault> {
    const STAGE: &str = "temp.\"millrace_stage\"";
    let (name, all) = (quoted(&table.name), table.all_columns());
    conn.execute(&format!("CREATE TABLE {STAGE} AS SELECT * FROM {name} WHERE 0"), [])?;
    for batch in rows {
        insert(conn, table, STAGE, &batch?, false)?;
    }
    let order =
        if table.key.is_empty() { String::new() } else { format!(" ORDER BY {}", table.list(&table.key)) };
    conn.execute(&format!("INSERT OR FAIL INTO {name} ({all}) SELECT {all} FROM {STAGE}{order}"), [])?;
    conn.execute(&format!("DROP TABLE {STAGE}"), [])?;
    Ok(())
}

/// Inserts rows into `into`, a quoted name; `replace` = a row takes the place of the one with its key.
fn insert(
    conn: &Connection,
    table: &TableDdl,
    into: &str,
    rows: &RecordBatch,
    replace: bool,
) -> Result<(), Fault> {
    let columns = columns(table, rows)?;
    let width = columns.len().max(1);
    let group = (PARAMETERS / width).clamp(1, ROWS_AT_ONCE);
    let sql = |rows| insert_statement(table, into, rows, replace);
    let (mut many, mut one) = (conn.prepare_cached(&sql(group))?, conn.prepare_cached(&sql(1))?);
    let grouped = rows.num_rows() - rows.num_rows() % group;
    let mut scratch = String::new();
    for row in 0..grouped {
        bind_row(&mut many, row % group * width + 1, &columns, row, &mut scratch)?;
        if row % group == group - 1 {
            many.raw_execute()?;
        }
    }
    for row in grouped..rows.num_rows() {
        bind_row(&mut one, 1, &columns, row, &mut scratch)?;
        one.raw_execute()?;
    }
    Ok(())
}

/// `OR FAIL`: a row that cannot go in ends the transaction, so SQLite need not keep a journal to undo the other
/// rows of its statement. With it, inserts of several rows were slower than single ones by half.
fn insert_statement(table: &TableDdl, into: &str, rows: usize, replace: bool) -> String {
    let verb = if replace { "INSERT OR REPLACE" } else { "INSERT OR FAIL" };
    let row = format!("({})", vec!["?"; table.columns.len()].join(","));
    format!("{verb} INTO {into} ({}) VALUES {}", table.all_columns(), vec![row.as_str(); rows].join(","))
}
