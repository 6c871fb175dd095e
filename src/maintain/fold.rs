//! Folding: keeps the files of a key index few. Eight files of one level become one of the next, the newest entry
//! of each owner staying.
//!
//! Files are immutable and sorted by owner, so a fold reads and writes them as streams, beside the batches; the
//! next decision record names its result in place of its sources.

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::Arc;

use super::aside::Cancel;
use crate::batch::Entry;
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::root::Root;
use crate::tables::index_file::{self, Entries, IndexFile};
use crate::tables::{Disk, names};

/// Files of one level that become one of the next.
const FAN_IN: usize = 8;

/// One level of one index to fold.
#[derive(Debug)]
pub struct Job {
    table: usize,
    disk: Arc<dyn Disk>,
    /// `_key_index`.
    dir: PathBuf,
    /// Oldest first.
    sources: Vec<IndexFile>,
    name: String,
}

#[derive(Debug)]
pub struct Folded {
    table: usize,
    sources: Vec<IndexFile>,
    file: IndexFile,
}

/// What is full, at most one level of every index.
pub fn due(root: &Root) -> Vec<Job> {
    let job = |(table, state): (usize, &crate::root::State)| {
        let (from, level) = choose(&state.index_files)?;
        let sources = state.index_files[from..from + FAN_IN].to_vec();
        let (last, _) = names::index_file_id(&sources.last()?.name)?;
        let dir = names::index_dir(&state.table.def.dir);
        Some(Job { table, disk: root.disk.clone(), dir, sources, name: names::index_file(last, level + 1) })
    };
    root.states.iter().enumerate().filter_map(job).collect()
}

/// The first of [`FAN_IN`] neighbouring files of one level. Oldest first, levels never rise along the list, so
/// neighbours of a level hold neighbouring batches.
fn choose(files: &[IndexFile]) -> Option<(usize, u32)> {
    files
        .windows(FAN_IN)
        .position(|w| w.iter().all(|f| level(f) == level(&w[0])))
        .map(|at| (at, level(&files[at])))
}

fn level(file: &IndexFile) -> u32 {
    names::index_file_id(&file.name).map_or(0, |(_, level)| level)
}

/// A level has four times what makes it full.
pub fn is_late(files: &[IndexFile]) -> bool {
    files.windows(4 * FAN_IN).any(|w| level(&w[0]) == level(&w[w.len() - 1]))
}

/// The result takes effect with the next record.
pub fn take_up(root: &mut Root, folded: Folded) {
    let files = &mut root.states[folded.table].index_files;
    if let Some(from) = files.windows(FAN_IN).position(|w| w == folded.sources) {
        files.splice(from..from + FAN_IN, [folded.file]);
        fault::point("fold.taken_up");
    }
}

impl Job {
    pub fn entries(&self) -> u64 {
        self.sources.iter().map(|f| f.entries).sum()
    }

    pub fn go(self, cancel: &Cancel) -> Result<Folded> {
        let mut heads = Vec::new();
        for file in &self.sources {
            heads.push(Head::new(Entries::open(&self.dir, file)?)?);
        }
        let path = self.dir.join(&self.name);
        let mut failed = None;
        let mut newest = || {
            cancel.check().and_then(|()| next_rows(&mut heads)).unwrap_or_else(|e| {
                failed = Some(e);
                Vec::new()
            })
        };
        let written = index_file::write(self.disk.as_ref(), &path, &mut newest);
        if let Some(e) = failed {
            self.disk.remove(&path).at("removing", &path)?;
            return Err(e);
        }
        fault::point("fold.written");
        let file = written?;
        self.disk.sync_dir(&self.dir).at("syncing", &self.dir)?;
        fault::point("fold.synced");
        Ok(Folded { table: self.table, sources: self.sources, file })
    }
}

/// A file and the first of its entries that is not yet taken.
struct Head {
    entries: Entries,
    rows: Vec<(u128, Entry)>,
    at: usize,
}

impl Head {
    fn new(entries: Entries) -> Result<Self> {
        let mut head = Head { entries, rows: Vec::new(), at: 0 };
        head.fill()?;
        Ok(head)
    }

    fn owner(&self) -> Option<u128> {
        self.rows.get(self.at).map(|(owner, _)| *owner)
    }

