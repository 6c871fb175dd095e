//! A disk that remembers every durable call, so that whatever a power cut at any of them may leave can be made.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use millrace::tables::{Disk, LocalDisk};

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

#[derive(Debug)]
pub struct RecordingDisk {
    inner: LocalDisk,
    /// What was there before, all of it durable.
    before: Model,
    calls: Mutex<Vec<Call>>,
}

/// What a power cut leaves of names that were made, moved or removed but not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    Lost,
    Kept,
    /// Some are lost: a seed.
    Some(u64),
}

/// How much of a file is there whose writing was cut short: it was not synced yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torn {
    Missing,
    Empty,
    Half,
    /// As long as it should be, but zeros: the length was written, the data was not.
    Zeros,
    Whole,
}

pub const UNSYNCED: [Unsynced; 4] = [Unsynced::Lost, Unsynced::Kept, Unsynced::Some(7), Unsynced::Some(77)];
pub const TORN: [Torn; 5] = [Torn::Missing, Torn::Empty, Torn::Half, Torn::Zeros, Torn::Whole];

impl RecordingDisk {
    /// Over a folder with what is in it now.
    pub fn over(root: &Path) -> RecordingDisk {
        let mut before = Model::new(root);
        before.load(root, 0);
        RecordingDisk { inner: LocalDisk, before, calls: Mutex::default() }
    }

    /// Something was reported as done; `what` only ever grows.
    pub fn acknowledge(&self, what: u64) {
        self.calls.lock().unwrap().push(Call::Acknowledged(what));
    }

    pub fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// The calls that gave a whole folder another name.
    pub fn moves(&self) -> Vec<usize> {
        let calls = self.calls.lock().unwrap();
        let is_move = |call: &Call| matches!(call, Call::Replace(_, to) if to.is_dir());
        (0..calls.len()).filter(|&n| is_move(&calls[n])).collect()
    }

    /// Makes, below `to`, what a cut after `n` calls leaves of the folder. If the call at `n` is a write, it had
    /// begun. Returns what was acknowledged last by then; 0: nothing.
    pub fn cut(&self, n: usize, unsynced: Unsynced, torn: Torn, to: &Path) -> u64 {
        let calls = self.calls.lock().unwrap();
        let mut model = self.before.clone();
        let mut acknowledged = 0;
        for call in &calls[..n] {
            if let Call::Acknowledged(what) = call {
                acknowledged = *what;
            }
            model.apply(call);
        }
        if let Some(Call::Write(path, bytes)) = calls.get(n) {
            match torn {
                Torn::Missing => {}
                Torn::Empty => model.write(path, &[]),
                Torn::Half => model.write(path, &bytes[..bytes.len() / 2]),
                Torn::Zeros => model.write(path, &vec![0; bytes.len()]),
                Torn::Whole => model.write(path, bytes),
            }
        }
        model.materialize(unsynced, to);
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

/// A name's meaning: the number of a folder or of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir(usize),
    File(usize),
}

type Names = BTreeMap<OsString, Node>;

#[derive(Debug, Clone, Default)]
struct Dir {
    now: Names,
    durable: Names,
    /// Renamed within this folder and not synced: both names change, or neither. Every file system with a log does
    /// so, and without it no folder could ever be moved.
    renamed: Vec<(OsString, OsString)>,
}

/// A disk whose names become durable only when their folder is synced. (The bytes of a file are synced by every write
/// of the engine's; a name that points at them may still be lost.)
#[derive(Debug, Clone)]
struct Model {
    root: PathBuf,
    contents: Vec<Vec<u8>>,
    /// The first is the root.
    dirs: Vec<Dir>,
}

impl Model {
    fn new(root: &Path) -> Model {
        Model { root: root.to_path_buf(), contents: Vec::new(), dirs: vec![Dir::default()] }
    }

