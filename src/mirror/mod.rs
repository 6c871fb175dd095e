//! Mirror: brings a database for looking at to the committed batch. Knows nothing of events or Delta.
//!
//! The mirror is a copy: whatever happens to it, it is made again from the tables. So it never decides anything,
//! and its worst case is the cost of a rebuild. Every change is one SQLite transaction that carries the batch id,
//! so a reader never sees part of a batch and a kill never leaves one.
//!
//! A rebuild, too, is one transaction in the same file rather than a new file renamed over the old one: SQLite
//! finds the log of a database by its name, so a reader that opened the old file but not yet its log would read
//! the new log with the old pages. The price is a log as large as the database, once, until the commit. Where there is
//! no file yet there is no such reader: see [`hidden`].

mod bind;
pub mod ddl;
mod fault;
mod hidden;
mod indexes;
pub mod inspect;
mod open;
pub mod query;
mod reader;
mod render;
mod rows;
mod text;
mod write;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hidden_tests;
#[cfg(test)]
mod orders_tests;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::RecordBatch;
use rusqlite::Connection;

pub use bind::{Column, canonical};
pub use ddl::{Ddl, SystemTable};
pub use hidden::is_in_the_making;

use crate::batch::KeyPart;
use crate::error::{Error, Result};
use crate::pipeline::model::Pipeline;
use open::{FileIdentity, Identity, Opened, Stored};

/// The mirror, open for writing. One at a time: the caller holds the root's lock.
pub struct Mirror {
    path: PathBuf,
    ddl: Ddl,
    identity: Identity,
    /// `None` only while it is being replaced.
    conn: Option<Connection>,
    /// The files as they were after the last transaction, to notice that somebody took them away.
    files: Files,
    damaged: bool,
    /// Stored with the next batch.
    history: Option<String>,
    /// What SQLite said of other connections' commits at our last look.
    version: i64,
    /// Another connection committed something since it was last filled or opened.
    touched: bool,
    /// How long another writer is waited for.
    patience: Duration,
    /// Held while it is open; see [`open::reserve`].
    reserved: Option<open::Reserved>,
    most_log: u64,
    /// In the making, under another name than [`Mirror::path`].
    hidden: Option<hidden::Hidden>,
    /// See [`Mirror::expect_many`].
    many_come: bool,
    lacks_indexes: bool,
    cutting: write::Cutting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Files {
    database: Option<FileIdentity>,
    log: Option<FileIdentity>,
}

impl Files {
    const NONE: Files = Files { database: None, log: None };
}

/// How far the mirror is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It holds exactly the tables as of this batch.
    Level(u64),
    /// Just made: it has to be filled by [`Mirror::rebuild`] before a batch is applied.
    Fresh,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    Done,
    /// The mirror is at this batch or a later one: nothing was changed.
    Already,
    /// The file was deleted, replaced or damaged under us: call [`Mirror::restore`], then bring it level.
    Lost(String),
}

/// Names a table of the pipeline by its index or one of the engine's by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableRef<'a> {
    Pipeline(usize),
    System(&'a str),
}

/// What a batch changes in one table.
#[derive(Debug)]
pub struct Change {
    pub table: TableRef<'static>,
    /// All columns of the table, found by name, the `_` columns among them.
    pub rows: Option<RecordBatch>,
    pub replaces: Replaces,
    /// Owners that have no rows any more, by the values of the owner's columns.
    pub emptied: Vec<Vec<KeyPart>>,
}

/// What has to go for new rows.
#[derive(Debug)]
pub enum Replaces {
    /// The row with the same key, if there is one.
    Key,
    /// All rows of some owners, each named by one of its new rows. The other owners have none.
    Owners(Vec<u32>),
}

/// Which of a table's rows the new ones stand for.
pub enum Changed<'a> {
    /// Rows whose owner's hash (see [`crate::key::OwnerHash`]; over the owner's columns) says yes.
    Owners(&'a dyn Fn(u128) -> bool),
    /// Every row.
    All,
}

/// One table's part of catching up.
pub struct CatchUp<'a> {
    pub table: TableRef<'a>,
    pub changed: Changed<'a>,
    pub rows: Box<dyn Iterator<Item = Result<RecordBatch>> + 'a>,
}

impl Mirror {
    /// Opens the mirror, or makes it, hidden at first (see [`Mirror::show`]). A file that is damaged, or mirrors another
    /// root or pipeline, is moved aside to `<name>.damaged-<n>` or `<name>.old-<n>`; the notes say so.
    ///
    /// # Errors
    /// `Config` if a view of the pipeline does not work; `Busy` if another program writes to the file; `Io`.
    pub fn open(
        path: &Path,
        pipeline: &Pipeline,
        system: &[SystemTable],
        root_id: u128,
    ) -> Result<(Mirror, State, Vec<String>)> {
        let mut mirror = Mirror::closed(path, pipeline, system, root_id)?;
        let (state, notes) = mirror.restore()?;
        Ok((mirror, state, notes))
    }

    /// The mirror, untouched as yet: [`Mirror::restore`] opens it.
    ///
    /// # Errors
    /// `Config` if a view of the pipeline does not work.
    pub fn closed(path: &Path, pipeline: &Pipeline, system: &[SystemTable], root_id: u128) -> Result<Mirror> {
        let ddl = Ddl::of(pipeline, system);
        ddl.check_views()?;
        let identity = Identity {
            root: format!("{root_id:032x}"),
            pipeline: pipeline.name.clone(),
            fingerprint: format!("{:032x}", pipeline.fingerprint),
        };
        Ok(Mirror {
            path: open::resolved(path),
            ddl,
            identity,
            conn: None,
            files: Files::NONE,
            damaged: false,
            history: None,
            version: 0,
            touched: false,
            patience: open::PATIENCE,
            reserved: None,
            most_log: write::MOST_LOG_BYTES,
            hidden: None,
            many_come: false,
            lacks_indexes: false,
            cutting: write::Cutting::default(),
        })
    }

