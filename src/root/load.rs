//! Reads a root's tables and indexes into memory and refuses what is not what was written.

use crate::commit::Paths;
use crate::commit::record::Record;
use crate::error::{Error, Result};
use crate::merge::KeyIndex;
use crate::system;
use crate::tables::index_file::{self, IndexFile};
use crate::tables::{Disk, Kernel, Table, TableDef, names};
use crate::threads;

use super::{Identity, State};

pub fn check_root(record: &Record, identity: &Identity, paths: &Paths) -> Result<()> {
    if record.root == identity.root {
        return Ok(());
    }
    Err(Error::Corrupt(format!(
        "the decision record {} belongs to another root; run `millrace repair`",
        paths.decision.display()
    )))
}

/// Opens every table, several at a time: most of it is waiting for files.
pub fn states(
    disk: &dyn Disk,
    kernel: &Kernel,
    defs: Vec<TableDef>,
    record: &Record,
    app: &str,
) -> Result<Vec<State>> {
    threads::each(defs, |def| state(disk, kernel, def, record, app))
}

fn state(disk: &dyn Disk, kernel: &Kernel, def: TableDef, record: &Record, app: &str) -> Result<State> {
    let opened = kernel.open(&def.dir)?;
    let expected = record.versions.get(&def.name).copied().unwrap_or(0);
    let table = Table::new(def, &opened)?;
    let dir = table.def.dir.display();
    if opened.version > expected {
        return Err(Error::Foreign(format!(
            "{dir}: somebody else wrote version {} of this table (millrace's last is {expected}); stop whatever \
             else writes to it, then run `millrace repair`",
            opened.version
        )));
    }
    if opened.version < expected {
        return Err(Error::Corrupt(format!(
            "{dir}: its log ends at version {}, but version {expected} was committed; run `millrace repair`",
            opened.version
        )));
    }
    if kernel.txn(&opened, app, &table.def.dir)?.is_some_and(|batch| batch > record.batch) {
        return Err(Error::Corrupt(format!(
            "{dir} is newer than the decision record; run `millrace repair`"
        )));
    }
    let index_files = record.index.get(&table.def.name).cloned().unwrap_or_default();
    let index = load_index(disk, &table, &index_files)?;
    if table.def.name != system::FILES && index.rows() != table.rows_alive() {
        return Err(Error::Corrupt(format!(
            "{dir} has {} rows, its key index {}; run `millrace repair`",
            table.rows_alive(),
            index.rows()
        )));
    }
    Ok(State { table, index, index_files })
}

/// Newest file first: an owner's first entry is its last word.
fn load_index(disk: &dyn Disk, table: &Table, files: &[IndexFile]) -> Result<KeyIndex> {
    let mut index = KeyIndex::default();
    for file in files.iter().rev() {
        let entries = read_index(disk, table, file)?;
        index.reserve(entries.len());
        for (owner, entry) in entries {
            index.insert_older(owner, entry);
        }
    }
    Ok(index)
}

/// Reads one index file and holds it against the record's checksum.
pub fn read_index(
    disk: &dyn Disk,
    table: &Table,
    file: &IndexFile,
) -> Result<Vec<(u128, crate::batch::Entry)>> {
    let path = names::index_dir(&table.def.dir).join(&file.name);
    let damaged = |why: String| {
        Error::Corrupt(format!("the key index file {} {why}; run `millrace repair`", path.display()))
    };
    let bytes = match disk.read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(damaged("is missing".into())),
        other => other.map_err(|e| Error::io("reading", &path, e))?,
    };
    if index_file::checksum(&bytes) != file.checksum {
        return Err(damaged("is damaged (its checksum does not match)".into()));
    }
    index_file::decode(&bytes).map_err(|why| damaged(format!("cannot be read ({why})")))
}
