//! Disks that fail: one that errs or dies at its n-th call, one that remembers what a power cut would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millrace::tables::{Disk, LocalDisk};

/// What happens at the n-th durable call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing and says so; later calls work.
    Refused,
    /// It is carried out, but reported as failed; later calls work.
    Misreported,
    /// The process "dies" before it: nothing works any more.
    DiesBefore,
    /// The process "dies" after it.
    DiesAfter,
    /// A write gets half way, then the process "dies".
    DiesWithin,
}

pub const FAULTS: [Fault; 5] =
    [Fault::Refused, Fault::Misreported, Fault::DiesBefore, Fault::DiesAfter, Fault::DiesWithin];

/// Without syncing: what a dying process leaves does not hang on it, and tests are quicker.
#[derive(Debug)]
pub struct FaultyDisk {
    inner: LocalDisk,
    calls: AtomicU64,
    at: u64,
    fault: Fault,
    dead: AtomicBool,
    /// The call that failed.
    failed: Mutex<Option<String>>,
}

impl FaultyDisk {
    /// Fails at call `at`, counted from 0.
    pub fn new(at: u64, fault: Fault) -> Self {
        FaultyDisk {
            inner: LocalDisk,
            calls: AtomicU64::new(0),
            at,
            fault,
            dead: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    /// What failed, if the fault was reached.
    pub fn failed(&self) -> Option<String> {
        self.failed.lock().unwrap().clone()
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn call<T>(
        &self,
        what: impl FnOnce() -> String,
        half: impl FnOnce() -> io::Result<()>,
        work: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let gone = || io::Error::other("the process is dead");
        if self.dead.load(Ordering::SeqCst) {
            return Err(gone());
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) != self.at {
            return work();
        }
        *self.failed.lock().unwrap() = Some(what());
        let dies = !matches!(self.fault, Fault::Refused | Fault::Misreported);
        self.dead.store(dies, Ordering::SeqCst);
        match self.fault {
            Fault::Refused | Fault::DiesBefore => {}
            Fault::DiesWithin => half()?,
            Fault::Misreported | Fault::DiesAfter => _ = work()?,
        }
        Err(io::Error::other("injected"))
    }

    fn nothing() -> io::Result<()> {
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let half = || fs::write(path, &bytes[..bytes.len() / 2]);
        self.call(|| format!("write {}", path.display()), half, || fs::write(path, bytes))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(|| format!("sync_dir {}", dir.display()), Self::nothing, || fs::metadata(dir).map(|_| ()))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.call(
            || format!("sync_file {}", path.display()),
            Self::nothing,
            || fs::metadata(path).map(|_| ()),
        )
    }

    fn publish(&self, temp: &Path, target: &Path) -> io::Result<()> {
        // Half of it: linked, but the temporary name is still there.
        let half = || fs::hard_link(temp, target);
        self.call(|| format!("publish {}", target.display()), half, || self.inner.publish(temp, target))
    }

    fn replace(&self, temp: &Path, target: &Path) -> io::Result<()> {
        self.call(
            || format!("replace {}", target.display()),
            Self::nothing,
            || self.inner.replace(temp, target),
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|| format!("remove {}", path.display()), Self::nothing, || self.inner.remove(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(|| format!("create_dir {}", path.display()), Self::nothing, || self.inner.create_dir(path))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Reading is not durable, and a dead process does not read.
        if self.dead.load(Ordering::SeqCst) {
            return Err(io::Error::other("the process is dead"));
        }
        self.inner.read(path)
    }
}

/// One durable call, as it was carried out.
#[derive(Debug, Clone)]
enum Call {
    Write(PathBuf, Vec<u8>),
    SyncDir(PathBuf),
    Publish(PathBuf, PathBuf),
    Replace(PathBuf, PathBuf),
    Remove(PathBuf),
    CreateDir(PathBuf),
    Acknowledged(u64),
}

/// Remembers every durable call, so that the state of the disk after a power cut at any of them can be made.
#[derive(Debug, Default)]
pub struct RecordingDisk {
    inner: LocalDisk,
    calls: Mutex<Vec<Call>>,
}

/// What a power cut does to names that were made or removed but not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    Lost,
    Kept,
    /// Some are lost: a seed.
    Some(u64),
}

impl RecordingDisk {
    /// A batch was reported as done.
    pub fn acknowledge(&self, batch: u64) {
        self.calls.lock().unwrap().push(Call::Acknowledged(batch));
    }

    pub fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// Makes, below `to`, what a cut after `n` calls leaves of what was below `root`. The call at `n` itself may
    /// have got half way. Returns the last batch that was acknowledged by then.
    pub fn cut(&self, n: usize, unsynced: Unsynced, root: &Path, to: &Path) -> u64 {
        let calls = self.calls.lock().unwrap();
        let mut model = Model::default();
        let mut acknowledged = 0;
        for call in &calls[..n] {
            if let Call::Acknowledged(batch) = call {
                acknowledged = *batch;
            }
            model.apply(call);
        }
        if let Some(Call::Write(path, bytes)) = calls.get(n) {
            model.write(path, &bytes[..bytes.len() / 2]);
        }
        model.materialize(unsynced, root, to);
        acknowledged
    }

    fn note(&self, call: Call) -> io::Result<()> {
        self.calls.lock().unwrap().push(call);
        Ok(())
    }
}

impl Disk for RecordingDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(path, bytes)?;
        self.note(Call::Write(path.into(), bytes.to_vec()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::metadata(dir)?;
        self.note(Call::SyncDir(dir.into()))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        // Contents are synced by every write already.
        fs::metadata(path).map(|_| ())
    }

    fn publish(&self, temp: &Path, target: &Path) -> io::Result<()> {
        self.inner.publish(temp, target)?;
        self.note(Call::Publish(temp.into(), target.into()))
    }

    fn replace(&self, temp: &Path, target: &Path) -> io::Result<()> {
        self.inner.replace(temp, target)?;
        self.note(Call::Replace(temp.into(), target.into()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let there = path.exists();
        self.inner.remove(path)?;
        if there { self.note(Call::Remove(path.into())) } else { Ok(()) }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<PathBuf> =
            path.ancestors().take_while(|p| !p.exists()).map(Path::to_path_buf).collect();
        self.inner.create_dir(path)?;
        missing.into_iter().rev().try_for_each(|dir| self.note(Call::CreateDir(dir)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner.read(path)
    }
}

/// A name's meaning: a directory, or a file's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// A disk whose names become durable only when their directory is synced. (A file's bytes are synced by every write
/// of the engine's; a name that points at them may still be lost.)
#[derive(Debug, Default)]
struct Model {
    contents: Vec<Vec<u8>>,
    now: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Names that differ between `now` and `durable`.
    unsynced: BTreeSet<PathBuf>,
}

impl Model {
    fn apply(&mut self, call: &Call) {
        match call {
            Call::Write(path, bytes) => self.write(path, bytes),
            Call::CreateDir(path) => self.set(path, Some(Node::Dir)),
            Call::Remove(path) => self.set(path, None),
            Call::Publish(temp, target) | Call::Replace(temp, target) => {
                let node = self.now[temp];
                self.set(target, Some(node));
                self.set(temp, None);
            }
            Call::SyncDir(dir) => {
                let inside: Vec<PathBuf> =
                    self.unsynced.iter().filter(|p| p.parent() == Some(dir)).cloned().collect();
                inside.iter().for_each(|path| self.settle(path));
            }
            Call::Acknowledged(_) => {}
        }
    }

    /// Into the file of that name, if there is one: what was durable under it is written over.
    fn write(&mut self, path: &Path, bytes: &[u8]) {
        if let Some(Node::File(number)) = self.now.get(path) {
            self.contents[*number] = bytes.to_vec();
            return;
        }
        self.contents.push(bytes.to_vec());
        self.set(path, Some(Node::File(self.contents.len() - 1)));
    }

    fn set(&mut self, path: &Path, node: Option<Node>) {
        match node {
            Some(node) => _ = self.now.insert(path.into(), node),
            None => _ = self.now.remove(path),
        }
        self.unsynced.insert(path.into());
    }

    fn settle(&mut self, path: &Path) {
        match self.now.get(path) {
            Some(node) => _ = self.durable.insert(path.into(), *node),
            None => _ = self.durable.remove(path),
        }
        self.unsynced.remove(path);
    }

    fn materialize(&mut self, unsynced: Unsynced, root: &Path, to: &Path) {
        let mut state = if let Unsynced::Some(seed) = unsynced { seed | 1 } else { 0 };
        for path in self.unsynced.clone() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if unsynced == Unsynced::Kept || (unsynced != Unsynced::Lost && state & 1 == 0) {
                self.settle(&path);
            }
        }
        // In the order of paths, a directory comes before what is in it; what lies in a lost one is lost.
        for (path, node) in &self.durable {
            let target = to.join(path.strip_prefix(root).unwrap());
            match node {
                Node::Dir => _ = fs::create_dir(&target),
                Node::File(number) => _ = fs::write(&target, &self.contents[*number]),
            }
        }
    }
}
