//! Reads a root's tables and indexes into memory and refuses what is not what was written.

use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use crate::batch::FileId;
use crate::commit::Paths;
use crate::commit::record::Record;
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::merge::KeyIndex;
use crate::system;
use crate::tables::index_file::{Entries, IndexFile};
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

impl Loader<'_> {
    /// Opens every table, several at a time: most of it is waiting for files. Returns also what there is to say.
    pub fn states(&self, defs: Vec<TableDef>) -> Result<(Vec<State>, Vec<String>)> {
        let opened = threads::each(defs, |def| Ok(self.state(def)))?;
        let (mut states, mut notes, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for table in opened {
            match table {
                Ok((state, told)) => {
                    states.push(state);
                    notes.extend(told);
                }
                Err(e) => errors.push(e),
            }
        }
        Error::all(errors).map_or(Ok((states, notes)), Err)
    }

    fn state(&self, def: TableDef) -> Result<(State, Vec<String>)> {
        let mut notes = Vec::new();
        check_log(&def)?;
        let opened = heal::open(self.disk, self.kernel, self.paths, &def, &mut notes)?;
        fault::point("load.opened");
        self.check_version(&def, &opened)?;
        let table = Table::new(def, &opened)?;
        let index_files = self.record.index.get(&table.def.name).cloned().unwrap_or_default();
        let mut errors = damaged_files(&table);
        let index = load_index(&table.def, &index_files).map_err(|e| errors.push(e)).unwrap_or_default();
        if let Some(e) = Error::all(errors) {
            return Err(e);
        }
        if table.def.name != system::FILES {
            check_index(&table, &index)?;
        }
        Ok((State { table, index, index_files }, notes))
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

/// The index counts, file by file, the rows that are alive.
fn check_index(table: &Table, index: &KeyIndex) -> Result<()> {
    let mut counted: HashMap<FileId, u64> = HashMap::new();
    for (_, entry) in index.iter().filter(|(_, e)| e.count > 0) {
        *counted.entry(entry.file).or_default() += u64::from(entry.count);
    }
    let alive = table.files.iter().map(|(id, file)| (*id, file.alive())).filter(|(_, rows)| *rows > 0);
    if counted == alive.collect::<HashMap<_, _>>() {
        return Ok(());
    }
    Err(Error::Corrupt(format!(
        "{} and its key index disagree ({} rows and {}); run `millrace repair`",
        table.def.dir.display(),
        table.rows_alive(),
        index.rows()
    )))
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

/// Newest file first: an owner's first entry is its last word.
pub fn load_index(table: &TableDef, files: &[IndexFile]) -> Result<KeyIndex> {
    let mut index = KeyIndex::default();
    index.reserve(files.iter().map(|file| file.entries).max().unwrap_or(0) as usize);
    let dir = names::index_dir(&table.dir);
    let mut errors = Vec::new();
    for file in files.iter().rev() {
        errors.extend(load_index_file(&mut index, &dir, file).err());
    }
    Error::all(errors).map_or(Ok(index), Err)
}

fn load_index_file(index: &mut KeyIndex, dir: &Path, file: &IndexFile) -> Result<()> {
    let mut entries = Entries::open(dir, file)?;
    while let Some(rows) = entries.next_rows()? {
        for (owner, entry) in rows {
            index.insert_older(owner, entry);
        }
    }
    Ok(())
}