    /// After [`Outcome::Lost`], or at first: leaves the old file, which is moved aside if it was damaged, and opens
    /// what is at the path now or makes it, hidden at first.
    ///
    /// # Errors
    /// As [`Mirror::open`].
    pub fn restore(&mut self) -> Result<(State, Vec<String>)> {
        // Our log belongs to the old database, not to one that was put in its place. (Closing leaves it alone
        // once the database has moved; a sound one has none left when it is closed.)
        drop(self.conn.take());
        let mut notes = Vec::new();
        if self.hidden.take().is_some() {
            // Of it there is nothing to keep.
            self.files = Files::NONE;
            self.damaged = false;
            return self.reopen();
        }
        let log = open::beside(&self.path, "-wal");
        if open::file_identity(&self.path) == self.files.database {
            if self.damaged {
                notes.push(open::move_aside(&self.path, "damaged", "is damaged")?);
            }
        } else if self.files.log.is_some() && open::file_identity(&log) == self.files.log {
            open::remove(&log)?;
            open::remove(&open::beside(&self.path, "-shm"))?;
        }
        let (state, more) = self.reopen()?;
        notes.extend(more);
        Ok((state, notes))
    }

    fn reopen(&mut self) -> Result<(State, Vec<String>)> {
        let mut notes = Vec::new();
        if self.reserved.is_none() || !open::reservation(&self.path).exists() {
            self.reserved = Some(open::reserve(&self.path, self.patience)?);
        }
        // What cannot be removed stands in nobody's way where there is a mirror already.
        let cleared = hidden::remove(&self.path).is_ok();
        let Opened { conn, stored } = if cleared && hidden::may_grow(&self.path) {
            let (hidden, conn) = hidden::make(&self.path, &self.ddl, &self.identity)?;
            self.hidden = Some(hidden);
            Opened { conn, stored: Stored::default() }
        } else {
            open::open(&self.path, &self.ddl, &self.identity, self.patience, &mut notes)?
        };
        self.version = open::version(&conn).map_err(|e| fault::named(&self.path, "reading the mirror", e))?;
        self.conn = Some(conn);
        self.damaged = false;
        self.touched = false;
        self.lacks_indexes = false;
        self.files = self.files_now();
        self.history = stored.history;
        Ok((stored.batch.map_or(State::Fresh, State::Level), notes))
    }

    /// What names the tables' history up to the next batch: stored with it, and found again when the file is opened. A
    /// batch number alone does not tell whether the tables went another way since.
    pub fn follow(&mut self, history: String) {
        self.history = Some(history);
    }

    /// The history that the mirror was opened with, or told to follow since.
    pub fn history(&self) -> Option<&str> {
        self.history.as_deref()
    }

    /// Whether the files are still the ones that were opened; cheap enough to ask while idle.
    pub fn present(&self) -> bool {
        let alone = || self.hidden.is_none() || std::fs::symlink_metadata(&self.path).is_err();
        // What was gone by the time that it was opened is not there because it is still gone.
        let known = self.conn.is_some() && self.files.database.is_some();
        known && self.files_now() == self.files && alone()
    }

    /// Whether another program changed the file since it was last filled or opened: its rows need not be ours any
    /// more. Cheap enough to ask while idle.
    pub fn is_touched(&mut self) -> bool {
        if let Some(version) = self.conn.as_ref().and_then(|conn| open::version(conn).ok()) {
            self.touched |= version != self.version;
            self.version = version;
        }
        self.touched
    }

    /// How long another writer is waited for from now on.
    pub fn wait_for_others(&mut self, patience: Duration) {
        self.patience = patience;
        if let Some(conn) = &self.conn {
            // It only fails for a connection that is being used.
            let _ = conn.busy_timeout(patience);
        }
    }

    /// How many rows a table has, if the file is so small that counting them costs nothing to speak of.
    ///
    /// # Errors
    /// As [`inspect::Inspector::count`].
    pub fn count_if_small(&self, table: TableRef<'_>) -> Result<Option<u64>> {
        let size = std::fs::metadata(self.at()).map_or(u64::MAX, |m| m.len());
        if size > open::CHECK_UP_TO {
            return Ok(None);
        }
        inspect::count(self.connection()?, self.ddl.find(table)?, &self.path).map(Some)
    }

    /// Size of the write-ahead log in bytes. It only grows far past 64 MiB while a reader stays in one transaction
    /// for longer than five seconds.
    pub fn log_bytes(&self) -> u64 {
        std::fs::metadata(open::beside(self.at(), "-wal")).map_or(0, |m| m.len())
    }

    fn files_now(&self) -> Files {
        Files {
            database: open::file_identity(self.at()),
            log: open::file_identity(&open::beside(self.at(), "-wal")),
        }
    }

    /// Rows that refer to nothing, per reference; see [`inspect::Inspector::orphans`].
    ///
    /// # Errors
    /// As [`inspect::Inspector::orphans`].
    pub fn orphans(&self) -> Result<Vec<inspect::Orphans>> {
        inspect::orphans(self.connection()?, &self.ddl, &self.path)
    }

    /// Where it is now.
    fn at(&self) -> &Path {
        self.hidden.as_ref().map_or(&self.path, hidden::Hidden::path)
    }

    fn connection(&self) -> Result<&Connection> {
        self.conn.as_ref().ok_or_else(|| Error::Bug("the mirror is used after it failed to open".into()))
    }
}
