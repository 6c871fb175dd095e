//! Reads a root's tables and indexes into memory and refuses what is not what was written.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use crate::batch::FileId;
use crate::commit::Paths;
use crate::commit::record::Record;
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::merge::KeyIndex;
use crate::system;
use crate::tables::index_file::{self, Cursor, Entries, IndexFile};
use crate::tables::kernel::Opened;
use crate::tables::{Disk, Kernel, LiveFile, Table, TableDef, names};
use crate::threads;

use super::{Identity, State, heal};

pub fn check_root(record: &Record, identity: &Identity, paths: &Paths) -> Result<()> {
    if record.root == identity.root {
        return Ok(());
    }
    Err(Error::Corrupt(format!(
        "the decision record {} belongs to another root; run `millrace repair`",
        paths.decision.display()
    )))
}

/// Every table has its folders: nothing is published into a table that is not there.
pub fn check_folders(defs: &[TableDef]) -> Result<()> {
    let mut missing = Vec::new();
    for dir in defs.iter().flat_map(|def| [names::log_dir(&def.dir), names::index_dir(&def.dir)]) {
        match std::fs::metadata(&dir) {
            Ok(found) if found.is_dir() => {}
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("looking at", &dir, e));
            }
            _ => missing.push(Error::Corrupt(format!("{} is missing; run `millrace repair`", dir.display()))),
        }
    }
    Error::all(missing).map_or(Ok(()), Err)
}

/// What opening a table needs besides the table.
pub struct Loader<'a> {
    pub disk: &'a dyn Disk,
    pub kernel: &'a Kernel,
    pub paths: &'a Paths,
    pub record: &'a Record,
    /// The application of our `txn`s.
    pub app: String,
}

/// A table that was opened, without its index.
struct Found {
    table: Table,
    index_files: Vec<IndexFile>,
    notes: Vec<String>,
    errors: Vec<Error>,
}

/// Entries of an index beyond which it is loaded in pieces, or the largest table would be loaded alone at the end.
const PIECE: u64 = 500_000;
/// Pieces that are loaded at a time: each has all of its table's files open, and some megabytes of each at hand.
const MOST_PIECES: usize = 4;

impl Loader<'_> {
    /// Opens every table, several at a time: most of it is waiting for files. Then loads the indexes, a few
    /// pieces at a time. Returns also what there is to say.
    pub fn states(&self, defs: Vec<TableDef>) -> Result<(Vec<State>, Vec<String>)> {
        let opened = threads::each(defs, |def| Ok(self.found(def)))?;
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for table in opened {
            match table {
                Ok(table) => found.push(table),
                Err(e) => errors.push(e),
            }
        }
        check_index_files(&mut found)?;
        for table in &mut found {
            errors.append(&mut table.errors);
        }
        if let Some(e) = Error::all(errors) {
            return Err(e);
        }
        let indexes = load_indexes(&found)?;
        let (mut states, mut notes, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (Found { table, index_files, notes: told, .. }, loaded) in found.into_iter().zip(indexes) {
            notes.extend(told);
            match loaded.and_then(|loaded| loaded.held_against(&table)) {
                Ok(index) => states.push(State { table, index, index_files }),
                Err(e) => errors.push(e),
            }
        }
        Error::all(errors).map_or(Ok((states, notes)), Err)
    }

    fn found(&self, def: TableDef) -> Result<Found> {
        let mut notes = Vec::new();
        check_log(&def)?;
        let opened = heal::open(self.disk, self.kernel, self.paths, &def, &mut notes)?;
        fault::point("load.opened");
        self.check_version(&def, &opened)?;
        let table = Table::new(def, &opened)?;
        let index_files = self.record.index.get(&table.def.name).cloned().unwrap_or_default();
        let errors = damaged_files(&table);
        Ok(Found { table, index_files, notes, errors })
    }

    /// The table is at the record's version: older or newer is damage, or somebody else.
    fn check_version(&self, def: &TableDef, opened: &Opened) -> Result<()> {
        let dir = def.dir.display();
        let expected = self.record.versions.get(&def.name).copied().unwrap_or(0);
        let ours = self.kernel.txn(opened, &self.app, &def.dir)?;
        if ours.is_some_and(|batch| batch > self.record.batch) {
            return Err(Error::Corrupt(format!(
                "{dir} is newer than the decision record {}; run `millrace repair`",
                self.paths.decision.display()
            )));
        }
        if opened.version > expected {
            return Err(Error::Foreign(format!(
                "{dir}: somebody else wrote version {} of this table (millrace's last is {expected}); stop \
                 whatever else writes to it, then run `millrace repair`",
                opened.version
            )));
        }
        if opened.version < expected {
            return Err(Error::Corrupt(format!(
                "{dir}: its log ends at version {}, but version {expected} was committed; run `millrace repair`",
                opened.version
            )));
        }
        Ok(())
    }
}

/// No commit is empty. A log is replayed past an empty one as if nothing had been in it.
fn check_log(def: &TableDef) -> Result<()> {
    let log = names::log_dir(&def.dir);
    for entry in std::fs::read_dir(&log).at("listing", &log)? {
        let entry = entry.at("listing", &log)?;
        let is_commit = entry.file_name().to_str().is_some_and(|n| names::commit_version(n).is_some());
        if is_commit && entry.metadata().at("looking at", entry.path())?.len() == 0 {
            let path = entry.path();
            return Err(Error::Corrupt(format!("{} is empty; run `millrace repair`", path.display())));
        }
    }
    Ok(())
}

