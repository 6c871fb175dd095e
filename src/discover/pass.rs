//! One pass over the source folder, or over the parts of it that something happened to.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};
use rustix::io::Errno;

use super::held::Held;
use super::name::{is_event_file, is_ignored, push_display, raw_path};
use super::ready::Hint;
use super::watch::Hints;
use super::{Candidate, Folder, Listing, Now, Waiting, is_inside, open};
use crate::batch::{Fingerprint, Resume, Unread};
use crate::ledger::{Seen, file_key};

pub(super) struct Pass<'a> {
    pub folder: &'a mut Folder,
    pub seen: &'a dyn Seen,
    pub now: Now,
    pub hints: Hints,
    /// If the names of files that the ledger has whole are enough: those that wait to be held against it.
    pub by_name: Option<Held>,
    pub listing: Listing,
}

impl Pass<'_> {
    /// Everything; of what the ledger has whole, perhaps only the name.
    pub fn whole(&mut self, by_name: bool) {
        self.by_name = by_name.then(Held::default);
        match open::root(&self.folder.root) {
            Ok(root) => {
                self.walk(root.as_fd(), String::new());
                self.hold_names(root.as_fd());
            }
            Err(e) => self.unread(".", &unreadable(&e)),
        }
    }

    /// What was waiting and what events named.
    pub fn hinted(&mut self) {
        let root = match open::root(&self.folder.root) {
            Ok(root) => root,
            Err(e) => return self.unread(".", &unreadable(&e)),
        };
        let mut names = std::mem::take(&mut self.folder.waiting);
        let hinted = self.hints.complete.iter().chain(&self.hints.made);
        names.extend(hinted.map(|name| name.as_str().into()));
        names.sort_unstable();
        names.dedup();
        for name in names {
            self.one(root.as_fd(), &name);
        }
        for name in std::mem::take(&mut self.hints.folders) {
            self.walk(root.as_fd(), name);
        }
    }

    fn one(&mut self, root: BorrowedFd, name: &str) {
        // A name that is gone again is no news.
        let Ok(stat) = statat(root, raw_path(name), AtFlags::SYMLINK_NOFOLLOW) else { return };
        match open::kind(&stat) {
            FileType::Directory => self.walk(root, name.to_owned()),
            kind => self.file(name, kind, || Ok(stat)),
        }
    }

    /// A folder and all below it, without following symlinks.
    fn walk(&mut self, root: BorrowedFd, start: String) {
        let mut todo = vec![start];
        while let Some(name) = todo.pop() {
            if is_inside(&self.folder.ignored, &name) {
                continue;
            }
            match open::folder(root, &raw_path(&name)) {
                Ok(folder) => self.entries(root, &folder, name, &mut todo),
                Err(e) => self.closed(&name, &e),
            }
        }
    }

    /// Gone since it was named, or no folder at all: no news. Anything else is.
    fn closed(&mut self, name: &str, e: &io::Error) {
        let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
        if !gone.iter().any(|g| e.raw_os_error() == Some(g.raw_os_error())) {
            self.unread(name, &unreadable(e));
        }
    }

    fn entries(&mut self, root: BorrowedFd, folder: &OwnedFd, name: String, todo: &mut Vec<String>) {
        if let Ok(stat) = rustix::fs::fstat(folder) {
            self.folder.watch.add(&name, stat.st_ino, self.folder.listing);
        }
        let mut path = name;
        if !path.is_empty() {
            path.push('/');
        }
        let prefix = path.len();
        let entries = match Dir::read_from(folder) {
            Ok(entries) => entries,
            Err(e) => return self.unread(path.trim_end_matches('/'), &unreadable(&e.into())),
        };
        for entry in entries {
            path.truncate(prefix);
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => return self.unread(path.trim_end_matches('/'), &unreadable(&e.into())),
            };
            let raw = entry.file_name().to_bytes();
            if !is_ignored(raw) {
                push_display(&mut path, raw);
                self.entry(folder, raw, entry.file_type(), &path, todo);
            }
            if self.by_name.as_ref().is_some_and(Held::is_many) {
                self.hold_names(root);
            }
        }
    }

    fn entry(&mut self, folder: &OwnedFd, raw: &[u8], kind: FileType, path: &str, todo: &mut Vec<String>) {
        let stat = || statat(folder, OsStr::from_bytes(raw), AtFlags::SYMLINK_NOFOLLOW);
        let kind = match kind {
            // Some file systems do not say.
            FileType::Unknown => stat().map_or(FileType::Unknown, |stat| open::kind(&stat)),
            kind => kind,
        };
        if kind == FileType::Directory {
            if is_event_file(raw) {
                self.listing.folders.push(path.into());
            }
            todo.push(path.to_owned());
        } else if is_event_file(raw) {
            match &mut self.by_name {
                Some(held) => held.push(path, kind),
                None => self.file(path, kind, stat),
            }
        }
    }

    /// Holds what waits against the ledger, and looks at the files that it does not have whole.
    fn hold_names(&mut self, root: BorrowedFd) {
        let Some(mut held) = self.by_name.take() else { return };
        let known = held.forget(|key| self.seen.known(key).is_some_and(|known| known.done));
        self.listing.files_total += known;
        self.listing.done += known;
        self.listing.by_name += known;
        for (name, kind) in held.iter() {
            self.file(name, kind, || statat(root, raw_path(name), AtFlags::SYMLINK_NOFOLLOW));
        }
        held.clear();
        self.by_name = Some(held);
    }

    /// Something with the name of an event file that is no folder.
    fn file(&mut self, name: &str, kind: FileType, stat: impl FnOnce() -> Result<Stat, Errno>) {
        self.listing.files_total += 1;
        match kind {
            FileType::RegularFile | FileType::Unknown => match stat() {
                Ok(stat) if open::kind(&stat) == FileType::RegularFile => {
                    self.regular(name, open::fingerprint(&stat), false);
                }
                Ok(_) => self.unread(name, open::NOT_REGULAR),
                // Removed since it was listed: no news.
                Err(Errno::NOENT | Errno::NOTDIR) => self.listing.files_total -= 1,
                Err(e) => self.unread(name, &unreadable(&e.into())),
            },
            FileType::Symlink => match target(self.folder, name) {
                Ok(Some((_, fingerprint))) => self.regular(name, fingerprint, true),
                Ok(None) => self.listing.files_total -= 1,
                Err(why) => self.unread(name, &why),
            },
            _ => self.unread(name, open::NOT_REGULAR),
        }
    }

    fn regular(&mut self, name: &str, fingerprint: Fingerprint, link: bool) {
        let known = self.seen.look(name);
        let same = known.filter(|k| k.fingerprint == fingerprint);
        if same.is_some_and(|k| k.done) {
            self.listing.done += 1;
            return;
        }
        let key = file_key(name);
        match self.folder.taken.get(&key) {
            Some(taken) if *taken == fingerprint => return,
            Some(_) => return self.waiting(name, "being read, and changed meanwhile"),
            None if self.folder.offered.get(&key) == Some(&fingerprint) => return,
            None => {}
        }
        // A file whose beginning was taken was complete then, and it is the same still.
        if same.is_none() && !self.settled(name, key, fingerprint) {
            return self.waiting(name, "being written");
        }
        if !self.due(name, key, fingerprint) {
            return;
        }
        let changed = known.is_some() && same.is_none();
        let resume = same.map_or(Resume::default(), |k| k.resume);
        self.listing.changed += u64::from(changed);
        self.folder.offer(key, fingerprint, self.listing.full);
        self.listing.ready.push_back(Candidate { name: name.into(), fingerprint, resume, changed, link });
    }

    fn settled(&mut self, name: &str, key: u128, fingerprint: Fingerprint) -> bool {
        let hint = match (self.hints.complete.contains(name), self.hints.made.contains(name)) {
            (true, _) => Hint::Complete,
            (false, true) => Hint::Made,
            (false, false) => Hint::Nothing,
        };
        let (settle, listing) = (self.folder.settle_ns, self.folder.listing);
        self.folder.looks.ready(key, fingerprint, hint, settle, self.now, listing)
    }

    /// Shown as unread until it is read, tried when it is due.
    fn due(&mut self, name: &str, key: u128, fingerprint: Fingerprint) -> bool {
        let listing = self.folder.listing;
        let standing = self.folder.retries.standing(key, fingerprint, self.now, listing);
        let Some((why, due)) = standing.map(|(why, due)| (why.to_owned(), due)) else { return true };
        self.unread(name, &why);
        due
    }

    fn waiting(&mut self, name: &str, why: &'static str) {
        self.listing.waiting.push(Waiting { name: name.into(), why });
    }

    fn unread(&mut self, name: &str, reason: &str) {
        let name = if name.is_empty() { "." } else { name };
        self.listing.unread.push(Unread { name: name.into(), reason: reason.to_owned() });
    }
}

fn unreadable(e: &io::Error) -> String {
    format!("cannot be read: {}", open::reason(e))
}

/// Where a symlink leads: a regular file of the folder, or `None` for a folder in it, which the listing meets
/// anyway under its own name. `Err` says why it is not read.
pub(super) fn target(folder: &Folder, name: &str) -> Result<Option<(PathBuf, Fingerprint)>, String> {
    let path = folder.root.join(raw_path(name));
    let target =
        std::fs::canonicalize(path).map_err(|e| format!("symlink to nothing: {}", open::reason(&e)))?;
    let inside = target.strip_prefix(&folder.root).ok().filter(|relative| !folder.is_ignored(relative));
    let relative = inside.map(Path::to_path_buf).ok_or("symlink out of the folder")?;
    let root = open::root(&folder.root).map_err(|e| unreadable(&e))?;
    if relative.as_os_str().is_empty() {
        return Ok(None);
    }
    let stat = statat(&root, &relative, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| unreadable(&e.into()))?;
    match open::kind(&stat) {
        FileType::RegularFile => Ok(Some((relative, open::fingerprint(&stat)))),
        FileType::Directory => Ok(None),
        _ => Err(open::NOT_REGULAR.into()),
    }
}
