//! What the SQLite mirror holds, held against the oracle by plain SQL: none of the product's readers takes part.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::oracle::{self, Cell, Row};
use super::taking::Contents;

/// In what the mirror differs from what is expected; nothing: it is level and right.
pub fn differences(database: &Path, expected: &Contents) -> Vec<String> {
    let opened = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let conn = match opened {
        Ok(conn) => conn,
        Err(e) => return vec![e.to_string()],
    };
    conn.busy_timeout(std::time::Duration::from_secs(2)).unwrap();
    expected.iter().filter_map(|(table, rows)| difference(&conn, table, rows)).collect()
}

fn difference(conn: &Connection, table: &str, expected: &[Row]) -> Option<String> {
    let found = match rows(conn, table) {
        Ok(found) => found,
        Err(e) => return Some(format!("{table}: {e}")),
    };
    if found.len() != expected.len() {
        return Some(format!("{table}: {} rows instead of {}", found.len(), expected.len()));
    }
    let expected = sorted(table, expected.to_vec());
    let wrong =
        expected.iter().zip(&found).filter(|(e, f)| !e.iter().zip(*f).all(|(e, f)| same(e, f))).count();
    (wrong > 0).then(|| format!("{table}: {wrong} rows are other rows"))
}

/// Text as SQLite has it; a number with a mark in front, so that it is compared as one.
fn rows(conn: &Connection, table: &str) -> rusqlite::Result<Vec<Row>> {
    let columns: Vec<String> = oracle::columns(table).iter().map(|c| format!("\"{c}\"")).collect();
    let mut statement = conn.prepare(&format!("SELECT {} FROM \"{table}\"", columns.join(", ")))?;
    let width = columns.len();
    let cell = |value: ValueRef<'_>| match value {
        ValueRef::Null => None,
        ValueRef::Integer(i) => Some(format!("{NUMBER}{i}")),
        ValueRef::Real(r) => Some(format!("{NUMBER}{r}")),
        ValueRef::Text(t) => Some(String::from_utf8_lossy(t).into_owned()),
        ValueRef::Blob(b) => Some(format!("{b:x?}")),
    };
    let found = statement.query_map([], |row| (0..width).map(|i| row.get_ref(i).map(cell)).collect())?;
    Ok(sorted(table, found.collect::<rusqlite::Result<Vec<Row>>>()?))
}

const NUMBER: char = '\u{1}';

fn same(expected: &Cell, found: &Cell) -> bool {
    match (expected, found) {
        (Some(e), Some(f)) => match f.strip_prefix(NUMBER) {
            Some(number) => matches!((e.parse::<f64>(), number.parse::<f64>()), (Ok(e), Ok(f)) if e == f),
            None => e == f,
        },
        (e, f) => e == f,
    }
}

fn sorted(table: &str, mut rows: Vec<Row>) -> Vec<Row> {
    let columns = oracle::columns(table);
    let at = |name: &&str| columns.iter().position(|c| c == name).unwrap();
    let key: Vec<usize> = oracle::key_columns(table).iter().map(at).collect();
    let text = |cell: &Cell| cell.as_ref().map(|t| t.trim_start_matches(NUMBER).to_owned());
    rows.sort_by_cached_key(|row| key.iter().map(|&k| text(&row[k])).collect::<Vec<_>>());
    rows
}
