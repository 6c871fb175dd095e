//! Errors, named by what to do about them rather than by the library they came from.
//!
//! Bad *input* is not here: it is data (see [`crate::batch::Bad`]) and ends in quarantine.

use std::path::{Path, PathBuf};

use crate::text::shown;

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

    /// The process exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Config(_) => 2,
            _ => 1,
        }
    }
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
