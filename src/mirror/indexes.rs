//! The mirror's indexes beside the primary keys: dropped before many rows come, made when they are there.

use rusqlite::Connection;

use super::ddl::{Ddl, Object, TableDdl, quoted};
use super::fault::Fault;
use crate::error::Result;

/// Drops those that only readers need, if no table has a row. True if it did.
pub fn put_off(conn: &Connection, ddl: &Ddl) -> Result<bool, Fault> {
    for table in &ddl.tables {
        let any = format!("SELECT 1 FROM {} LIMIT 1", quoted(&table.name));
        if conn.prepare(&any)?.exists([])? {
            return Ok(false);
        }
    }
    ddl.tables.iter().flat_map(TableDdl::for_readers).try_for_each(|index| drop_one(conn, index))?;
    Ok(true)
}

/// Drops all.
pub fn drop_all(conn: &Connection, ddl: &Ddl) -> Result<(), Fault> {
    ddl.tables.iter().flat_map(|table| &table.indexes).try_for_each(|index| drop_one(conn, index))
}

fn drop_one(conn: &Connection, index: &Object) -> Result<(), Fault> {
    conn.execute(&format!("DROP INDEX IF EXISTS {}", quoted(&index.name)), [])?;
    Ok(())
}

/// Makes those that are missing, at most so many. True if no more are.
pub fn make(conn: &Connection, ddl: &Ddl, most: usize) -> Result<bool, Fault> {
    let known = "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?";
    let mut made = 0;
    for index in ddl.tables.iter().flat_map(|table| &table.indexes) {
        if conn.prepare_cached(known)?.exists([&index.name])? {
            continue;
        }
        if made == most {
            return Ok(false);
        }
        conn.execute(&index.sql, [])?;
        made += 1;
    }
    Ok(true)
}
