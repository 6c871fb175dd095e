//! Rows of the mirror: deleted by owner, inserted in the order of their key.

use std::cmp::Ordering;

use arrow::array::RecordBatch;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};

use super::bind::{Column, bind_row, columns, text_of};
use super::ddl::{TableDdl, quoted};
use super::fault::Fault;
use crate::batch::KeyPart;
use crate::error::{Error, Result};
use crate::key::OwnerHash;

/// Rows of one `INSERT`: a tenth faster than one at a time; more gains nothing (measured).
const ROWS_AT_ONCE: usize = 8;

/// Where rows are sorted before they fill a table.
const STAGE: &str = "temp.\"millrace_stage\"";

/// From so many rows on, columns that are the same in all of them are bound once: the batch, its time, often the file.
const MANY: usize = 256;

/// SQLite's default bound on parameters of a statement.
const PARAMETERS: usize = 32_766;

// ------------------------------------------------------------------------------------------------- deleting

fn delete_statement(table: &TableDdl) -> String {
    let equal: Vec<String> =
        table.owner.iter().map(|&c| format!("{} = ?", quoted(&table.columns[c].name))).collect();
    format!("DELETE FROM {} WHERE {}", quoted(&table.name), equal.join(" AND "))
}

/// Deletes what the owners had that the rows at `named` belong to.
pub fn delete_owners(
    conn: &Connection,
    table: &TableDdl,
    rows: &RecordBatch,
    named: impl ExactSizeIterator<Item = usize>,
) -> Result<(), Fault> {
    if table.owner.is_empty() || named.len() == 0 {
        return Ok(());
    }
    let all = columns(table, rows)?;
    let owner: Vec<&Column<'_>> = table.owner.iter().filter_map(|&c| all.get(c)).collect();
    let mut delete = conn.prepare_cached(&delete_statement(table))?;
    let mut scratch = String::new();
    for row in named {
        bind_row(&mut delete, 1, owner.iter().copied(), row, &mut scratch)?;
        delete.raw_execute()?;
    }
    Ok(())
}

pub fn delete_emptied(conn: &Connection, table: &TableDdl, emptied: &[Vec<KeyPart>]) -> Result<(), Fault> {
    if emptied.is_empty() {
        return Ok(());
    }
    let mut delete = conn.prepare_cached(&delete_statement(table))?;
    for key in emptied {
        if key.len() != table.owner.len() {
            return Err(Error::Bug(format!("`{}` is told of an emptied key {key:?}", table.name)).into());
        }
        delete.execute(params_from_iter(
            key.iter()
                .map(|part| match part {
                    KeyPart::Text(t) => ValueRef::Text(t.as_bytes()),
                    KeyPart::Int(i) => ValueRef::Integer(*i),
                })
                .map(ToSqlOutput::Borrowed),
        ))?;
    }
    Ok(())
}

/// Deletes the rows whose owner's hash says yes. The scan runs over the primary key's index alone, and what it
/// keeps is eight bytes a row.
pub fn delete_changed(
    conn: &Connection,
    table: &TableDdl,
    changed: &dyn Fn(u128) -> bool,
) -> Result<(), Fault> {
    if table.owner.is_empty() {
        return Err(Error::Bug(format!("`{}` has no owner to catch up by", table.name)).into());
    }
    let (name, rowid) = (quoted(&table.name), rowid(table)?);
    let mut scan = conn.prepare(&format!("SELECT {rowid}, {} FROM {name}", table.list(&table.owner)))?;
    let mut rows = scan.query([])?;
    let mut gone: Vec<i64> = Vec::new();
    while let Some(row) = rows.next()? {
        let mut hash = OwnerHash::new();
        for part in 1..=table.owner.len() {
            hash.part(text_of(row.get_ref(part)?).unwrap_or_default().as_bytes());
        }
        if changed(hash.finish()) {
            gone.push(row.get(0)?);
        }
    }
    let mut delete = conn.prepare(&format!("DELETE FROM {name} WHERE {rowid} = ?"))?;
    for id in gone {
        delete.execute([id])?;
    }
    Ok(())
}

/// A name of SQLite's own row number that no column of the table hides.
fn rowid(table: &TableDdl) -> Result<&'static str> {
    let free = |name: &&str| !table.columns.iter().any(|c| c.name.eq_ignore_ascii_case(name));
    let found = ["_rowid_", "rowid", "oid"].into_iter().find(free);
    found.ok_or_else(|| Error::Bug(format!("`{}` has columns rowid, _rowid_ and oid", table.name)))
}

pub fn delete_all(conn: &Connection, table: &TableDdl) -> Result<(), Fault> {
    conn.execute(&format!("DELETE FROM {}", quoted(&table.name)), [])?;
    Ok(())
}

// ------------------------------------------------------------------------------------------------ inserting

