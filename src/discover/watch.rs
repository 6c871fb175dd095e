//! The watcher: wakes the listing and tells it where to look first. It is never believed alone.
//!
//! Each folder is watched by itself, before it is read, as the listing comes to it. `notify`'s own recursion
//! would follow symlinks, watch our tables where they lie inside the source, and lose what is written into new
//! folders before it gets there.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch::{Receiver, Sender};

use super::name::{is_event_file, name_below, raw_path};
use crate::guard::guard;
use crate::threads;

/// Beyond this a full listing is cheaper than remembering.
const MOST_HINTS: usize = 100_000;

/// Where to look first, by name.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// Event files closed after writing or renamed in (or a folder named like one).
    pub complete: HashSet<String>,
    /// Event files that were made: by a writer who will close them, or by a hard link or a symlink, after which
    /// nothing more is heard. So they are looked at until they rest.
    pub made: HashSet<String>,
    /// Folders that are new (or some file of another kind that was renamed in).
    pub folders: HashSet<String>,
    /// Events were lost, or something that only a full listing can answer.
    pub rescan: bool,
}

impl Hints {
    /// Itself, or a full listing instead of too much to remember.
    fn with_room(&mut self) -> &mut Self {
        if self.complete.len() + self.made.len() + self.folders.len() >= MOST_HINTS {
            *self = Hints { rescan: true, ..Hints::default() };
        }
        self
    }
}

/// What the watcher's thread and the folder share.
#[derive(Debug)]
struct Shared {
    root: Box<Path>,
    ignored: Vec<String>,
    state: Mutex<State>,
    generation: Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    hints: Hints,
    watched: HashMap<String, Watched>,
}

#[derive(Debug)]
struct Watched {
    inode: u64,
    listing: u64,
}

#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    /// `None`: polling.
    watcher: Option<RecommendedWatcher>,
    full: bool,
}

impl Watch {
    /// No watcher yet: the listing polls.
    pub fn new(root: &Path, ignored: &[String]) -> Self {
        let shared = Shared {
            root: root.into(),
            ignored: ignored.to_vec(),
            state: Mutex::default(),
            generation: Sender::new(0),
        };
        Watch { shared: Arc::new(shared), watcher: None, full: false }
    }

    pub fn start(&mut self) {
        // notify would not notice that it has no thread, and panic when it is asked to watch.
        if let Err(e) = threads::may_start() {
            return self.warn(&notify::Error::io(e));
        }
        let shared = self.shared.clone();
        match notify::recommended_watcher(move |event| shared.on_event(event)) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(e) => self.warn(&e),
        }
    }

    pub fn receiver(&self) -> Receiver<u64> {
        self.shared.generation.subscribe()
    }

    pub fn take_hints(&self) -> Hints {
        std::mem::take(&mut self.shared.state().hints)
    }

    pub fn wants_rescan(&self) -> bool {
        self.shared.state().hints.rescan
    }

    pub fn heard_of_new_files(&self) -> bool {
        !self.shared.state().hints.made.is_empty()
    }

    /// A full listing is still owed.
    pub fn ask_rescan(&self) {
        self.shared.state().hints.rescan = true;
    }

    /// Watches a folder unless it is watched already. Call before reading it, so that nothing falls between.
    pub fn add(&mut self, name: &str, inode: u64, listing: u64) {
        let Some(watcher) = self.watcher.as_mut().filter(|_| !self.full) else { return };
        {
            let mut state = self.shared.state();
            if let Some(known) = state.watched.get_mut(name).filter(|known| known.inode == inode) {
                known.listing = listing;
                return;
            }
            // Noted first: an event that takes it away again must find it. The lock is not held while
            // watching: the watcher's thread may wait for it.
            state.watched.insert(name.to_owned(), Watched { inode, listing });
        }
        let path = self.shared.root.join(raw_path(name));
        let watched = guard("notify", || watcher.watch(&path, RecursiveMode::NonRecursive));
        let e = match watched {
            Ok(Ok(())) => return,
            Ok(Err(e)) => e,
            // Its thread was refused after all. What is left of it would panic once more as it is dropped.
            Err(panic) => {
                std::mem::forget(self.watcher.take());
                self.shared.state().watched.remove(name);
                return self.warn(&notify::Error::generic(&panic));
            }
        };
        self.shared.state().watched.remove(name);
        if matches!(e.kind, ErrorKind::MaxFilesWatch) {
            self.full = true;
            self.warn(&e);
        }
    }

    /// Stops watching what the full listing `listing` did not meet.
    pub fn prune(&mut self, listing: u64) {
        let Some(watcher) = self.watcher.as_mut() else { return };
        let mut gone = Vec::new();
        self.shared.state().watched.retain(|name, known| {
            let keep = known.listing == listing;
            if !keep {
                gone.push(raw_path(name));
            }
            keep
        });
        for path in gone {
            // Mostly the kernel did it already.
            let _ = watcher.unwatch(&self.shared.root.join(path));
        }
    }

    fn warn(&self, e: &notify::Error) {
        tracing::warn!(
            folder = %self.shared.root.display(),
            "the source folder cannot be watched whole ({e}); it is listed every few seconds instead"
        );
    }

    #[cfg(test)]
    pub fn watched(&self) -> usize {
        self.shared.state().watched.len()
    }

    #[cfg(test)]
    pub fn overflow(&self) {
        let lost = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        self.shared.on_event(Ok(lost));
    }

    #[cfg(test)]
    pub fn deafen(&mut self) {
        self.watcher = None;
    }
}