    fn load(&mut self, folder: &Path, dir: usize) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let node = if entry.file_type().unwrap().is_dir() {
                self.dirs.push(Dir::default());
                Node::Dir(self.dirs.len() - 1)
            } else {
                self.contents.push(fs::read(entry.path()).unwrap());
                Node::File(self.contents.len() - 1)
            };
            self.dirs[dir].now.insert(entry.file_name(), node);
            if let Node::Dir(inside) = node {
                self.load(&entry.path(), inside);
            }
        }
        self.dirs[dir].durable = self.dirs[dir].now.clone();
    }

    fn apply(&mut self, call: &Call) {
        match call {
            Call::Write(path, bytes) => self.write(path, bytes),
            Call::CreateDir(path) => {
                self.dirs.push(Dir::default());
                self.set(path, Some(Node::Dir(self.dirs.len() - 1)));
            }
            Call::Remove(path) => self.set(path, None),
            Call::Publish(temp, target) | Call::Replace(temp, target) => {
                let node = self.node(temp).unwrap_or_else(|| panic!("{} was never made", temp.display()));
                self.set(target, Some(node));
                self.set(temp, None);
                let (from, to) = (self.place(temp), self.place(target));
                if matches!(call, Call::Replace(..)) && from.0 == to.0 {
                    self.dirs[from.0].renamed.push((from.1, to.1));
                }
            }
            Call::SyncDir(path) => {
                let dir = self.folder(path);
                let dir = &mut self.dirs[dir];
                dir.durable = dir.now.clone();
                dir.renamed.clear();
            }
            Call::Acknowledged(_) => {}
        }
    }

    /// The folder of that path as it is now.
    fn folder(&self, path: &Path) -> usize {
        path.strip_prefix(&self.root).unwrap().iter().fold(0, |dir, name| {
            match self.dirs[dir].now.get(name) {
                Some(Node::Dir(inside)) => *inside,
                other => panic!("{}: {other:?}", path.display()),
            }
        })
    }

    fn place(&self, path: &Path) -> (usize, OsString) {
        (self.folder(path.parent().unwrap()), path.file_name().unwrap().to_owned())
    }

    fn node(&self, path: &Path) -> Option<Node> {
        let (dir, name) = self.place(path);
        self.dirs[dir].now.get(&name).copied()
    }

    /// Into the file of that name, if there is one: what was durable under it is written over.
    fn write(&mut self, path: &Path, bytes: &[u8]) {
        if let Some(Node::File(number)) = self.node(path) {
            self.contents[number] = bytes.to_vec();
            return;
        }
        self.contents.push(bytes.to_vec());
        self.set(path, Some(Node::File(self.contents.len() - 1)));
    }

    fn set(&mut self, path: &Path, node: Option<Node>) {
        let (dir, name) = self.place(path);
        match node {
            Some(node) => _ = self.dirs[dir].now.insert(name, node),
            None => _ = self.dirs[dir].now.remove(&name),
        }
    }

    fn materialize(&self, unsynced: Unsynced, to: &Path) {
        let seed = if let Unsynced::Some(seed) = unsynced { seed | 1 } else { 0 };
        self.make(0, unsynced, &mut Coin(seed), to);
    }

    fn make(&self, dir: usize, unsynced: Unsynced, coin: &mut Coin, to: &Path) {
        for (name, node) in self.dirs[dir].left(unsynced, coin) {
            let target = to.join(name);
            match node {
                Node::Dir(inside) => {
                    fs::create_dir(&target).unwrap();
                    self.make(inside, unsynced, coin, &target);
                }
                Node::File(number) => fs::write(&target, &self.contents[number]).unwrap(),
            }
        }
    }
}

struct Coin(u64);

impl Coin {
    fn heads(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 & 1 == 0
    }
}

impl Dir {
    /// The names that a cut leaves.
    fn left(&self, unsynced: Unsynced, coin: &mut Coin) -> Names {
        let mut left = self.durable.clone();
        let mut take = |name: &OsString| match self.now.get(name) {
            Some(node) => _ = left.insert(name.clone(), *node),
            None => _ = left.remove(name),
        };
        let mut keeps = || unsynced == Unsynced::Kept || (unsynced != Unsynced::Lost && coin.heads());
        let mut paired = Vec::new();
        for (from, to) in &self.renamed {
            if keeps() {
                take(from);
                take(to);
            }
            paired.extend([from, to]);
        }
        let names = self.now.keys().chain(self.durable.keys().filter(|name| !self.now.contains_key(*name)));
        for name in names.filter(|name| !paired.contains(name)) {
            if self.now.get(name) != self.durable.get(name) && keeps() {
                take(name);
            }
        }
        left
    }
}
