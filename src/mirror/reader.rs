//! A connection that can only read, beside a running writer or on a read-only disk.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::fault::named;
use super::hidden;
use super::open::{beside, plain, resolved};
use crate::error::{Error, Result};

/// Opens the mirror for reading.
///
/// # Errors
/// `Config` if there is none, `Busy` while somebody holds all of it, `Corrupt` if it is no database, `Io`.
pub fn open(path: &Path) -> Result<Connection> {
    if !std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0) {
        if hidden::is_in_the_making(path) {
            return Err(Error::Config(format!(
                "the mirror {} is being made: it is there once the first files are in, or with the first batch \
                 after ten seconds; if nothing runs, `millrace run --once` makes it",
                path.display()
            )));
        }
        return Err(Error::Config(format!(
            "there is no mirror at {}: `millrace run --once` makes it (without --no-mirror, and unless the \
             pipeline says `sqlite = false`)",
            path.display()
        )));
    }
    let conn = match shared(path) {
        Err(e) if unwritable(&e) && unlogged(path) => immutable(path),
        other => other,
    };
    conn.map_err(|e| named(path, "reading the mirror", e))
}

fn shared(path: &Path) -> rusqlite::Result<Connection> {
    ready(Connection::open_with_flags(plain(path), OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}

/// Reading in WAL mode needs to write the log's index. Where that cannot be (a read-only disk) and there is no
/// log, nobody can be writing either, so the file may be read as one that never changes.
fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    ready(Connection::open_with_flags(uri(path), flags)?)
}

fn ready(conn: Connection) -> rusqlite::Result<Connection> {
    conn.busy_timeout(Duration::from_secs(2))?;
    conn.pragma_update(None, "query_only", true)?;
    conn.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    Ok(conn)
}

fn unwritable(e: &rusqlite::Error) -> bool {
    matches!(e.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn unlogged(path: &Path) -> bool {
    std::fs::metadata(beside(&resolved(path), "-wal")).map_or(true, |m| m.len() == 0)
}

fn uri(path: &Path) -> String {
    let mut out = String::from("file:");
    for &b in plain(path).as_os_str().as_bytes() {
        match b {
            b'/' | b'.' | b'_' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_change_is_read_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("odd ?#%é name.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (7)")
            .unwrap();
        let conn = immutable(&path).unwrap();
        assert_eq!(conn.query_row("SELECT a FROM t", [], |r| r.get::<_, i64>(0)).unwrap(), 7);
        assert!(conn.execute("INSERT INTO t VALUES (8)", []).is_err());
    }

    #[test]
    fn what_is_not_a_mirror_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.db");
        assert!(matches!(open(&path), Err(Error::Config(text)) if text.contains("there is no mirror at")));
        assert!(!path.exists());
        std::fs::write(&path, "no database, but long enough to look like one".repeat(100)).unwrap();
        assert!(matches!(open(&path), Err(Error::Corrupt(_))));
    }
}