/// Fills an empty table in the order of its key. Rows in the order of their arrival would touch the key's index
/// all over: with ten million of them every page is written many times, and each time again to the log. So they
/// go through a temporary table, which is not logged, and SQLite's external sort.
pub fn fill(
    conn: &Connection,
    table: &TableDdl,
    rows: impl IntoIterator<Item = Result<RecordBatch>>,
) -> Result<(), Fault> {
    let (name, all) = (quoted(&table.name), table.all_columns());
    conn.execute(&format!("CREATE TABLE {STAGE} AS SELECT * FROM {name} WHERE 0"), [])?;
    for batch in rows {
        insert(conn, table, Into::Stage, &batch?)?;
    }
    let order =
        if table.key.is_empty() { String::new() } else { format!(" ORDER BY {}", table.list(&table.key)) };
    conn.execute(&format!("INSERT OR FAIL INTO {name} ({all}) SELECT {all} FROM {STAGE}{order}"), [])?;
    conn.execute(&format!("DROP TABLE {STAGE}"), [])?;
    Ok(())
}

/// Where rows go, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// New rows of the table.
    Table,
    /// Rows of the table, each in place of the one with its key.
    Replacing,
    /// What [`fill`] sorts.
    Stage,
}

pub fn insert(conn: &Connection, table: &TableDdl, into: Into, rows: &RecordBatch) -> Result<(), Fault> {
    let all = columns(table, rows)?;
    let many = rows.num_rows() >= MANY;
    let (same, each): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|&c| many && all[c].is_constant());
    let pick = |of: &[usize]| of.iter().filter_map(|&c| all.get(c)).collect::<Vec<_>>();
    let (constant, varying) = (pick(&same), pick(&each));
    let order = if into == Into::Stage { Vec::new() } else { by_key(table, &all, rows.num_rows()) };
    let at = |position: usize| order.get(position).map_or(position, |&row| row as usize);
    let room = PARAMETERS.saturating_sub(same.len()) / each.len().max(1);
    let group = room.clamp(1, ROWS_AT_ONCE);
    let mut scratch = String::new();
    let mut begun = 0;
    for size in [group, 1] {
        let count = (rows.num_rows() - begun) / size * size;
        if count == 0 {
            continue;
        }
        let mut insert = conn.prepare_cached(&insert_statement(table, into, size, &same))?;
        // A statement keeps what is bound to it.
        bind_row(&mut insert, 1, constant.iter().copied(), 0, &mut scratch)?;
        for position in 0..count {
            let first = 1 + same.len() + position % size * each.len();
            bind_row(&mut insert, first, varying.iter().copied(), at(begun + position), &mut scratch)?;
            if position % size == size - 1 {
                insert.raw_execute()?;
            }
        }
        begun += count;
    }
    Ok(())
}

/// The rows in the order of their key, so that neighbours in its index come one after the other. What is not text is
/// left as it stands; nothing hangs on it.
fn by_key(table: &TableDdl, columns: &[Column<'_>], rows: usize) -> Vec<u32> {
    let mut key = table.key.iter().filter_map(|&c| columns.get(c));
    let first = key.next();
    let rest: Vec<&Column<'_>> = key.collect();
    let text = |row: u32| first.and_then(|column| column.text(row as usize)).unwrap_or_default();
    let compare_rest = |a: u32, b: u32| {
        let parts = rest.iter().map(|c| c.text(a as usize).cmp(&c.text(b as usize)));
        parts.fold(Ordering::Equal, Ordering::then)
    };
    let mut order: Vec<(&[u8], u32)> = (0..rows as u32).map(|row| (text(row), row)).collect();
    order.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| compare_rest(*x, *y)));
    order.into_iter().map(|(_, row)| row).collect()
}

/// Parameters of the columns that are the same in all rows stand first, then row by row those of the others.
///
/// `OR FAIL`: a row that cannot go in ends the transaction, so SQLite need not keep a journal to undo the other
/// rows of its statement. With it, inserts of several rows were slower than single ones by half.
fn insert_statement(table: &TableDdl, into: Into, rows: usize, same: &[usize]) -> String {
    let (verb, name) = match into {
        Into::Table => ("INSERT OR FAIL", quoted(&table.name)),
        Into::Replacing => ("INSERT OR REPLACE", quoted(&table.name)),
        Into::Stage => ("INSERT OR FAIL", STAGE.to_string()),
    };
    let mut next = same.len();
    let mut parameter = |column: usize| match same.iter().position(|&c| c == column) {
        Some(at) => format!("?{}", at + 1),
        None => {
            next += 1;
            format!("?{next}")
        }
    };
    let mut row = || (0..table.columns.len()).map(&mut parameter).collect::<Vec<_>>().join(",");
    let rows: Vec<String> = (0..rows).map(|_| format!("({})", row())).collect();
    format!("{verb} INTO {name} ({}) VALUES {}", table.all_columns(), rows.join(","))
}
