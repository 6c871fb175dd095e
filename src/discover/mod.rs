//! Discover: which complete files are new. Knows nothing of JSON or tables.
//!
//! Listing is the truth; the watcher only wakes it and says where to look first.

mod held;
mod name;
mod open;
mod pass;
mod ready;
mod take;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch::Receiver;
use xxhash_rust::xxh3::Xxh3;

pub use name::{display_name, is_event_name, raw_path};
pub use open::still_same;

use crate::batch::{Fingerprint, Input, Resume, Unread};
use crate::clock::Clock;
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::ledger::{Seen, file_key};
use pass::Pass;
use ready::{Looks, Retries};
use watch::{Hints, Watch};

/// Full listings are at least this far apart, and take at most a twentieth of the time.
const REST_NS: u64 = 2_000_000_000;
const REST_TIMES: u64 = 20;
/// Unless events were lost: then a fifth of the time.
const HURRY_TIMES: u64 = 4;

/// The moment, by both clocks: the wall clock is only compared with the file system's times.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Nanoseconds since the epoch.
    pub wall_ns: i64,
    /// Nanoseconds since some moment that stays the same while the process runs.
    pub mono_ns: u64,
}

impl Now {
    pub fn read(clock: &dyn Clock, started: Instant) -> Self {
        let mono_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { wall_ns: clock.now_micros().saturating_mul(1000), mono_ns }
    }
}

/// A complete file that is to be read.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// As in [`Input::name`].
    pub name: Arc<str>,
    /// When it was listed.
    pub fingerprint: Fingerprint,
    pub resume: Resume,
    pub changed: bool,
    /// A symlink to a regular file of the folder.
    pub(crate) link: bool,
}

/// A file that is not complete yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub name: Arc<str>,
    pub why: &'static str,
}

/// What a look at the folder found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The whole folder: replaces what was ready before. Else only what events named: adds to it.
    pub full: bool,
    /// By name. Nothing that is in hand.
    pub ready: VecDeque<Candidate>,
    pub waiting: Vec<Waiting>,
    /// Every file and folder that could not be read so far. Those whose time to be tried again has come are in
    /// `ready` as well.
    pub unread: Vec<Unread>,
    /// Those of `unread` that neither an earlier listing nor `take` told, nor the caller by `put_off`.
    pub news: Vec<Unread>,
    /// Folders named like an event file, each told once: what is in them is read.
    pub folders: Vec<Arc<str>>,
    /// Of `ready`, how many the ledger knew with other content.
    pub changed: u64,
    /// Event files met, whatever their state, and how many of them the ledger has whole.
    pub files_total: u64,
    pub done: u64,
    /// Of `done`, those that were only met by name: they may have changed.
    pub by_name: u64,
}

impl Listing {
    /// By name; what an event and its folder's event both named is there once.
    fn tidy(&mut self) {
        self.ready.make_contiguous().sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.waiting.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.waiting.dedup();
        self.unread.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.unread.dedup();
    }
}

/// A batch, cut from what is ready.
#[derive(Debug, Default)]
pub struct Taken {
    pub inputs: Vec<Input>,
    /// Could not be opened: tried again later.
    pub unread: Vec<Unread>,
    /// Changed since they were listed: looked at again.
    pub waiting: Vec<Waiting>,
}

/// The source folder, with everything below it.
#[derive(Debug)]
pub struct Folder {
    /// Without symlinks.
    root: PathBuf,
    /// It was missing.
    made: bool,
    /// Folders that are never read, relative to the root.
    ignored: Vec<String>,
    settle_ns: u64,
    open_files: usize,
    watch: Watch,
    looks: Looks,
    retries: Retries,
    /// Handed out by `take`, not yet released.
    taken: HashMap<u128, Fingerprint>,
    /// Made ready by events since the last full listing: events repeat themselves.
    offered: HashMap<u128, Fingerprint>,
    /// Names to look at again soon.
    waiting: Vec<Arc<str>>,
    /// What was told as unread.
    told: HashSet<u128>,
    told_folders: HashSet<u128>,
    /// Counts full listings.
    listing: u64,
    last_look_ns: u64,
    next_full_ns: u64,
    hurried_full_ns: u64,
}

