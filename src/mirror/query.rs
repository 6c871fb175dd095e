//! One question in SQL, answered from the mirror. It can only read: nothing it is given may write, attach another
//! file, or run for ever.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, ErrorCode, Statement};

use super::ddl::{STATE, quoted};
use super::fault::named;
use super::{reader, render};

pub use super::render::Format;
use crate::error::{Error, Result};

#[derive(Debug, Clone, Default)]
pub struct Options {
    pub format: Format,
    /// Longest cell of a table in columns of the terminal, for output to one; `None` cuts nothing.
    pub cell: Option<usize>,
    /// Longest time until the last row.
    pub timeout: Option<Duration>,
    /// Set by whoever catches Ctrl-C; without it the signal simply ends the process, which harms nothing.
    pub stop: Option<Arc<AtomicBool>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub rows: u64,
    /// Whoever read the output closed it (`| head`): not all rows were written.
    pub closed: bool,
}

/// Runs one statement and writes its rows to `out` as they come.
///
/// # Errors
/// `Config` if there is no mirror, or for SQL that is wrong or would do more than read; `Busy` for a query that
/// was stopped or timed out, or while the whole file is locked; `Corrupt`; `Io`.
pub fn run(db: &Path, sql: &str, options: &Options, out: &mut dyn Write) -> Result<Outcome> {
    let conn = reader::open(db)?;
    filled(&conn, db)?;
    guard(&conn).map_err(|e| named(db, "reading the mirror", e))?;
    watch(&conn, options);
    let mut statement = single(&conn, sql).map_err(|e| e.settle(db, options))?;
    let mut render = render::of(options.format, options.cell, out);
    let mut rows = 0;
    match answer(&mut statement, render.as_mut(), &mut rows) {
        Ok(()) => Ok(Outcome { rows, closed: false }),
        Err(Stop::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(Outcome { rows, closed: true })
        }
        Err(stop) => Err(stop.settle(db, options)),
    }
}

/// An empty mirror that is about to be filled has an answer to everything, and none of them is true.
fn filled(conn: &Connection, db: &Path) -> Result<()> {
    let sql = format!("SELECT 1 FROM {} WHERE batch_id IS NULL", quoted(STATE));
    match conn.query_row(&sql, [], |_| Ok(())) {
        Ok(()) => Err(Error::Busy(format!(
            "the mirror {} is not filled yet: ask again in a moment if `millrace run` is running, else run \
             `millrace run --once`",
            db.display()
        ))),
        // No such row or table: whoever wrote it, it is there to be asked.
        Err(_) => Ok(()),
    }
}

fn answer(
    statement: &mut Statement<'_>,
    render: &mut dyn render::Render,
    count: &mut u64,
) -> Result<(), Stop> {
    let names: Vec<String> = statement.column_names().into_iter().map(String::from).collect();
    let width = names.len();
    render.begin(names)?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let values: rusqlite::Result<Vec<ValueRef<'_>>> = (0..width).map(|i| row.get_ref(i)).collect();
        render.row(&values?)?;
        *count += 1;
    }
    Ok(render.end(*count)?)
}

// --------------------------------------------------------------------------------------------- what is let in

/// The most memory that SQLite takes for an answer. What it sorts or sets aside beyond that goes to temporary files.
const HEAP: i64 = 512 << 20;
/// The longest text or blob: somewhat more than the longest event.
const LONGEST: i32 = 128 << 20;

/// The connection is read-only already; this keeps SQL away from everything else that could reach out.
fn guard(conn: &Connection) -> rusqlite::Result<()> {
    // Of the whole process; answering is all that it does.
    conn.pragma_update_and_check(None, "hard_heap_limit", HEAP, |_| Ok(()))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // "paid" in double quotes is a column that does not exist, not a text that matches nothing.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
    conn.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 20)?;
    conn.set_limit(Limit::SQLITE_LIMIT_EXPR_DEPTH, 500)?;
    conn.set_limit(Limit::SQLITE_LIMIT_COMPOUND_SELECT, 500)?;
    conn.set_limit(Limit::SQLITE_LIMIT_VDBE_OP, 1_000_000)?;
    conn.authorizer(Some(authorize));
    Ok(())
}

