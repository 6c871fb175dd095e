//! Errors, named by what to do about them rather than by the library they came from.
//!
//! Bad *input* is not here: it is data (see [`crate::batch::Bad`]) and ends in quarantine.

use std::path::{Path, PathBuf};

use crate::text::shown;

/// How a text about damage ends.
const REPAIR: &str = "; run `millrace repair`";

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline file or the command line is wrong: the user mends it. Exit code 2.
    #[error("{0}")]
    Config(String),
    /// Somebody else holds what we need: wait, or stop them. Exit code 1.
    #[error("{0}")]
    Busy(String),
    /// A file or folder could not be used. `doing` says what was tried ("reading", "syncing").
    #[error("{doing} {}: {source}", shown(&.path.to_string_lossy()))]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The system refused something that no path names.
    #[error("{doing}: {source}")]
    System {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    /// What is on disk is not what was written: stop. The text says what to do.
    #[error("{0}")]
    Corrupt(String),
    /// Someone else changed our tables: stop. The text says what to do.
    #[error("{0}")]
    Foreign(String),
    /// A durable step failed half way, so nobody knows whether it happened: stop and start again, which looks.
    #[error(
        "{0}; whether it took effect is unknown, so millrace stops here. Start it again: it will look and go on"
    )]
    Unknown(String),
    /// A defect in Millrace.
    #[error("bug: {0}")]
    Bug(String),
}

impl Error {
    pub fn io(doing: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Error::Io { doing, path: path.as_ref().to_path_buf(), source }
    }

    /// What to do where the message alone does not say it.
    pub fn advice(&self) -> Option<&'static str> {
        use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let (Error::Io { source, .. } | Error::System { source, .. }) = self else { return None };
        match (source.kind(), source.raw_os_error()) {
            (StorageFull | QuotaExceeded, _) => {
                Some("make room, then start again: it goes on where it stopped")
            }
            (PermissionDenied, _) => Some("allow it to the user who runs millrace, then start again"),
            (ReadOnlyFilesystem, _) => {
                Some("make it writable, then start again: it goes on where it stopped")
            }
            (_, Some(CROWDED | CROWDED_SYSTEM)) => {
                Some("allow more open files (`ulimit -n`), then start again")
            }
            (_, Some(TRY_AGAIN)) => {
                Some("allow more threads (`ulimit -u`, or what limits the container), then start again")
            }
            (_, Some(FAILED)) => Some("the system's log says more; once the disk is well, start again"),
            _ => None,
        }
    }

    /// Several errors as one that names them all. What is neither damage nor somebody else's doing goes first, alone:
    /// the rest may come of it.
    pub fn all(errors: Vec<Error>) -> Option<Error> {
        let mut foreign = false;
        let mut texts = Vec::new();
        for error in errors {
            match error {
                Error::Corrupt(text) => texts.push(text),
                Error::Foreign(text) => {
                    foreign = true;
                    texts.push(text);
                }
                other => return Some(other),
            }
        }
        let last = texts.pop()?;
        let mut lines: Vec<&str> = texts.iter().map(|t| t.strip_suffix(REPAIR).unwrap_or(t)).collect();
        lines.push(&last);
        let text = lines.join("\n");
        Some(if foreign { Error::Foreign(text) } else { Error::Corrupt(text) })
    }

    /// A text about damage without the advice to run `repair`: for `repair` itself.
    pub fn without_advice(text: &str) -> String {
        text.replace(REPAIR, "").replace(", then run `millrace repair`", "")
    }

    /// The process exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Config(_) => 2,
            _ => 1,
        }
    }
}

const NOT_ALLOWED: i32 = 1;
const FAILED: i32 = 5;
const TRY_AGAIN: i32 = 11;
const NO_MEMORY: i32 = 12;
const NO_RIGHT: i32 = 13;
const CROWDED_SYSTEM: i32 = 23;
const CROWDED: i32 = 24;
const NO_ROOM: i32 = 28;
const READ_ONLY: i32 = 30;
const OVER_QUOTA: i32 = 122;

/// What the system refused, if that is what lies behind a library's error: then nothing is known about the data, and
/// it must not be called damaged. Libraries wrap the system's errors each in its own way, some as text only; the
/// number survives in all of them.
pub fn refused(e: &dyn std::fmt::Display) -> Option<std::io::Error> {
    let text = e.to_string();
    let number = text.rsplit_once("(os error ")?.1.split_once(')')?.0.parse().ok()?;
    let by_the_place = matches!(
        number,
        NOT_ALLOWED
            | TRY_AGAIN
            | NO_MEMORY
            | NO_RIGHT
            | CROWDED_SYSTEM
            | CROWDED
            | NO_ROOM
            | READ_ONLY
            | OVER_QUOTA
    );
    by_the_place.then(|| std::io::Error::from_raw_os_error(number))
}

/// Whether something of that name is there. What cannot be looked at is not taken for missing.
pub fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().at("looking at", path)
}

/// Adds the path and the verb to a bare I/O error.
pub trait IoContext<T> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| Error::io(doing, path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refused_is_not_damage() {
        let crowded = std::io::Error::from_raw_os_error(CROWDED);
        let wrapped = format!("cannot read: {}", std::io::Error::other(crowded));
        assert_eq!(refused(&wrapped).unwrap().raw_os_error(), Some(CROWDED));
        for data in ["bad magic", "cannot read: Input/output error (os error 5)", "(os error x)"] {
            assert!(refused(&data).is_none(), "{data}");
        }
    }
}