impl Shared {
    /// The state is whole after every step, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_event(&self, event: notify::Result<Event>) {
        let Ok(event) = event else { return self.rescan() };
        if event.need_rescan() {
            return self.rescan();
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => self.arrived(event.paths.first()),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => self.arrived(event.paths.first()),
            EventKind::Create(CreateKind::Folder) => self.arrived(event.paths.first()),
            EventKind::Create(_) => self.made(event.paths.first()),
            EventKind::Modify(ModifyKind::Data(_)) => self.being_written(event.paths.first()),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
                self.left(event.paths.first());
            }
            _ => {}
        }
    }

    fn rescan(&self) {
        let mut state = self.state();
        state.hints = Hints { rescan: true, ..Hints::default() };
        // Watches may have died unheard: the listing asks for all of them again.
        state.watched.clear();
        drop(state);
        self.wake();
    }

    fn arrived(&self, path: Option<&impl AsRef<Path>>) {
        let Some(name) = self.name(path) else { return };
        let mut state = self.state();
        let hints = state.hints.with_room();
        if is_event_file(last_part(&name)) {
            hints.complete.insert(name);
        } else {
            hints.folders.insert(name);
        }
        drop(state);
        self.wake();
    }

    /// Wakes nobody: mostly it is a writer, whose closing the file will.
    fn made(&self, path: Option<&impl AsRef<Path>>) {
        if let Some(name) = self.name(path).filter(|name| is_event_file(last_part(name))) {
            self.state().hints.with_room().made.insert(name);
        }
    }

    /// Written to after it was closed: closed no more.
    fn being_written(&self, path: Option<&impl AsRef<Path>>) {
        if self.state().hints.complete.is_empty() {
            return;
        }
        if let Some(name) = self.name(path) {
            self.state().hints.complete.remove(&name);
        }
    }

    /// A folder that was removed or renamed is not watched any more, nor is what is in it; a folder that came
    /// under another name meanwhile shares its watch and lost it too.
    fn left(&self, path: Option<&impl AsRef<Path>>) {
        let Some(name) = self.name(path) else { return };
        let mut state = self.state();
        if !state.watched.contains_key(&name) {
            return;
        }
        let below = |other: &str| {
            name.is_empty() || other.strip_prefix(&*name).is_some_and(|r| r.is_empty() || r.starts_with('/'))
        };
        let lost: HashSet<u64> =
            state.watched.iter().filter(|(other, _)| below(other)).map(|(_, w)| w.inode).collect();
        state.watched.retain(|_, w| !lost.contains(&w.inode));
        state.hints.rescan |= name.is_empty();
    }

    fn name(&self, path: Option<&impl AsRef<Path>>) -> Option<String> {
        let name = name_below(&self.root, path?.as_ref())?;
        (!super::is_inside(&self.ignored, &name)).then_some(name)
    }

    fn wake(&self) {
        self.generation.send_modify(|generation| *generation = generation.wrapping_add(1));
    }
}

fn last_part(name: &str) -> &[u8] {
    name.rsplit('/').next().unwrap_or(name).as_bytes()
}
