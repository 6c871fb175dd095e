//! Verify: do tables, ledger, key index and mirror tell the same story? Looks at everything, changes nothing.

mod log;
mod mirror;
mod tables;

use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::root::Root;

/// What was found. No differences: everything agrees.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    pub tables: Vec<TableFindings>,
    /// What differs, in words.
    pub differences: Vec<String>,
    /// References to rows that are not there: normal while events are missing, so no difference.
    pub orphans: Vec<Orphans>,
    /// `None`: no mirror.
    pub mirror_batch: Option<u64>,
    /// The mirror lacks batches that the next run brings it: no difference. What no later batch touched was compared.
    pub mirror_behind: bool,
    pub batch: u64,
}

#[derive(Debug, Serialize)]
pub struct TableFindings {
    pub table: String,
    pub rows: u64,
    pub files: u64,
    pub version: u64,
    /// Entries of the key index; 0 for `_files`, which has none.
    pub owners: u64,
}

#[derive(Debug, Serialize)]
pub struct Orphans {
    pub table: String,
    pub reference: String,
    pub rows: u64,
}

/// Compares everything. `database` is the mirror's file; where there is none, it is not missed. (An empty one is what a
/// reader leaves that came before it.)
pub fn verify(root: &Root, database: &Path) -> Result<Findings> {
    let mut findings = tables_only(root)?;
    if std::fs::metadata(database).is_ok_and(|m| !m.is_file() || m.len() > 0) {
        mirror::compare(root, database, &mut findings)?;
    }
    Ok(findings)
}

/// Compares tables, logs, key indexes and the ledger, without the mirror.
pub fn tables_only(root: &Root) -> Result<Findings> {
    let mut findings = Findings { batch: root.record.batch, ..Findings::default() };
    let mut batches = std::collections::HashSet::new();
    for at in 0..root.states.len() {
        batches.extend(tables::table(root, at, &mut findings)?);
    }
    match tables::ledger(root, &batches, &mut findings) {
        // Unless it was found already, with what else is wrong with the table.
        Err(Error::Corrupt(what)) if findings.differences.is_empty() => findings.differences.push(what),
        Err(Error::Corrupt(_)) | Ok(()) => {}
        Err(e) => return Err(e),
    }
    Ok(findings)
}
