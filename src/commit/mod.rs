//! Commit: makes a staged batch visible, once, in every table.
//!
//! Decide, then publish. From the durable record on the batch will happen, whatever happens to this process:
//! [`publish`] is the same code after a decision and at the next start.

pub mod record;

use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::tables::{Disk, names, table};
use record::Record;

/// Where a root keeps its own files.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `tables/`
    pub tables: PathBuf,
    /// `tables/_millrace/`
    pub own: PathBuf,
    pub decision: PathBuf,
    /// Temporary files: the same file system, never inside a table.
    pub temp: PathBuf,
}

impl Paths {
    pub fn new(tables: PathBuf) -> Self {
        let own = tables.join(names::OWN);
        Paths { decision: own.join("decision"), temp: own.join("tmp"), own, tables }
    }
}

/// Writes the record: the point of no return.
///
/// # Errors
/// [`Error::Unknown`] when the record may or may not be durable.
pub fn decide(disk: &dyn Disk, paths: &Paths, record: &Record) -> Result<()> {
    record.write(disk, &paths.decision, &paths.temp.join("decision"))
}

/// Publishes every commit of a durable record that is not there yet, in the record's order.
///
/// # Errors
/// [`Error::Foreign`] when a log has another commit in that place; any I/O error is of unknown outcome.
pub fn publish(disk: &dyn Disk, paths: &Paths, record: &Record) -> Result<()> {
    for commit in &record.commits {
        let dir = paths.tables.join(&commit.table);
        let temp = paths.temp.join(format!("{}-{}", commit.table, commit.version));
        table::publish(disk, &dir, commit.version, &commit.bytes, &temp).map_err(unknown)?;
        fault::point("publish.synced");
    }
    Ok(())
}

fn unknown(e: Error) -> Error {
    match e {
        Error::Io { .. } => Error::Unknown(e.to_string()),
        other => other,
    }
}

/// Refuses to decide on top of a commit that is not ours.
///
/// A foreign writer that comes between this look and the publishing is found there.
pub fn still_ours(disk: &dyn Disk, table: &Path, version: u64) -> Result<()> {
    let next = names::log_dir(table).join(names::commit_file(version + 1));
    match disk.read(&next) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e).at("reading", &next),
        Ok(_) => Err(Error::Foreign(format!(
            "{}: somebody else wrote version {} of this table; stop whatever else writes to it, then run \
             `millrace repair`",
            table.display(),
            version + 1
        ))),
    }
}