/// Every data file is there and as long as the log says, or else it is among these. Its contents are `verify`'s to
/// read.
fn damaged_files(table: &Table) -> Vec<Error> {
    table.files.iter().filter_map(|(id, file)| check_file(table.path(*id), file).err()).collect()
}

fn check_file(path: PathBuf, file: &LiveFile) -> Result<()> {
    let damaged = |what: String| {
        Error::Corrupt(format!("the data file {} {what}; run `millrace repair`", path.display()))
    };
    match std::fs::metadata(&path) {
        Ok(m) if i64::try_from(m.len()) == Ok(file.action.size) => Ok(()),
        Ok(m) => Err(damaged(format!("has {} bytes, {} were written", m.len(), file.action.size))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(damaged("is missing".into())),
        Err(e) => Err(Error::io("looking at", &path, e)),
    }
}

/// Adds what is wrong with a table's index files to what is wrong with it.
fn check_index_files(found: &mut [Found]) -> Result<()> {
    let files =
        found.iter().enumerate().flat_map(|(at, t)| t.index_files.iter().rev().map(move |file| (at, file)));
    let tables = &*found;
    let check = |(at, file): (usize, &IndexFile)| {
        let dir = names::index_dir(&tables[at].table.def.dir);
        Ok((at, index_file::check(&dir, file).err()))
    };
    let checked =
        threads::each_by_size(MOST_PIECES, files.collect(), |(_, file)| file.bytes as usize, check)?;
    for (at, error) in checked {
        found[at].errors.extend(error);
    }
    Ok(())
}

/// About how many owners the files tell of. Most are in one of them only, some in several.
fn expected(files: &[IndexFile]) -> usize {
    let most = files.iter().map(|file| file.entries).max().unwrap_or(0);
    let all: u64 = files.iter().map(|file| file.entries).sum();
    all.min(most + most / 2) as usize
}

/// An index, or a piece of it, with how many rows of each file it says are alive.
#[derive(Default)]
struct Loaded {
    index: KeyIndex,
    alive: HashMap<FileId, u64>,
}

impl Loaded {
    /// Newest file first: an owner's first entry is its last word. A small part of the owners after the other, or each file
    /// would fetch the whole index through the caches. The files were checked.
    fn load(dir: &Path, files: &[IndexFile], owners: &RangeInclusive<u128>) -> Result<Loaded> {
        let Loaded { mut index, mut alive } = Loaded::default();
        index.reserve(expected(files), owners);
        let from = |file: &IndexFile| Entries::open_checked(dir, file)?.from(*owners.start());
        let mut cursors = files.iter().rev().map(from).collect::<Result<Vec<Cursor>>>()?;
        let parts = KeyIndex::ranges(usize::MAX);
        for part in parts.iter().filter(|part| owners.contains(part.start())) {
            for cursor in &mut cursors {
                cursor.each_up_to(*part.end(), |owner, entry| {
                    if index.insert_older(owner, entry) && entry.count > 0 {
                        *alive.entry(entry.file).or_default() += u64::from(entry.count);
                    }
                })?;
            }
        }
        Ok(Loaded { index, alive })
    }

    fn join(&mut self, other: Loaded) {
        self.index.join(other.index);
        for (file, rows) in other.alive {
            *self.alive.entry(file).or_default() += rows;
        }
    }

    /// The index counts, file by file, the rows that are alive. (`_files` has none.)
    fn held_against(self, table: &Table) -> Result<KeyIndex> {
        let alive = table.files.iter().map(|(id, file)| (*id, file.alive())).filter(|(_, rows)| *rows > 0);
        if table.def.name == system::FILES || self.alive == alive.collect::<HashMap<_, _>>() {
            return Ok(self.index);
        }
        Err(Error::Corrupt(format!(
            "{} and its key index disagree ({} rows and {}); run `millrace repair`",
            table.def.dir.display(),
            table.rows_alive(),
            self.index.rows()
        )))
    }
}

/// The index of every table.
fn load_indexes(found: &[Found]) -> Result<Vec<Result<Loaded>>> {
    let entries = |files: &[IndexFile]| files.iter().map(|file| file.entries).sum::<u64>();
    let mut pieces = Vec::new();
    for (at, table) in found.iter().enumerate() {
        let entries = entries(&table.index_files);
        let ranges = KeyIndex::ranges(if entries > PIECE { threads::cores().min(MOST_PIECES) } else { 1 });
        let size = entries as usize / ranges.len();
        pieces.extend(ranges.into_iter().map(|range| (at, range, size)));
    }
    let load = |(at, owners, _): (usize, RangeInclusive<u128>, usize)| {
        let Found { table, index_files, .. } = &found[at];
        Ok((at, Loaded::load(&names::index_dir(&table.def.dir), index_files, &owners)))
    };
    let mut whole: Vec<Result<Loaded>> = found.iter().map(|_| Ok(Loaded::default())).collect();
    for (at, piece) in threads::each_by_size(MOST_PIECES, pieces, |(_, _, size)| *size, load)? {
        match (&mut whole[at], piece) {
            (Ok(whole), Ok(piece)) => whole.join(piece),
            (Ok(_), Err(e)) => whole[at] = Err(e),
            (Err(_), _) => {}
        }
    }
    Ok(whole)
}

/// The index of a table that is not to be opened.
pub fn load_index(table: &TableDef, files: &[IndexFile]) -> Result<KeyIndex> {
    let dir = names::index_dir(&table.dir);
    let errors = files.iter().rev().filter_map(|file| index_file::check(&dir, file).err());
    match Error::all(errors.collect()) {
        Some(e) => Err(e),
        None => Ok(Loaded::load(&dir, files, &(0..=u128::MAX))?.index),
    }
}