impl Folder {
    /// The folder `root`, made if it is missing. `ignore` are folders that must never be read, should they lie
    /// inside: absolute, or relative to the working directory as `root` is.
    ///
    /// # Errors
    /// `Config` if `root` is no folder or lies in one of `ignore`; `Io` if it cannot be made or looked at.
    pub fn open(root: &Path, settle_ms: u64, ignore: &[PathBuf]) -> Result<Folder> {
        let (root, made) = real_folder(root)?;
        let mut ignored = Vec::new();
        for folder in ignore {
            let folder = resolve(folder).at("looking at", folder)?;
            if root.starts_with(&folder) {
                return Err(Error::Config(format!(
                    "the source folder {} lies in {}, which Millrace keeps for itself; choose another",
                    root.display(),
                    folder.display()
                )));
            }
            ignored.extend(folder.strip_prefix(&root).map(|f| display_name(f.as_os_str())));
        }
        Ok(Folder {
            watch: Watch::new(&root, &ignored),
            root,
            made,
            ignored,
            settle_ns: settle_ms.saturating_mul(1_000_000),
            open_files: open::budget(),
            looks: Looks::default(),
            retries: Retries::default(),
            taken: HashMap::new(),
            offered: HashMap::new(),
            waiting: Vec::new(),
            told: HashSet::new(),
            told_folders: HashSet::new(),
            listing: 0,
            last_look_ns: 0,
            next_full_ns: 0,
            hurried_full_ns: 0,
        })
    }

    /// The folder was not there before: perhaps its name was mistyped.
    pub fn was_made(&self) -> bool {
        self.made
    }

    /// Starts watching; call before the first listing. The receiver's value changes when it is worth looking
    /// sooner than [`Folder::wait`] says. If watching fails it says so in the log and never changes.
    pub fn watch(&mut self) -> Receiver<u64> {
        self.watch.start();
        self.watch.receiver()
    }

    /// How long nothing has to be looked at, unless the watcher wakes.
    pub fn wait(&self, now: Now) -> Duration {
        let full = if self.watch.wants_rescan() { self.hurried_full_ns } else { self.next_full_ns };
        let again = self.last_look_ns.saturating_add(Looks::gap(self.settle_ns));
        let soon = !self.waiting.is_empty() || self.watch.heard_of_new_files();
        let next = if soon { full.min(again) } else { full };
        Duration::from_nanos(next.saturating_sub(now.mono_ns))
    }

    /// Looks at the whole folder if that is due, else at what events named and what was waiting.
    pub fn look(&mut self, seen: &dyn Seen, now: Now) -> Listing {
        let full = if self.watch.wants_rescan() { self.hurried_full_ns } else { self.next_full_ns };
        if now.mono_ns >= full { self.list(seen, now) } else { self.glance(seen, now) }
    }

    /// Lists the whole folder.
    pub fn list(&mut self, seen: &dyn Seen, now: Now) -> Listing {
        let hints = self.watch.take_hints();
        self.full(seen, now, hints, false)
    }

    /// Lists the whole folder, but where the ledger has a file whole, its name is enough: asking the disk about every
    /// file takes far longer than reading names. What is new is found; if anything is counted in
    /// [`Listing::by_name`], a [`Folder::list`] is owed.
    pub fn list_names(&mut self, seen: &dyn Seen, now: Now) -> Listing {
        // What was heard stays for the listing that looks at every file.
        self.full(seen, now, Hints::default(), true)
    }

