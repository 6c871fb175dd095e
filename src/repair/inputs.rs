//! Which inputs of the old tables can be read again, and which are gone.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::batch::{FileRange, Fingerprint};
use crate::discover::raw_path;

/// What became of an input that rows came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is what it was when it was taken: reading it again gives its rows, exactly.
    There,
    /// It, or an older content of it, cannot be read any more.
    Gone,
    /// The ledger cannot be read. `exists`: there is a file of this name, and it will be read.
    Unknown { exists: bool },
}

pub struct Inputs {
    /// Ledger rows whose bytes cannot be read any more.
    pub gone: Vec<FileRange>,
    /// Why the ledger cannot be read.
    pub unreadable_ledger: Option<String>,
    /// Names in the ledger, and whether all that was taken under them is still there.
    names: HashMap<Arc<str>, bool>,
    /// Files that are what they were.
    there: HashMap<Arc<str>, Fingerprint>,
    source: PathBuf,
}

impl Inputs {
    /// `unreadable`: files that look as they did, but could not be read.
    pub fn find(
        ledger: Result<Vec<(u64, FileRange)>, String>,
        source: &Path,
        unreadable: &HashSet<Arc<str>>,
    ) -> Inputs {
        let mut inputs = Inputs {
            gone: Vec::new(),
            unreadable_ledger: None,
            names: HashMap::new(),
            there: HashMap::new(),
            source: source.to_path_buf(),
        };
        match ledger {
            Ok(ranges) => inputs.sort(ranges, unreadable),
            Err(why) => inputs.unreadable_ledger = Some(why),
        }
        inputs
    }

    /// The same bytes under another name, or taken again later, are not gone.
    fn sort(&mut self, ranges: Vec<(u64, FileRange)>, unreadable: &HashSet<Arc<str>>) {
        let mut contents: HashSet<(u128, u64)> = HashSet::new();
        for (_, range) in &ranges {
            if unreadable.contains(&range.name) {
                continue;
            }
            let path = self.source.join(raw_path(&range.name));
            if let Some(found) = same(&path, range) {
                contents.insert((range.content_hash, range.start.offset));
                self.there.insert(range.name.clone(), found);
            }
        }
        let is_there = |range: &FileRange| contents.contains(&(range.content_hash, range.start.offset));
        // A reading is there or gone as a whole: the ledger cannot say of a part of one what came before it.
        let reading = |range: &FileRange| (range.name.clone(), range.fingerprint);
        let broken: HashSet<_> =
            ranges.iter().filter(|(_, range)| !is_there(range)).map(|(_, range)| reading(range)).collect();
        for (_, range) in ranges {
            let there = !broken.contains(&reading(&range));
            *self.names.entry(range.name.clone()).or_insert(true) &= there;
            if !there {
                self.gone.push(range);
            }
        }
    }

    pub fn all_there(&self) -> bool {
        self.gone.is_empty() && self.unreadable_ledger.is_none()
    }

    pub fn told(&self) -> String {
        match &self.unreadable_ledger {
            Some(why) => format!("the ledger cannot be read ({why}): the rows of the old tables are kept"),
            None => match self.gone.len() {
                1 => "1 input is gone or changed: what it said is taken from the old tables".into(),
                n => format!("{n} inputs are gone or changed: what they said is taken from the old tables"),
            },
        }
    }

    pub fn fate(&self, name: &str) -> Fate {
        if self.unreadable_ledger.is_some() {
            return Fate::Unknown { exists: self.source.join(raw_path(name)).is_file() };
        }
        // A file that the ledger does not know never was an input.
        if self.names.get(name).copied().unwrap_or(false) { Fate::There } else { Fate::Gone }
    }

    /// Those that were there when the build began, but of which `taken`, the new ledger, knows nothing.
    pub fn missing(&self, taken: &[(u64, FileRange)]) -> Vec<Arc<str>> {
        let done = taken.iter().filter(|(_, r)| r.last);
        let done: HashMap<&str, Fingerprint> = done.map(|(_, r)| (&*r.name, r.fingerprint)).collect();
        let missing = self.there.iter().filter(|(name, found)| done.get(&***name) != Some(*found));
        missing.map(|(name, _)| name.clone()).collect()
    }
}

/// The fingerprint of the file at `path`, if it is still what `range` was taken from. Put back from a copy, a plain
/// file has other times, but the same bytes.
fn same(path: &Path, range: &FileRange) -> Option<Fingerprint> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let nanos = |s: i64, ns: i64| s.checked_mul(1_000_000_000)?.checked_add(ns);
    let found = Fingerprint {
        size: metadata.size(),
        mtime_ns: nanos(metadata.mtime(), metadata.mtime_nsec())?,
        ctime_ns: nanos(metadata.ctime(), metadata.ctime_nsec())?,
        inode: metadata.ino(),
    };
    let whole = range.start.offset == 0 && range.last && range.end.offset == found.size;
    let copied = || whole && std::fs::read(path).is_ok_and(|bytes| xxh3_128(&bytes) == range.content_hash);
    (found == range.fingerprint || copied()).then_some(found)
}
