//! The mirror as any program sees it: every column of text, read with plain SQL.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::expected::Expected;
use crate::support::oracle;

pub fn compare(database: &Path, expected: &Expected) -> Result<(), String> {
    look(database, expected).unwrap_or_else(|e| Err(format!("the mirror cannot be read: {e}")))
}

fn look(database: &Path, expected: &Expected) -> rusqlite::Result<Result<(), String>> {
    let mirror = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    for (table, rows) in &expected.tables {
        let columns = text_columns(&mirror, table)?;
        let at: Vec<usize> =
            columns.iter().filter_map(|c| oracle::columns(table).iter().position(|o| o == c)).collect();
        let names: Vec<String> = at.iter().map(|&c| format!("\"{}\"", oracle::columns(table)[c])).collect();
        let mut select = mirror.prepare(&format!("select {} from \"{table}\"", names.join(", ")))?;
        let row =
            |row: &rusqlite::Row<'_>| (0..at.len()).map(|c| row.get(c)).collect::<rusqlite::Result<_>>();
        let mut found: Vec<oracle::Row> = select.query_map([], row)?.collect::<rusqlite::Result<_>>()?;
        let mut wanted: Vec<oracle::Row> =
            rows.iter().map(|row| at.iter().map(|&c| row[c].clone()).collect()).collect();
        found.sort();
        wanted.sort();
        if found != wanted {
            return Ok(Err(format!(
                "mirror: {table} has {} rows, must have {}: or others",
                found.len(),
                wanted.len()
            )));
        }
    }
    let sql = "select file, byte_offset from _quarantine order by file, byte_offset";
    let mut select = mirror.prepare(sql)?;
    let found: Vec<(String, i64)> =
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    Ok(if found == expected.quarantine { Ok(()) } else { Err(format!("mirror: quarantine has {found:?}")) })
}

fn text_columns(mirror: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut info = mirror.prepare("select name from pragma_table_info(?1) where type = 'TEXT'")?;
    info.query_map([table], |row| row.get(0))?.collect()
}
