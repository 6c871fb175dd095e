//! The mirror against the tables: the same batch, the same rows.

use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};
use crate::mirror::inspect::Inspector;
use crate::mirror::{Column, canonical};
use crate::root::Root;
use crate::run::level::{system_tables, table_ref};

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
    if findings.mirror_batch != Some(root.record.batch) {
        findings.differences.push(format!(
            "mirror: it is at batch {}, the tables at {}; the next `millrace run` brings it level",
            findings.mirror_batch.map_or("none".into(), |b| b.to_string()),
            root.record.batch
        ));
        return Ok(());
    }
    findings.differences.extend(mirror.integrity()?.into_iter().map(|l| format!("mirror: {l}")));
    for at in 0..root.states.len() {
        let (ours, theirs) = (of_table(root, at)?, of_mirror(root, &mirror, at)?);
        if ours != theirs {
            findings.differences.push(format!(
                "mirror: {} has other rows than the table ({} and {}); delete {} and run again",
                root.states[at].table.def.name,
                theirs.rows,
                ours.rows,
                database.display()
            ));
        }
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

fn of_table(root: &Root, at: usize) -> Result<Contents> {
    let table = &root.states[at].table;
    let mut contents = Contents::default();
    let mut scratch = String::new();
    for &file in table.files.keys() {
        for batch in table.read(file)? {
            let rows = batch?.rows;
            let columns: Vec<Column<'_>> = rows.columns().iter().map(Column::new).collect::<Result<_>>()?;
            for row in 0..rows.num_rows() {
                contents.add(columns.iter().map(|c| canonical(c, row, &mut scratch)));
            }
        }
    }
    Ok(contents)
}

fn of_mirror(root: &Root, mirror: &Inspector, at: usize) -> Result<Contents> {
    let mut contents = Contents::default();
    mirror.contents(table_ref(root, at), &mut |values| {
        contents.add(values.into_iter());
        Ok(())
    })?;
    Ok(contents)
}
