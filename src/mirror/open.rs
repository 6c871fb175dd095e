//! Opening the mirror's file: a sound one as it is, a missing one made, any other moved aside and made again.
//!
//! Nothing is ever deleted that could hold somebody's data: the mirror can be made again from the tables, but a
//! file at its path need not be ours.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};
use rustix::fs::OFlags;

use super::ddl::{Ddl, Object, STATE, quoted};
use super::fault::{damage, named, reason};
use crate::error::{Error, IoContext, Result};
use crate::fault;

/// Raised when what is stored here means something else than before; an older or newer file is then replaced.
pub const FORMAT: i64 = 2;

/// A database up to this size is checked from end to end when it is opened (about 0.1 s); a larger one is trusted
/// until SQLite meets the damage, because start must not cost what the tables hold.
pub const CHECK_UP_TO: u64 = 32 << 20;

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
    pub stored: Stored,
}

/// How far a mirror is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The batch it is level with; `None` = just made, never filled.
    pub batch: Option<u64>,
    /// See [`super::Mirror::follow`].
    pub history: Option<String>,
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
pub fn open(
    path: &Path,
    ddl: &Ddl,
    identity: &Identity,
    patience: Duration,
    notes: &mut Vec<String>,
) -> Result<Opened> {
    match connect(path, ddl, identity, patience) {
        Ok(opened) => return Ok(opened),
        Err(Refusal::Fatal(e)) => return Err(e),
        Err(Refusal::Aside { label, why }) => notes.push(move_aside(path, label, &why)?),
    }
    connect(path, ddl, identity, patience).map_err(|refusal| match refusal {
        Refusal::Fatal(e) => e,
        Refusal::Aside { why, .. } => {
            Error::Bug(format!("the mirror {} was just made and yet {why}", path.display()))
        }
    })
}

fn connect(path: &Path, ddl: &Ddl, identity: &Identity, patience: Duration) -> Result<Opened, Refusal> {
    for log in ["-wal", "-shm"] {
        // Nothing of SQLite's: with it in the way, the database can't be opened.
        if std::fs::symlink_metadata(beside(path, log)).is_ok_and(|m| !m.is_file()) {
            return Err(damaged(format!("`{log}` beside it is no file")));
        }
    }
    let size = match std::fs::metadata(path) {
        Ok(m) if !m.is_file() => return Err(other("is no file".into())),
        Ok(m) => m.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        Err(e) => return Err(Refusal::Fatal(Error::io("opening the mirror", path, e))),
    };
    if size == 0 {
        remove_orphaned_log(path).map_err(Refusal::Fatal)?;
    }
    same_rights(path);
    let sql = |e: rusqlite::Error| refusal(path, e);
    let mut conn = writer(path, patience).map_err(sql)?;
    let objects: i64 = conn.query_row("SELECT count(*) FROM sqlite_master", [], |r| r.get(0)).map_err(sql)?;
    if objects == 0 {
        create(&mut conn, ddl, identity).map_err(sql)?;
        fault::point("mirror.made");
        return Ok(Opened { conn, stored: Stored::default() });
    }
    if size <= CHECK_UP_TO {
        check(&conn).map_err(sql)?.map_or(Ok(()), |why| Err(damaged(why)))?;
    }
    let stored = recognise(&conn, ddl, identity).map_err(sql)?.map_err(other)?;
    mend(&mut conn, ddl).map_err(sql)?;
    Ok(Opened { conn, stored })
}

/// SQLite gives its log the rights of the database when it makes it. A database that could not be written to for a
/// while would leave a log that never can be.
fn same_rights(path: &Path) {
    let Ok(wanted) = std::fs::metadata(path).map(|m| m.permissions()) else { return };
    for log in ["-wal", "-shm"] {
        let log = beside(path, log);
        if std::fs::metadata(&log).is_ok_and(|m| m.permissions() != wanted) {
            // Somebody else's cannot be changed; SQLite says what that means.
            let _ = std::fs::set_permissions(&log, wanted.clone());
        }
    }
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

/// A connection that writes so that readers see whole batches and a power cut leaves one.
pub fn writer(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    let conn = connection(path, patience)?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 8_000, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))?;
    Ok(conn)
}

/// A connection to a file that nobody else has, and that is thrown away should the process die: no log, no syncs. What
/// one statement or transaction changed can still be taken back.
pub fn unlogged(path: &Path) -> rusqlite::Result<Connection> {
    let conn = connection(path, Duration::ZERO)?;
    conn.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_mode", "memory", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "off")?;
    Ok(conn)
}

