//! A mirror in the making, under a name of its own until it is worth looking at.
//!
//! Where there is no mirror yet nobody reads it, so what fills it need not go through a log, nor be synced before the
//! end: a kill leaves a file that the next start removes. (A file that somebody may have open is filled in its place:
//! SQLite finds a database's log by its name, and a reader would read the new log with the old pages.)

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::ddl::Ddl;
use super::fault::named;
use super::open::{self, Identity};
use super::{Files, Mirror, Outcome};
use crate::error::{Error, IoContext, Result};
use crate::fault;

/// However long the backlog: after so long there is something to look at.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Hidden {
    path: PathBuf,
    since: Instant,
}

impl Hidden {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where the mirror at `path` grows.
pub fn beside(path: &Path) -> PathBuf {
    open::beside(path, ".new")
}

/// Some process makes the mirror at `path`, or was killed while it did.
pub fn is_in_the_making(path: &Path) -> bool {
    beside(path).exists()
}

/// Nothing of a mirror lies at `path`, nor a log that could be taken for its.
pub fn may_grow(path: &Path) -> bool {
    let free = |suffix: &&str| {
        let found = std::fs::symlink_metadata(open::beside(path, suffix));
        found.is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
    };
    ["", "-journal", "-wal", "-shm"].iter().all(free)
}

/// Makes an empty one.
///
/// # Errors
/// `Io`, `Busy`: nothing can be written there.
pub fn make(path: &Path, ddl: &Ddl, identity: &Identity) -> Result<(Hidden, Connection)> {
    let hidden = beside(path);
    let made = open::unlogged(&hidden).and_then(|mut conn| {
        open::create(&mut conn, ddl, identity)?;
        Ok(conn)
    });
    let conn = made.map_err(|e| named(path, "making", e))?;
    fault::point("mirror.hidden");
    Ok((Hidden { path: hidden, since: Instant::now() }, conn))
}

/// What an earlier process left, or we did.
pub fn remove(path: &Path) -> Result<()> {
    let hidden = beside(path);
    ["", "-journal", "-wal", "-shm"]
        .iter()
        .try_for_each(|suffix| open::remove(&open::beside(&hidden, suffix)))
}

impl Mirror {
    /// It is in the making, and nobody sees it yet: [`Mirror::show`] ends that.
    pub fn is_hidden(&self) -> bool {
        self.hidden.is_some()
    }

    /// It has been in the making for so long that it should be shown, whatever comes yet.
    pub fn was_hidden_long(&self) -> bool {
        self.hidden.as_ref().is_some_and(|hidden| hidden.since.elapsed() >= LONGEST)
    }

    /// Gives a mirror in the making its name. What it holds is durable before that.
    ///
    /// # Errors
    /// `Io` and `Busy`, as [`Mirror::apply`]; it is in the making still.
    pub fn show(&mut self) -> Result<Outcome> {
        let Some(hidden) = self.hidden.as_ref().map(|hidden| hidden.path.clone()) else {
            return Ok(Outcome::Already);
        };
        if !self.present() {
            return Ok(self.lost("was deleted or replaced"));
        }
        let sql = |e| named(&self.path, "making", e);
        // A file that readers find must keep a log already: whoever is first would keep us from it.
        drop(self.conn.take());
        let shown = open::writer(&hidden, self.patience).map(drop).map_err(sql);
        let shown = shown.and_then(|()| publish(&hidden, &self.path));
        fault::point("mirror.shown");
        if matches!(shown, Ok(true)) {
            self.hidden = None;
        }
        // Should it not open, it is lost.
        self.files = Files::NONE;
        let path = self.at();
        let conn =
            if self.hidden.is_some() { open::unlogged(path) } else { open::writer(path, self.patience) };
        let conn = conn.map_err(sql)?;
        self.version = open::version(&conn).map_err(sql)?;
        self.conn = Some(conn);
        self.files = self.files_now();
        match shown? {
            true => Ok(Outcome::Done),
            false => Ok(self.lost("has another file in its place")),
        }
    }
}

/// False if there is a file of that name.
fn publish(hidden: &Path, path: &Path) -> Result<bool> {
    File::open(hidden).and_then(|file| file.sync_all()).at("syncing", hidden)?;
    fault::point("mirror.synced");
    if std::fs::symlink_metadata(path).is_err() {
        open::remove_orphaned_log(path)?;
    }
    match renameat_with(CWD, hidden, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        // A file system that cannot be asked that way.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            if std::fs::symlink_metadata(path).is_ok() {
                return Ok(false);
            }
            std::fs::rename(hidden, path).at("renaming", hidden)?;
        }
        Err(e) => return Err(Error::io("renaming", hidden, e.into())),
    }
    fault::point("mirror.renamed");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).at("syncing", folder)?;
    Ok(true)
}