    fn advance(&mut self) -> Result<()> {
        let before = self.owner();
        self.at += 1;
        self.fill()?;
        match self.owner().map(|next| Some(next).cmp(&before)) {
            None | Some(Ordering::Greater) => Ok(()),
            Some(_) => Err(Error::Bug("an index file is not sorted by owner".into())),
        }
    }

    fn fill(&mut self) -> Result<()> {
        while self.at >= self.rows.len() {
            let Some(rows) = self.entries.next_rows()? else { return Ok(()) };
            (self.rows, self.at) = (rows, 0);
        }
        Ok(())
    }
}

/// The next few entries in the order of owners, of each owner the newest file's; empty at the end.
fn next_rows(heads: &mut [Head]) -> Result<Vec<(u128, Entry)>> {
    let mut rows = Vec::with_capacity(index_file::ROWS);
    while rows.len() < index_file::ROWS {
        let Some(least) = heads.iter().filter_map(Head::owner).min() else { break };
        let mut newest = None;
        for head in heads.iter_mut().filter(|head| head.owner() == Some(least)) {
            newest = Some(head.rows[head.at]);
            head.advance()?;
        }
        rows.extend(newest);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::EventOrder;
    use crate::tables::LocalDisk;

    fn file(batch: u32, level: u32) -> IndexFile {
        IndexFile { name: names::index_file(batch, level), bytes: 0, checksum: String::new(), entries: 0 }
    }

    #[test]
    fn a_full_level_is_folded_the_oldest_first() {
        let mut files = vec![file(8, 1)];
        files.extend((9..16).map(|b| file(b, 0)));
        assert_eq!(choose(&files), None);
        files.push(file(16, 0));
        assert_eq!(choose(&files), Some((1, 0)));
        assert!(!is_late(&files));
        files.extend((17..41).map(|b| file(b, 0)));
        assert!(is_late(&files));
    }

    fn entry(batch: u32) -> Entry {
        let order = EventOrder { sequence: [i64::from(batch), 0], hash: 7 };
        Entry { order, content: 1, file: batch, first: 0, count: 1 }
    }

    fn write(dir: &std::path::Path, batch: u32, owners: &[u128]) -> IndexFile {
        let rows: Vec<(u128, Entry)> = owners.iter().map(|o| (*o, entry(batch))).collect();
        let mut parts = rows.chunks(3).map(<[_]>::to_vec);
        let path = dir.join(names::index_file(batch, 0));
        index_file::write(&LocalDisk, &path, &mut || parts.next().unwrap_or_default()).unwrap()
    }

    #[test]
    fn of_every_owner_the_newest_entry_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = std::collections::BTreeMap::new();
        let mut sources = Vec::new();
        for batch in 1..=FAN_IN as u32 {
            let owners: Vec<u128> = (0..40).filter(|o| (o + u128::from(batch)) % 3 == 0).collect();
            expected.extend(owners.iter().map(|o| (*o, entry(batch))));
            sources.push(write(dir.path(), batch, &owners));
        }
        let dir_path = dir.path().to_path_buf();
        let job = |sources| Job {
            table: 0,
            disk: Arc::new(LocalDisk),
            dir: dir_path.clone(),
            sources,
            name: names::index_file(8, 1),
        };
        let folded = job(sources.clone()).go(&Cancel::default()).unwrap();
        let bytes = std::fs::read(dir.path().join(&folded.file.name)).unwrap();
        assert_eq!(index_file::checksum(&bytes), folded.file.checksum);
        assert_eq!((bytes.len() as u64, expected.len() as u64), (folded.file.bytes, folded.file.entries));
        let mut entries = Entries::open(dir.path(), &folded.file).unwrap();
        assert_eq!(entries.next_rows().unwrap().unwrap(), expected.into_iter().collect::<Vec<_>>());
        // A damaged source is never folded into something that looks whole.
        let path = dir.path().join(&sources[3].name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(job(sources).go(&Cancel::default()), Err(Error::Corrupt(_))));
    }

    #[test]
    fn an_unsorted_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let sources: Vec<IndexFile> = (1..=8).map(|b| write(dir.path(), b, &[2, 9, 5])).collect();
        let name = names::index_file(8, 1);
        let job = Job { table: 0, disk: Arc::new(LocalDisk), dir: dir.path().to_path_buf(), sources, name };
        assert!(matches!(job.go(&Cancel::default()), Err(Error::Bug(_))));
        assert!(!dir.path().join(names::index_file(8, 1)).exists());
    }
}