/// Foreign keys are declared for the eye and for tools; enforcing them would make the order of tables within a batch
/// matter, and an event may well name an item that no event has described.
/// The cache (64 MiB at most, taken only when used) holds what one batch touches: with 16 MiB, pages of large
/// batches were written to the log several times, at half the speed.
fn connection(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(plain(path), flags)?;
    conn.busy_timeout(patience)?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "cache_size", -65_536)?;
    conn.set_prepared_statement_cache_capacity(256);
    Ok(conn)
}

/// SQLite takes a name that begins with `file:` for a URI; a path never does.
pub fn plain(path: &Path) -> PathBuf {
    if path.is_absolute() { path.to_path_buf() } else { Path::new(".").join(path) }
}

/// Changes whenever another connection has committed something; our own commits leave it as it is. (Another one's
/// checkpoint may change it too.)
pub fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA data_version", [], |r| r.get(0))
}

pub fn create(conn: &mut Connection, ddl: &Ddl, identity: &Identity) -> rusqlite::Result<()> {
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
        &format!("INSERT INTO {} VALUES (NULL, ?, ?, ?, ?, NULL)", quoted(STATE)),
        (&identity.root, FORMAT, &identity.pipeline, &identity.fingerprint),
    )?;
    tx.commit()
}

fn check(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let said: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    Ok((said != "ok").then_some(said))
}

/// How far it is, or in what it differs from the mirror that is wanted.
fn recognise(conn: &Connection, ddl: &Ddl, wanted: &Identity) -> rusqlite::Result<Result<Stored, String>> {
    if stored_sql(conn, "table", STATE)?.as_ref() != Some(&ddl.state.sql) {
        return Ok(Err("is not a mirror that this version of Millrace made".into()));
    }
    let sql =
        format!("SELECT batch_id, format, root_id, pipeline, fingerprint, history FROM {}", quoted(STATE));
    let row = conn.query_row(&sql, [], |r| {
        let identity = Identity { root: r.get(2)?, pipeline: r.get(3)?, fingerprint: r.get(4)? };
        let batch = r.get::<_, Option<i64>>(0)?.and_then(|b| u64::try_from(b).ok());
        Ok((Stored { batch, history: r.get(5)? }, r.get::<_, i64>(1)?, identity))
    });
    let (stored, format, found) = match row {
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
    if let Some((trigger, table)) = foreign_trigger(conn, ddl)? {
        return Ok(Err(format!("has a trigger `{trigger}` on `{table}` that Millrace did not make")));
    }
    Ok(Ok(stored))
}

/// We make no triggers: one that changes our tables while we do makes them other than what was written.
pub fn foreign_trigger(conn: &Connection, ddl: &Ddl) -> rusqlite::Result<Option<(String, String)>> {
    let mut all = conn.prepare("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let (trigger, table): (String, String) = (row.get(0)?, row.get(1)?);
        if ddl.tables.iter().any(|t| t.name.eq_ignore_ascii_case(&table)) {
            return Ok(Some((trigger, table)));
        }
    }
    Ok(None)
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

/// What SQLite has of a database beside each other: itself first.
pub const FILES: [&str; 4] = ["", "-journal", "-wal", "-shm"];

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

/// Keeps two runs off one file, should two roots have one `database/`: each would take the other's mirror for a
/// stranger's and move it aside, again and again. A file of its own beside the database, because closing any
/// descriptor of the database itself would end SQLite's locks on it.
#[derive(Debug)]
pub struct Reserved(File);

/// For copies of the descriptor too, which a child has until its `exec`.
impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// How long a killed process's reservation is waited for.
const RESERVATION: Duration = Duration::from_millis(400);

pub fn reservation(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

/// # Errors
/// `Busy` while another run has it; `Io`.
pub fn reserve(path: &Path, patience: Duration) -> Result<Reserved> {
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).at("making the folder", folder)?;
    }
    let (lock, asked) = (reservation(path), Instant::now());
    // Not waited for, should it be a pipe.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().write(true).create(true).truncate(false).custom_flags(flags).open(&lock);
    let file = file.at("opening", &lock)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Reserved(file)),
            Err(TryLockError::WouldBlock) if asked.elapsed() < patience.min(RESERVATION) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy(format!(
                    "{} is the mirror of another root, whose `millrace run` is running: give each root a `database` \
                     of its own",
                    path.display()
                )));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("locking", &lock, e)),
        }
    }
}

/// A log without its database says nothing, and would be taken for the log of the one that is made next.
pub fn remove_orphaned_log(path: &Path) -> Result<()> {
    for suffix in &FILES[1..] {
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
