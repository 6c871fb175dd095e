//! The mirror against the tables: the same batch, the same rows.

use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};
use crate::key::OwnerHash;
use crate::maintain::compact::owner_columns;
use crate::mirror::inspect::Inspector;
use crate::mirror::{Column, canonical};
use crate::origin::BATCH;
use crate::root::Root;
use crate::run::contents::{system_tables, table_ref};

use super::{Findings, Orphans};

pub fn compare(root: &Root, database: &Path, findings: &mut Findings) -> Result<()> {
    if let Err(e) = look(root, database, findings) {
        match e {
            Error::Corrupt(_) | Error::Io { .. } | Error::Bug(_) | Error::Config(_) => {
                findings.differences.push(format!("mirror: {e}"));
            }
            other => return Err(other),
        }
    }
    Ok(())
}

fn look(root: &Root, database: &Path, findings: &mut Findings) -> Result<()> {
    let mirror = Inspector::open(database, &root.pipeline, &system_tables())?;
    findings.mirror_batch = mirror.batch()?;
    if mirror.root()? != root.identity.root {
        let what = "mirror: it mirrors the tables of another root; the next `millrace run` moves it aside";
        findings.differences.push(what.into());
        return Ok(());
    }
    let tables = root.record.batch;
    let level = match findings.mirror_batch {
        Some(batch) if batch > tables => {
            findings.differences.push(format!(
                "mirror: it is at batch {batch}, the tables at {tables} only; the next `millrace run` fills it again"
            ));
            return Ok(());
        }
        batch => batch.unwrap_or(0),
    };
    // A batch is in the tables first: a mirror that a kill left behind is no contradiction.
    findings.mirror_behind = findings.mirror_batch != Some(tables);
    findings.differences.extend(mirror.integrity()?.into_iter().map(|l| format!("mirror: {l}")));
    for at in 0..root.states.len() {
        let since = findings.mirror_behind.then_some(level);
        let ours = match of_table(root, at, since) {
            // Said already; the mirror may well be the one that is right.
            Err(Error::Corrupt(_)) if !findings.differences.is_empty() => continue,
            ours => ours?,
        };
        let theirs = of_mirror(root, &mirror, at, since)?;
        if ours != theirs {
            findings.differences.push(format!(
                "mirror: {} has other rows than the table ({} and {}{}); delete {} and run again",
                root.states[at].table.def.name,
                theirs.rows,
                ours.rows,
                if findings.mirror_behind { ", of those unchanged since its batch" } else { "" },
                database.display()
            ));
        }
    }
    if findings.mirror_behind {
        return Ok(());
    }
    findings.orphans = mirror
        .orphans()?
        .into_iter()
        .filter(|o| o.count > 0)
        .map(|o| Orphans {
            reference: format!("{} -> {}", o.columns.join(", "), o.refers_to),
            table: o.table,
            rows: o.count,
        })
        .collect();
    Ok(())
}

/// Rows as a set: their number and the sum of their hashes, whatever their order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    rows: u64,
    sum: u128,
}

impl Contents {
    fn add(&mut self, values: impl Iterator<Item = Option<String>>) {
        let mut hash = Xxh3::new();
        for value in values {
            match value {
                None => hash.update(b"-"),
                Some(text) => {
                    hash.update(text.len().to_string().as_bytes());
                    hash.update(b":");
                    hash.update(text.as_bytes());
                }
            }
        }
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash.digest128());
    }
}

/// What the table holds; `since`: only what no later batch has touched.
fn of_table(root: &Root, at: usize, since: Option<u64>) -> Result<Contents> {
    let table = &root.states[at].table;
    let mut contents = Contents::default();
    let mut scratch = String::new();
    let ledger = at == root.files();
    for &file in table.files.keys() {
        // The rows of an owner that changed stand in a later file; a compaction changes nothing and is passed over
        // all the same. The ledger has no owners: its rows say themselves when they came.
        if !ledger && since.is_some_and(|since| u64::from(file) > since) {
            continue;
        }
        for batch in table.read(file)? {
            let rows = batch?.rows;
            let columns: Vec<Column<'_>> = rows.columns().iter().map(Column::new).collect::<Result<_>>()?;
            for row in 0..rows.num_rows() {
                let values: Vec<_> = columns.iter().map(|c| canonical(c, row, &mut scratch)).collect();
                if !ledger || is_older(root, at, &values, since) {
                    contents.add(values.into_iter());
                }
            }
        }
    }
    Ok(contents)
}

fn of_mirror(root: &Root, mirror: &Inspector, at: usize, since: Option<u64>) -> Result<Contents> {
    let mut contents = Contents::default();
    mirror.contents(table_ref(root, at), &mut |values| {
        if is_older(root, at, &values, since) {
            contents.add(values.into_iter());
        }
        Ok(())
    })?;
    Ok(contents)
}

/// No batch after `since` has touched the row. (An owner that the index does not know was never changed by us.)
fn is_older(root: &Root, at: usize, values: &[Option<String>], since: Option<u64>) -> bool {
    let Some(since) = since else { return true };
    let state = &root.states[at];
    let text = |column: usize| values.get(column).and_then(Option::as_deref).unwrap_or_default();
    if at == root.files() {
        let column = state.table.def.schema.index_of(BATCH).unwrap_or_default();
        return text(column).parse().is_ok_and(|batch: u64| batch <= since);
    }
    let mut hash = OwnerHash::new();
    owner_columns(root, at).into_iter().for_each(|column| hash.part(text(column).as_bytes()));
    state.index.get(hash.finish()).is_none_or(|entry| u64::from(entry.file) <= since)
}
