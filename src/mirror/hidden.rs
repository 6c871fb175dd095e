//! A mirror in the making, under a name of its own until it is worth looking at.
//!
//! Where there is no mirror yet nobody reads it, so what fills it need not go through a log, nor be synced before the
//! end: a kill leaves a file that the next start removes. (A file that somebody may have open is filled in its place:
//! SQLite finds a database's log by its name, and a reader would read the new log with the old pages.)

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};
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

pub const GONE: &str = "in the making was deleted, or another file has its place";

/// See [`Mirror::begin_sync`].
pub(super) type Syncing = JoinHandle<std::io::Result<()>>;

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
    open::beside(path, ".in-the-making")
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
    open::FILES.iter().all(free)
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
    open::FILES.iter().try_for_each(|suffix| open::remove(&open::beside(&hidden, suffix)))
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

    /// What was written unsynced begins to reach the disk, beside whatever comes next. (SQLite's locks on the file end with
    /// any descriptor of it that we close; what keeps others away is the one beside it, see [`open::reserve`]. So this must
    /// have ended before the file is shown.)
    pub(super) fn begin_sync(&self) -> Option<Syncing> {
        let path = self.hidden.as_ref()?.path.clone();
        let sync = move || File::open(path).and_then(|file| file.sync_data());
        Builder::new().name("mirror sync".into()).spawn(sync).ok()
    }

    /// Waits for it. The system tells of pages that it could not write once, so nobody may believe the file after that.
    pub(super) fn end_sync(&mut self, syncing: Option<Syncing>) -> Option<Outcome> {
        let why = match syncing?.join() {
            Ok(Ok(())) => return None,
            Ok(Err(e)) => e.to_string(),
            Err(_) => "the thread died".into(),
        };
        Some(self.lost(&format!("cannot be made durable ({why})")))
    }

    /// Gives a mirror in the making its name. What it holds is durable before that; where that fails, nobody knows what
    /// of it reached the disk, and it is lost.
    ///
    /// # Errors
    /// `Busy` if it cannot be had just now: it is in the making still. `Io` if it has its name, but not for certain.
    pub fn show(&mut self) -> Result<Outcome> {
        let Some(hidden) = self.hidden.as_ref().map(|hidden| hidden.path.clone()) else {
            return Ok(Outcome::Already);
        };
        if !self.present() {
            return Ok(self.lost(GONE));
        }
        let before = self.files.database;
        // A file that readers find must keep a log already: whoever is first would keep us from it.
        drop(self.conn.take());
        let logged =
            open::writer(&hidden, self.patience).map(drop).map_err(|e| named(&self.path, "making", e));
        let shown = match logged {
            Ok(()) if open::file_identity(&hidden) != before => {
                return Ok(self.lost(GONE));
            }
            Ok(()) => publish(&hidden, &self.path),
            Err(e) => Err(e),
        };
        match shown {
            Ok(true) => self.hidden = None,
            Ok(false) => return Ok(self.lost(GONE)),
            Err(Error::Busy(_)) => {}
            Err(e) => return Ok(self.lost(&format!("cannot be made durable ({e})"))),
        }
        fault::point("mirror.shown");
        let path = self.at();
        let conn =
            if self.hidden.is_some() { open::unlogged(path) } else { open::writer(path, self.patience) };
        // Without a connection it is not present, and opened again.
        let conn = conn.map_err(|e| named(path, "opening", e))?;
        self.version = open::version(&conn).map_err(|e| named(path, "opening", e))?;
        self.conn = Some(conn);
        // The very file that got the name, should its folder or another file have come and gone meanwhile.
        self.files = Files { database: before, ..self.files_now() };
        shown?;
        sync_folder(&self.path)?;
        Ok(Outcome::Done)
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
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match std::fs::hard_link(hidden, path) {
            Ok(()) => open::remove(hidden)?,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
            Err(e) => return Err(e).at("naming", path),
        },
        Err(e) => return Err(Error::io("renaming", hidden, e.into())),
    }
    fault::point("mirror.renamed");
    Ok(true)
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).at("syncing", folder)
}