    fn full(&mut self, seen: &dyn Seen, now: Now, hints: Hints, by_name: bool) -> Listing {
        let started = Instant::now();
        self.listing += 1;
        self.offered.clear();
        let listing = self.pass(seen, now, hints, true, |pass| pass.whole(by_name));
        fault::point("discover.listed");
        let listed = self.listing;
        self.looks.prune(listed);
        self.retries.prune(listed);
        self.watch.prune(listed);
        self.told.clear();
        self.told.extend(listing.unread.iter().map(unread_key));
        self.plan_next(now, u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        listing
    }

    fn glance(&mut self, seen: &dyn Seen, now: Now) -> Listing {
        let hints = self.watch.take_hints();
        let listing = self.pass(seen, now, hints, false, |pass| pass.hinted());
        self.told.extend(listing.unread.iter().map(unread_key));
        listing
    }

    fn pass(
        &mut self,
        seen: &dyn Seen,
        now: Now,
        mut hints: Hints,
        full: bool,
        look: impl FnOnce(&mut Pass<'_>),
    ) -> Listing {
        let rescan = std::mem::take(&mut hints.rescan) && !full;
        let listing = Listing { full, ..Listing::default() };
        let mut pass = Pass { folder: self, seen, now, hints, by_name: None, listing };
        look(&mut pass);
        let mut listing = pass.listing;
        if rescan {
            self.watch.ask_rescan();
        }
        listing.tidy();
        listing.news =
            listing.unread.iter().filter(|u| !self.told.contains(&unread_key(u))).cloned().collect();
        listing.folders.retain(|name| self.told_folders.insert(file_key(name)));
        self.waiting = take::names(&listing.waiting);
        self.last_look_ns = now.mono_ns;
        listing
    }

    fn plan_next(&mut self, now: Now, took_ns: u64) {
        let end = now.mono_ns.saturating_add(took_ns);
        self.next_full_ns = end.saturating_add(took_ns.saturating_mul(REST_TIMES).max(REST_NS));
        let gap = Looks::gap(self.settle_ns);
        self.hurried_full_ns = end.saturating_add(took_ns.saturating_mul(HURRY_TIMES).max(gap));
    }

    /// Told already, in this form: by `take`, or by the caller.
    fn was_told(&mut self, unread: &Unread) {
        self.told.insert(unread_key(unread));
    }

    /// A full listing replaces all offers, so only those between need remembering.
    fn offer(&mut self, key: u128, fingerprint: Fingerprint, full: bool) {
        if !full {
            self.offered.insert(key, fingerprint);
        }
    }

    fn is_ignored(&self, relative: &Path) -> bool {
        is_inside(&self.ignored, &display_name(relative.as_os_str()))
    }
}

/// `name` is one of `folders` or lies in one.
fn is_inside(folders: &[String], name: &str) -> bool {
    let inside =
        |f: &String| name.strip_prefix(f.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    folders.iter().any(inside)
}

fn unread_key(unread: &Unread) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(unread.name.as_bytes());
    hash.update(&[0]);
    hash.update(unread.reason.as_bytes());
    hash.digest128()
}

/// The folder's real path, and whether it had to be made.
fn real_folder(root: &Path) -> Result<(PathBuf, bool)> {
    let made = match std::fs::metadata(root) {
        Ok(meta) if !meta.is_dir() => {
            return Err(Error::Config(format!("the source {} is not a folder", root.display())));
        }
        Ok(_) => false,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(root).at("making the source folder", root)?;
            true
        }
        Err(e) => return Err(Error::io("looking at the source folder", root, e)),
    };
    Ok((std::fs::canonicalize(root).at("looking at the source folder", root)?, made))
}

/// The real path of a folder that need not exist yet.
fn resolve(folder: &Path) -> std::io::Result<PathBuf> {
    match std::fs::canonicalize(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        known => return known,
    }
    let parent = folder.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    let parent = if parent == folder { return Ok(folder.into()) } else { resolve(parent)? };
    Ok(parent.join(folder.file_name().unwrap_or(OsStr::new(".."))))
}