fn authorize(context: AuthContext<'_>) -> Authorization {
    let allowed = match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => {
            !["load_extension", "fts3_tokenizer"].iter().any(|f| function_name.eq_ignore_ascii_case(f))
        }
        AuthAction::Pragma { pragma_name, pragma_value } => {
            tells(pragma_name) || (pragma_value.is_none() && tells_alone(pragma_name))
        }
        _ => false,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

/// Pragmas that only tell, whatever their argument.
fn tells(pragma: &str) -> bool {
    const TELLS: [&str; 9] = [
        "table_info",
        "table_xinfo",
        "table_list",
        "index_list",
        "index_info",
        "index_xinfo",
        "foreign_key_list",
        "foreign_key_check",
        "quick_check",
    ];
    TELLS.iter().any(|p| pragma.eq_ignore_ascii_case(p))
}

/// Pragmas that tell, and would set something if they had an argument.
fn tells_alone(pragma: &str) -> bool {
    const TELLS: [&str; 9] = [
        "database_list",
        "function_list",
        "compile_options",
        "page_count",
        "page_size",
        "freelist_count",
        "journal_mode",
        "user_version",
        "encoding",
    ];
    TELLS.iter().any(|p| pragma.eq_ignore_ascii_case(p))
}

/// The one statement of `sql`.
fn single<'c>(conn: &'c Connection, sql: &str) -> Result<Statement<'c>, Stop> {
    let mut all = Batch::new(conn, sql);
    let Some(statement) = all.next()? else {
        return Err(Stop::Refused("there is no SQL to run".into()));
    };
    if !statement.readonly() {
        return Err(Stop::Refused("`query` only reads".into()));
    }
    match all.next() {
        Ok(None) => Ok(statement),
        _ => Err(Stop::Refused("`query` takes one statement at a time".into())),
    }
}

// ------------------------------------------------------------------------------------------------ how it ends

/// Looks every few thousand steps of SQLite's machine whether it is time to stop.
fn watch(conn: &Connection, options: &Options) {
    let end = options.timeout.and_then(|t| Instant::now().checked_add(t));
    let stop = options.stop.clone();
    if end.is_none() && stop.is_none() {
        return;
    }
    let over = move || {
        stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed)) || end.is_some_and(|e| Instant::now() >= e)
    };
    conn.progress_handler(4_000, Some(over));
}

enum Stop {
    Sql(rusqlite::Error),
    Output(std::io::Error),
    Refused(String),
}

impl From<rusqlite::Error> for Stop {
    fn from(e: rusqlite::Error) -> Self {
        Stop::Sql(e)
    }
}

impl From<std::io::Error> for Stop {
    fn from(e: std::io::Error) -> Self {
        Stop::Output(e)
    }
}

impl Stop {
    fn settle(self, db: &Path, options: &Options) -> Error {
        match self {
            Stop::Refused(why) => Error::Config(why),
            Stop::Output(e) => Error::io("writing", "the answer", e),
            Stop::Sql(e) => sql_error(e, db, options),
        }
    }
}

fn sql_error(e: rusqlite::Error, db: &Path, options: &Options) -> Error {
    if let rusqlite::Error::SqlInputError { msg, sql, offset, .. } = &e {
        return Error::Config(pointed(msg, sql, usize::try_from(*offset).unwrap_or(0)));
    }
    match e.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => Error::Busy(stopped(options)),
        Some(ErrorCode::OutOfMemory) => {
            Error::Config(format!("the query would take more than {} MiB of memory", HEAP >> 20))
        }
        Some(ErrorCode::AuthorizationForStatementDenied) => Error::Config(
            "`query` only reads: no writing, attaching, transactions, or pragmas that set something".into(),
        ),
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::DiskFull
            | ErrorCode::PermissionDenied,
        ) => named(db, "reading the mirror", e),
        _ => Error::Config(super::fault::reason(&e)),
    }
}

fn stopped(options: &Options) -> String {
    match options.timeout {
        Some(t) if !options.stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed)) => {
            format!("the query was not done after {} s and was stopped", t.as_secs_f64())
        }
        _ => "the query was stopped".into(),
    }
}

/// The message, the line it is about, and a mark under the place.
fn pointed(message: &str, sql: &str, offset: usize) -> String {
    let (before, after) = sql.split_at_checked(offset).unwrap_or((sql, ""));
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    let lead = before.get(start..).unwrap_or_default();
    let rest = after.lines().next().unwrap_or_default();
    format!("{message}\n  {lead}{rest}\n  {}^", " ".repeat(render::width(lead)))
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
