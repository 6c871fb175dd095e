//! Reads a root's tables and indexes into memory and refuses what is not what was written.

use crate::commit::Paths;
use crate::commit::record::Record;
use crate::error::{Error, Result};
use crate::merge::KeyIndex;
use crate::system;
use crate::tables::index_file::{Entries, IndexFile};
use crate::tables::{Kernel, Table, TableDef, names};
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
pub fn states(kernel: &Kernel, defs: Vec<TableDef>, record: &Record, app: &str) -> Result<Vec<State>> {
    threads::each(defs, |def| state(kernel, def, record, app))
}

fn state(kernel: &Kernel, def: TableDef, record: &Record, app: &str) -> Result<State> {
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
    let index = load_index(&table, &index_files)?;
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
fn load_index(table: &Table, files: &[IndexFile]) -> Result<KeyIndex> {
    let mut index = KeyIndex::default();
    let dir = names::index_dir(&table.def.dir);
    for file in files.iter().rev() {
        let mut entries = Entries::open(&dir, file)?;
        while let Some(rows) = entries.next_rows()? {
            for (owner, entry) in rows {
                index.insert_older(owner, entry);
            }
        }
    }
    Ok(index)
}
