//! Opening the mirror's file: a sound one as it is, a missing one made, any other moved aside and made again.
//!
//! Nothing is ever deleted that could hold somebody's data: the mirror can be made again from the tables, but a
//! file at its path need not be ours.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::ddl::{Ddl, Object, STATE, quoted};
use super::fault::{damage, named, reason};
use crate::error::{Error, IoContext, Result};
use crate::fault;

/// Raised when what is stored here means something else than before; an older or newer file is then replaced.
pub const FORMAT: i64 = 1;

/// A database up to this size is checked from end to end when it is opened (about 0.1 s); a larger one is trusted
/// until SQLite meets the damage, because start must not cost what the tables hold.
const CHECK_UP_TO: u64 = 32 << 20;

/// How long a writer of somebody else is waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What a mirror mirrors; a file that says otherwise is not ours to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub root: String,
    pub pipeline: String,
    pub fingerprint: String,
}

pub struct Opened {
    pub conn: Connection,
    /// The batch it is level with; `None` = just made, never filled.
    pub batch: Option<u64>,
}

/// Why a file cannot be used as it is.
enum Refusal {
    /// It is moved aside under `label`; `why` goes into the note.
    Aside {
        label: &'static str,
        why: String,
    },
    Fatal(Error),
}

/// Opens the mirror at `path`, or makes it; what had to be moved aside is said in `notes`.
///
/// # Errors
/// `Busy` if another program holds a write lock; `Io`.
pub fn open(path: &Path, ddl: &Ddl, identity: &Identity, notes: &mut Vec<String>) -> Result<Opened> {
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).at("making the folder", folder)?;
    }
    match connect(path, ddl, identity) {
        Ok(opened) => return Ok(opened),
        Err(Refusal::Fatal(e)) => return Err(e),
        Err(Refusal::Aside { label, why }) => notes.push(move_aside(path, label, &why)?),
    }
    connect(path, ddl, identity).map_err(|refusal| match refusal {
        Refusal::Fatal(e) => e,
        Refusal::Aside { why, .. } => {
            Error::Bug(format!("the mirror {} was just made and yet {why}", path.display()))
        }
    })
}

fn connect(path: &Path, ddl: &Ddl, identity: &Identity) -> Result<Opened, Refusal> {
    let size = match std::fs::metadata(path) {
        Ok(m) => m.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        Err(e) => return Err(Refusal::Fatal(Error::io("opening the mirror", path, e))),
    };
    if size == 0 {
        remove_orphaned_log(path).map_err(Refusal::Fatal)?;
    }
    let sql = |e: rusqlite::Error| refusal(path, e);
    let mut conn = writer(path).map_err(sql)?;
    let objects: i64 = conn.query_row("SELECT count(*) FROM sqlite_master", [], |r| r.get(0)).map_err(sql)?;
    if objects == 0 {
        create(&mut conn, ddl, identity).map_err(sql)?;
        fault::point("mirror.made");
        return Ok(Opened { conn, batch: None });
    }
    if size <= CHECK_UP_TO {
        check(&conn).map_err(sql)?.map_or(Ok(()), |why| Err(damaged(why)))?;
    }
    let batch = recognise(&conn, ddl, identity).map_err(sql)?.map_err(other)?;
    mend(&mut conn, ddl).map_err(sql)?;
    Ok(Opened { conn, batch })
}

fn damaged(why: String) -> Refusal {
    Refusal::Aside { label: "damaged", why: format!("is damaged ({why})") }
}

fn other(why: String) -> Refusal {
    Refusal::Aside { label: "old", why }
}

fn refusal(path: &Path, e: rusqlite::Error) -> Refusal {
    if damage(&e) { damaged(reason(&e)) } else { Refusal::Fatal(named(path, "opening the mirror", e)) }
}

/// A connection that writes. Foreign keys are declared for the eye and for tools; enforcing them would make the
/// order of tables within a batch matter, and an event may well name an item that no event has described.
/// The cache (64 MiB at most, taken only when used) holds what one batch touches: with 16 MiB, pages of large
/// batches were written to the log several times, at half the speed.
fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let conn = Connection::open_with_flags(plain(path), flags)?;
    conn.busy_timeout(PATIENCE)?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.pragma_update(None, "cache_size", -65_536)?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 8_000, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))?;
    conn.set_prepared_statement_cache_capacity(256);
    Ok(conn)
}

/// SQLite takes a name that begins with `file:` for a URI; a path never does.
pub fn plain(path: &Path) -> PathBuf {
    if path.is_absolute() { path.to_path_buf() } else { Path::new(".").join(path) }
}

fn create(conn: &mut Connection, ddl: &Ddl, identity: &Identity) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute(&ddl.state.sql, [])?;
    for table in &ddl.tables {
        tx.execute(&table.create.sql, [])?;
        for index in &table.indexes {
            tx.execute(&index.sql, [])?;
        }
    }
    fault::point("mirror.making");
    for view in &ddl.views {
        tx.execute(&view.sql, [])?;
    }
    tx.execute(
        &format!("INSERT INTO {} VALUES (NULL, ?, ?, ?, ?)", quoted(STATE)),
        (&identity.root, FORMAT, &identity.pipeline, &identity.fingerprint),
    )?;
    tx.commit()
}

