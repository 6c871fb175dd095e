//! Looking at the mirror for `verify`: how far it is, how much it holds, what it holds, what refers to nothing.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::bind::text_of;
use super::ddl::{Ddl, Foreign, STATE, SystemTable, TableDdl, quoted};
use super::fault::named;
use super::{TableRef, reader};
use crate::error::{Error, Result};
use crate::pipeline::model::Pipeline;

/// The mirror, open for reading; works beside a writer, and sees one state for as long as a call lasts.
pub struct Inspector {
    conn: Connection,
    ddl: Ddl,
    path: PathBuf,
}

/// Rows whose reference has no row at its other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphans {
    pub table: String,
    pub columns: Vec<String>,
    pub refers_to: String,
    pub count: u64,
}

impl Inspector {
    /// # Errors
    /// `Config` if there is no mirror; `Busy`, `Corrupt`, `Io`.
    pub fn open(path: &Path, pipeline: &Pipeline, system: &[SystemTable]) -> Result<Self> {
        let conn = reader::open(path)?;
        Ok(Inspector { conn, ddl: Ddl::of(pipeline, system), path: path.to_path_buf() })
    }

    /// The batch it is level with; `None` if it was never filled.
    ///
    /// # Errors
    /// `Bug` if it has no such table; `Busy`, `Corrupt`, `Io`.
    pub fn batch(&self) -> Result<Option<u64>> {
        let sql = format!("SELECT batch_id FROM {}", quoted(STATE));
        let stored: Option<i64> = self.run(|c| c.query_row(&sql, [], |r| r.get(0)))?;
        Ok(stored.and_then(|b| u64::try_from(b).ok()))
    }

    /// The root whose tables it mirrors.
    ///
    /// # Errors
    /// As [`Inspector::batch`].
    pub fn root(&self) -> Result<String> {
        let sql = format!("SELECT root_id FROM {}", quoted(STATE));
        self.run(|c| c.query_row(&sql, [], |r| r.get(0)))
    }

    /// Reads the whole file; what is wrong with it, one line each, at most a hundred.
    ///
    /// # Errors
    /// `Busy`, `Corrupt`, `Io`.
    pub fn integrity(&self) -> Result<Vec<String>> {
        let lines: Vec<String> = self.run(|c| {
            let mut statement = c.prepare("PRAGMA integrity_check(100)")?;
            statement.query_map([], |r| r.get(0))?.collect()
        })?;
        Ok(lines.into_iter().filter(|l| l != "ok").collect())
    }

    /// # Errors
    /// `Bug` for a table that the mirror has not; `Busy`, `Corrupt`, `Io`.
    pub fn count(&self, table: TableRef<'_>) -> Result<u64> {
        count(&self.conn, self.table(table)?, &self.path)
    }

    /// Hands every row to `visit`, in the order of the key (text by its bytes): the pipeline's columns, then the
    /// `_` columns. Values are text as [`super::canonical`] spells them.
    ///
    /// # Errors
    /// What `visit` says; else as [`Inspector::count`].
    pub fn contents(
        &self,
        table: TableRef<'_>,
        visit: &mut dyn FnMut(Vec<Option<String>>) -> Result<()>,
    ) -> Result<()> {
        let table = self.table(table)?;
        let mut sql = format!("SELECT {} FROM {}", table.all_columns(), quoted(&table.name));
        if !table.key.is_empty() {
            sql.push_str(&format!(" ORDER BY {}", table.list(&table.key)));
        }
        let mut statement = self.run(|c| c.prepare(&sql))?;
        let mut rows = statement.query([]).map_err(|e| self.named(e))?;
        while let Some(row) = rows.next().map_err(|e| self.named(e))? {
            let value = |i| row.get_ref(i).map(|v| text_of(v).map(|t| t.into_owned()));
            let values: rusqlite::Result<Vec<_>> = (0..table.columns.len()).map(value).collect();
            visit(values.map_err(|e| self.named(e))?)?;
        }
        Ok(())
    }

    /// Rows that refer to nothing, for every reference of the pipeline; a reference that is null refers to
    /// nothing on purpose and is not counted. Reads whole tables.
    ///
    /// # Errors
    /// `Busy`, `Corrupt`, `Io`.
    pub fn orphans(&self) -> Result<Vec<Orphans>> {
        orphans(&self.conn, &self.ddl, &self.path)
    }

    fn table(&self, table: TableRef<'_>) -> Result<&TableDdl> {
        self.ddl.find(table)
    }

    fn run<'c, T>(&'c self, work: impl FnOnce(&'c Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.conn).map_err(|e| self.named(e))
    }

    fn named(&self, e: rusqlite::Error) -> Error {
        named(&self.path, "reading the mirror", e)
    }
}

pub(super) fn count(conn: &Connection, table: &TableDdl, path: &Path) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM {}", quoted(&table.name));
    let rows: rusqlite::Result<i64> = conn.query_row(&sql, [], |r| r.get(0));
    rows.map(i64::unsigned_abs).map_err(|e| named(path, "reading the mirror", e))
}

pub(super) fn orphans(conn: &Connection, ddl: &Ddl, path: &Path) -> Result<Vec<Orphans>> {
    let mut out = Vec::new();
    for table in &ddl.tables {
        for foreign in &table.references {
            let Some(target) = ddl.tables.get(foreign.table) else { continue };
            let sql = anti_join(table, foreign, target);
            let count: i64 =
                conn.query_row(&sql, [], |r| r.get(0)).map_err(|e| named(path, "reading the mirror", e))?;
            out.push(Orphans {
                table: table.name.clone(),
                columns: foreign.columns.iter().map(|&c| table.columns[c].name.clone()).collect(),
                refers_to: target.name.clone(),
                count: count.unsigned_abs(),
            });
        }
    }
    Ok(out)
}

fn anti_join(table: &TableDdl, foreign: &Foreign, target: &TableDdl) -> String {
    let ours = |c: usize| format!("ours.{}", quoted(&table.columns[c].name));
    let there: Vec<String> = foreign.columns.iter().map(|&c| format!("{} IS NOT NULL", ours(c))).collect();
    let same = foreign.columns.iter().zip(&foreign.their);
    let same: Vec<String> =
        same.map(|(&c, &t)| format!("theirs.{} = {}", quoted(&target.columns[t].name), ours(c))).collect();
    format!(
        "SELECT count(*) FROM {} AS ours WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS theirs WHERE {})",
        quoted(&table.name),
        there.join(" AND "),
        quoted(&target.name),
        same.join(" AND ")
    )
}
