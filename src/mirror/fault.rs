//! What SQLite's errors mean for the mirror: it is lost and can be made again, somebody holds it, or it is ours.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::Error;

/// Whatever may go wrong inside a transaction.
#[derive(Debug)]
pub enum Fault {
    Sql(rusqlite::Error),
    Ours(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(e: rusqlite::Error) -> Self {
        Fault::Sql(e)
    }
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        Fault::Ours(e)
    }
}

/// Primary result codes as `rusqlite` spells them; errors that never reached SQLite have none.
fn code(e: &rusqlite::Error) -> Option<ErrorCode> {
    match e {
        rusqlite::Error::SqliteFailure(inner, _) => Some(inner.code),
        rusqlite::Error::SqlInputError { error, .. } => Some(error.code),
        _ => None,
    }
}

/// The file is not what we wrote. All SQL that meets this is our own and was right for the tables we made, so
/// even "no such table" (`Unknown`) or a broken constraint says that somebody changed them.
pub fn damage(e: &rusqlite::Error) -> bool {
    const MOVED: i32 = rusqlite::ffi::SQLITE_READONLY_DBMOVED;
    if matches!(e, rusqlite::Error::SqliteFailure(inner, _) if inner.extended_code == MOVED) {
        return true;
    }
    matches!(
        code(e),
        Some(
            ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::Unknown
                | ErrorCode::SchemaChanged
                | ErrorCode::ConstraintViolation
        )
    )
}

/// Names an error of SQLite by what to do about it.
pub fn named(path: &Path, doing: &'static str, e: rusqlite::Error) -> Error {
    match code(&e) {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy(format!(
            "{} is locked by another program that is writing to it: finish its transaction or close it \
             (sqlite3, DB Browser, …); reading does not lock it",
            path.display()
        )),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(format!(
            "{} is damaged ({e}): delete it, the next `millrace run` makes it again from the tables",
            path.display()
        )),
        _ if damage(&e) => Error::Corrupt(format!(
            "{} is not as Millrace made it ({}): delete it, the next `millrace run` makes it again from the tables",
            path.display(),
            reason(&e)
        )),
        _ => Error::io(doing, path, cause(path, e)),
    }
}

/// "Input/output error".
const FAILED: i32 = 5;
/// "No space left on device".
const NO_ROOM: i32 = 28;

/// SQLite says what it could not do, hardly ever why: the system is asked again.
fn cause(path: &Path, e: rusqlite::Error) -> std::io::Error {
    let folder = path.parent().unwrap_or(Path::new("."));
    let is_full = || rustix::fs::statvfs(folder).is_ok_and(|s| s.f_bavail * s.f_bsize < 1 << 16);
    match code(&e) {
        Some(ErrorCode::SystemIoFailure) if !is_full() => std::io::Error::from_raw_os_error(FAILED),
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => std::io::Error::from_raw_os_error(NO_ROOM),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            let opened = std::fs::File::options().read(true).write(true).open(path).map(|_| ());
            let opened = match opened {
                // It was to be made.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            };
            let may = || Ok(rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)?);
            opened.and_then(|()| may()).err().unwrap_or_else(|| std::io::Error::other(e))
        }
        _ => std::io::Error::other(e),
    }
}

/// Text for a reason, without the library's name in it.
pub fn reason(e: &rusqlite::Error) -> String {
    match e {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}