fn check(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let said: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    Ok((said != "ok").then_some(said))
}

/// Level with which batch, or in what it differs from the mirror that is wanted.
fn recognise(
    conn: &Connection,
    ddl: &Ddl,
    wanted: &Identity,
) -> rusqlite::Result<Result<Option<u64>, String>> {
    if stored_sql(conn, "table", STATE)?.as_ref() != Some(&ddl.state.sql) {
        return Ok(Err("is not a mirror that this version of Millrace made".into()));
    }
    let sql = format!("SELECT batch_id, format, root_id, pipeline, fingerprint FROM {}", quoted(STATE));
    let row = conn.query_row(&sql, [], |r| {
        let identity = Identity { root: r.get(2)?, pipeline: r.get(3)?, fingerprint: r.get(4)? };
        Ok((r.get::<_, Option<i64>>(0)?, r.get::<_, i64>(1)?, identity))
    });
    let (batch, format, found) = match row {
        Ok(row) => row,
        // No row, or values of another type than we write.
        Err(rusqlite::Error::QueryReturnedNoRows | rusqlite::Error::InvalidColumnType(..)) => {
            return Ok(Err("does not say what it mirrors".into()));
        }
        Err(e) => return Err(e),
    };
    if let Some(difference) = differs(&found, format, wanted) {
        return Ok(Err(difference));
    }
    for table in &ddl.tables {
        if stored_sql(conn, "table", &table.name)?.as_ref() != Some(&table.create.sql) {
            return Ok(Err(format!("has another table `{}` than the pipeline asks for", table.name)));
        }
    }
    Ok(Ok(batch.and_then(|b| u64::try_from(b).ok())))
}

fn differs(found: &Identity, format: i64, wanted: &Identity) -> Option<String> {
    if format != FORMAT {
        Some(format!("has format {format}, this version of Millrace writes {FORMAT}"))
    } else if found.pipeline != wanted.pipeline {
        Some(format!("belongs to pipeline `{}`", found.pipeline))
    } else if found.fingerprint != wanted.fingerprint {
        Some("belongs to an earlier form of the pipeline".into())
    } else if found.root != wanted.root {
        Some("mirrors the tables of another root".into())
    } else {
        None
    }
}

fn stored_sql(conn: &Connection, kind: &str, name: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT sql FROM sqlite_master WHERE type = ? AND name = ?";
    conn.query_row(sql, (kind, name), |r| r.get(0)).optional().map(Option::flatten)
}

/// Indexes and views hold no data of their own: one that is missing or out of date is made anew in place.
fn mend(conn: &mut Connection, ddl: &Ddl) -> rusqlite::Result<()> {
    let indexes = ddl.tables.iter().flat_map(|t| &t.indexes).map(|o| ("index", o));
    let views = ddl.views.iter().map(|o| ("view", o));
    let mut stale: Vec<(&str, &Object)> = Vec::new();
    for (kind, object) in indexes.chain(views) {
        if stored_sql(conn, kind, &object.name)?.as_ref() != Some(&object.sql) {
            stale.push((kind, object));
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    fault::point("mirror.mending");
    for (kind, object) in stale {
        tx.execute(&format!("DROP {kind} IF EXISTS {}", quoted(&object.name)), [])?;
        tx.execute(&object.sql, [])?;
    }
    tx.commit()
}

// --------------------------------------------------------------------------------------- the files themselves

/// The write-ahead log's path, or (`-shm`) its index's.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Where the file really is: SQLite follows a link and keeps the log there.
pub fn resolved(path: &Path) -> PathBuf {
    match std::fs::symlink_metadata(path) {
        Ok(m) if m.is_symlink() => std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()),
        _ => path.to_path_buf(),
    }
}

/// Device and inode: whether the file at a path is still the one that was opened.
pub type FileIdentity = (u64, u64);

pub fn file_identity(path: &Path) -> Option<FileIdentity> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// A log without its database says nothing, and would be taken for the log of the one that is made next.
fn remove_orphaned_log(path: &Path) -> Result<()> {
    for suffix in ["-wal", "-shm"] {
        remove(&beside(path, suffix))?;
    }
    Ok(())
}

pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at("removing", path),
        _ => Ok(()),
    }
}

/// Moves the database with its log out of the way, to the first free `<name>.<label>-<n>`. The database goes
/// first: a kill in between leaves a log without a database, which the next start removes.
pub fn move_aside(path: &Path, label: &str, why: &str) -> Result<String> {
    let free = |n: &u32| std::fs::symlink_metadata(beside(path, &format!(".{label}-{n}"))).is_err();
    let n = (1..u32::MAX).find(free).unwrap_or(u32::MAX);
    let aside = beside(path, &format!(".{label}-{n}"));
    for suffix in ["", "-wal", "-shm"] {
        let from = beside(path, suffix);
        match std::fs::rename(&from, beside(&aside, suffix)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).at("moving aside", &from),
            _ => fault::point("mirror.part_aside"),
        }
    }
    Ok(format!(
        "the mirror {} {why}: kept as {}, a new one is made from the tables",
        path.display(),
        aside.display()
    ))
}
