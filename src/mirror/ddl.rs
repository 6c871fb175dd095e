//! The mirror's SQL: tables, indexes and views, derived from the pipeline; the same pipeline gives the same text.

use std::fmt::Write as _;

use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use rusqlite::Connection;

use super::TableRef;
use crate::error::{Error, Result};
use crate::pipeline::model::{ColumnSource, Mask, Pipeline, Reference, Table};

/// The columns every table has beside the pipeline's own, in the order in which the mirror declares them.
pub const ORIGIN: [&str; 5] = ["_batch_id", "_source_file", "_sequence", "_sequence_version", "_ingested_at"];

/// The mirror's own table: one row that says what this file mirrors and up to which batch.
pub const STATE: &str = "_millrace";

/// A table of the engine (`_files`, `_quarantine`). Its rows carry every column of `schema`; nothing is added.
#[derive(Debug, Clone)]
pub struct SystemTable {
    pub name: String,
    pub schema: SchemaRef,
    /// Columns that identify a row; empty = none is declared.
    pub key: Vec<usize>,
    /// Columns that name the set a row belongs to (of `_quarantine`: file and content hash). Empty = the key.
    pub owner: Vec<usize>,
}

/// Everything that has to exist in the database.
#[derive(Debug, Clone)]
pub struct Ddl {
    /// The pipeline's tables in its order, then the engine's.
    pub tables: Vec<TableDdl>,
    pub views: Vec<Object>,
    pub state: Object,
}

/// One `CREATE` statement, character for character as SQLite will keep it in `sqlite_master`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub name: String,
    pub sql: String,
}

#[derive(Debug, Clone)]
pub struct TableDdl {
    pub name: String,
    pub columns: Vec<ColumnDdl>,
    pub key: Vec<usize>,
    pub owner: Vec<usize>,
    pub references: Vec<Foreign>,
    pub create: Object,
    pub indexes: Vec<Object>,
    /// The one of `indexes` that finds an owner's rows, where the primary key does not.
    pub owner_index: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct ColumnDdl {
    pub name: String,
    pub kind: DataType,
}

/// A reference to another table of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    pub columns: Vec<usize>,
    pub table: usize,
    pub their: Vec<usize>,
    /// A `FOREIGN KEY` says so. SQLite demands that what is referred to be unique; where nothing in the pipeline
    /// makes it so, declaring it would turn good data into errors, and only an index is made.
    pub declared: bool,
}

impl Ddl {
    pub fn of(pipeline: &Pipeline, system: &[SystemTable]) -> Ddl {
        let mut tables: Vec<TableDdl> =
            (0..pipeline.tables.len()).map(|i| pipeline_table(pipeline, i)).collect();
        tables.extend(system.iter().map(system_table));
        let views = pipeline.views.iter().map(|v| Object {
            name: v.name.clone(),
            sql: format!("CREATE VIEW {} AS\n{}", quoted(&v.name), v.sql.trim()),
        });
        Ddl { tables, views: views.collect(), state: state_table() }
    }

    /// # Errors
    /// `Bug` for a table that the mirror has not.
    pub fn find(&self, table: TableRef<'_>) -> Result<&TableDdl> {
        let found = match table {
            TableRef::Pipeline(index) => self.tables.get(index),
            TableRef::System(name) => self.tables.iter().find(|t| t.name == name),
        };
        found.ok_or_else(|| Error::Bug(format!("the mirror has no table {table:?}")))
    }

    /// The whole schema as a file for people and tools.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for table in &self.tables {
            let _ = writeln!(out, "{};", table.create.sql);
            for index in &table.indexes {
                let _ = writeln!(out, "{};", index.sql);
            }
            out.push('\n');
        }
        let _ = writeln!(out, "{};", self.state.sql);
        for view in &self.views {
            let _ = writeln!(out, "\n{};", view.sql);
        }
        out
    }

    /// Says what is wrong with the pipeline's views, by trying them on an empty database in memory.
    ///
    /// # Errors
    /// `Config`, naming every view that does not work, or a table whose names SQLite does not take.
    pub fn check_views(&self) -> Result<()> {
        let db = Connection::open_in_memory().map_err(|e| Error::Bug(format!("SQLite in memory: {e}")))?;
        for table in &self.tables {
            // SQLite's names ignore case, and some are its own; the pipeline's need not know.
            let refused = |e| Error::Config(format!("table `{}` cannot be mirrored: {e}", table.name));
            db.execute(&table.create.sql, []).map_err(refused)?;
        }
        let wrong: Vec<String> = self.views.iter().filter_map(|v| try_view(&db, v)).collect();
        if wrong.is_empty() { Ok(()) } else { Err(Error::Config(wrong.join("\n"))) }
    }
}

/// `execute` refuses a second statement; the `SELECT` finds what `CREATE VIEW` does not look at: missing tables.
fn try_view(db: &Connection, view: &Object) -> Option<String> {
    let made = db.execute(&view.sql, []);
    let used = made.and_then(|_| db.prepare(&format!("SELECT * FROM {}", quoted(&view.name))).map(drop));
    used.err().map(|e| format!("view `{}`: {e}", view.name))
}

fn pipeline_table(pipeline: &Pipeline, index: usize) -> TableDdl {
    let table = &pipeline.tables[index];
    let mut columns: Vec<ColumnDdl> =
        table.columns.iter().map(|c| ColumnDdl { name: c.name.clone(), kind: c.kind.arrow() }).collect();
    columns.extend(ORIGIN.iter().map(|&name| ColumnDdl { name: name.into(), kind: origin_kind(name) }));
    let mut out = TableDdl {
        name: table.name.clone(),
        columns,
        key: table.key.clone(),
        owner: table.owner_columns().to_vec(),
        references: references(pipeline, table),
        create: Object { name: table.name.clone(), sql: String::new() },
        indexes: Vec::new(),
        owner_index: None,
    };
    out.create.sql = create_table(&out, pipeline);
    set_indexes(&mut out, referred(pipeline, index));
    out
}

fn system_table(system: &SystemTable) -> TableDdl {
    let column =
        |f: &std::sync::Arc<Field>| ColumnDdl { name: f.name().clone(), kind: f.data_type().clone() };
    let mut out = TableDdl {
        name: system.name.clone(),
        columns: system.schema.fields().iter().map(column).collect(),
        key: system.key.clone(),
        owner: if system.owner.is_empty() { system.key.clone() } else { system.owner.clone() },
        references: Vec::new(),
        create: Object { name: system.name.clone(), sql: String::new() },
        indexes: Vec::new(),
        owner_index: None,
    };
    out.create.sql = declare(&out, Vec::new());
    set_indexes(&mut out, Vec::new());
    out
}

fn state_table() -> Object {
    let sql = format!(
        "CREATE TABLE {} (\n  \"batch_id\" INTEGER,\n  \"root_id\" TEXT,\n  \"format\" INTEGER,\n  \
         \"pipeline\" TEXT,\n  \"fingerprint\" TEXT,\n  \"history\" TEXT\n)",
        quoted(STATE)
    );
    Object { name: STATE.into(), sql }
}

fn origin_kind(name: &str) -> DataType {
    match name {
        "_batch_id" | "_sequence_version" => DataType::Int64,
        "_source_file" => DataType::Utf8,
        _ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

/// The declared type. Only its affinity matters to SQLite: dates and times are TEXT so that nothing is ever
/// taken for a number; DECIMAL has NUMERIC affinity.
fn sql_type(kind: &DataType) -> String {
    match kind {
        DataType::Int64 | DataType::Int32 => "INTEGER".into(),
        DataType::Float64 => "REAL".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Decimal128(p, s) => format!("DECIMAL({p},{s})"),
        DataType::Binary => "BLOB".into(),
        _ => "TEXT".into(),
    }
}

fn references(pipeline: &Pipeline, table: &Table) -> Vec<Foreign> {
    let mut out: Vec<Foreign> = Vec::new();
    for reference in table.columns.iter().filter_map(|c| c.reference.as_ref()) {
        out.extend(foreign(pipeline, reference).filter(|f| !out.contains(f)));
    }
    out
}

fn foreign(pipeline: &Pipeline, reference: &Reference) -> Option<Foreign> {
    let target = pipeline.tables.get(reference.table)?;
    let (columns, their): (Vec<usize>, Vec<usize>) = reference.columns.iter().copied().unzip();
    Some(Foreign { declared: unique(target, &their), columns, table: reference.table, their })
}

/// Two rows never agree in all of `columns`: they contain the key, or a hash that was made over all of it.
fn unique(table: &Table, columns: &[usize]) -> bool {
    let mut covered = columns.to_vec();
    let mut at = 0;
    while let Some(column) = covered.get(at).and_then(|&c| table.columns.get(c)) {
        let faithful = matches!(column.mask, None | Some(Mask::Sha256));
        if let (ColumnSource::Hash(parts), true) = (&column.source, faithful) {
            let new: Vec<usize> = parts.iter().copied().filter(|p| !covered.contains(p)).collect();
            covered.extend(new);
        }
        at += 1;
    }
    !columns.is_empty() && table.key.iter().all(|k| covered.contains(k))
}

/// Column sets of `table` that others refer to and that are not its primary key; `true` = a foreign key says so.
fn referred(pipeline: &Pipeline, table: usize) -> Vec<(Vec<usize>, bool)> {
    let key = &pipeline.tables[table].key;
    let same = |their: &[usize]| their.len() == key.len() && their.iter().all(|c| key.contains(c));
    let mut out: Vec<(Vec<usize>, bool)> = Vec::new();
    for foreign in pipeline.tables.iter().flat_map(|t| references(pipeline, t)) {
        let wanted = (foreign.their, foreign.declared);
        if foreign.table == table && !same(&wanted.0) && !out.contains(&wanted) {
            out.push(wanted);
        }
    }
    out
}

fn create_table(table: &TableDdl, pipeline: &Pipeline) -> String {
    let declared = table.references.iter().filter(|f| f.declared).map(|f| {
        let target = &pipeline.tables[f.table];
        let their: Vec<String> = f.their.iter().map(|&c| quoted(&target.columns[c].name)).collect();
        format!(
            "FOREIGN KEY ({}) REFERENCES {} ({})",
            table.list(&f.columns),
            quoted(&target.name),
            their.join(", ")
        )
    });
    declare(table, declared.collect())
}

fn declare(table: &TableDdl, foreign: Vec<String>) -> String {
    let mut lines: Vec<String> =
        table.columns.iter().map(|c| format!("{} {}", quoted(&c.name), sql_type(&c.kind))).collect();
    if !table.key.is_empty() {
        lines.push(format!("PRIMARY KEY ({})", table.list(&table.key)));
    }
    lines.extend(foreign);
    format!("CREATE TABLE {} (\n  {}\n)", quoted(&table.name), lines.join(",\n  "))
}

/// Unique ones for what foreign keys point at, plain ones for our references, other references to us and, if the
/// key does not begin with it, the owner. A plain index that the primary key or another one gives is left out.
fn set_indexes(table: &mut TableDdl, referred: Vec<(Vec<usize>, bool)>) {
    let (indexes, columns): (Vec<Object>, Vec<Vec<usize>>) = indexes(table, referred).into_iter().unzip();
    table.indexes = indexes;
    if !table.key.starts_with(&table.owner) {
        table.owner_index = columns.iter().position(|c| c.starts_with(&table.owner));
    }
}

fn indexes(table: &TableDdl, referred: Vec<(Vec<usize>, bool)>) -> Vec<(Object, Vec<usize>)> {
    let mut done: Vec<Vec<usize>> = vec![table.key.clone()];
    let mut out = Vec::new();
    let (unique, plain): (Vec<_>, Vec<_>) = referred.into_iter().partition(|(_, declared)| *declared);
    for (columns, _) in unique {
        out.push((index(table, "CREATE UNIQUE INDEX", &columns), columns.clone()));
        done.push(columns);
    }
    let ours = table.references.iter().map(|f| f.columns.clone());
    let theirs = plain.into_iter().map(|(columns, _)| columns);
    for columns in ours.chain(theirs).chain([table.owner.clone()]) {
        if !columns.is_empty() && !done.iter().any(|d| d.starts_with(&columns)) {
            out.push((index(table, "CREATE INDEX", &columns), columns.clone()));
            done.push(columns);
        }
    }
    out
}

fn index(table: &TableDdl, create: &str, columns: &[usize]) -> Object {
    let names: Vec<&str> = columns.iter().map(|&c| table.columns[c].name.as_str()).collect();
    let name = format!("{}.{}", table.name, names.join("."));
    let sql = format!("{create} {} ON {} ({})", quoted(&name), quoted(&table.name), table.list(columns));
    Object { name, sql }
}

impl TableDdl {
    /// The indexes that no change of rows makes use of.
    pub fn for_readers(&self) -> impl Iterator<Item = &Object> {
        self.indexes
            .iter()
            .enumerate()
            .filter(|(at, _)| self.owner_index != Some(*at))
            .map(|(_, index)| index)
    }

    /// Quoted column names, with commas between them.
    pub fn list(&self, columns: &[usize]) -> String {
        let names: Vec<String> = columns.iter().map(|&c| quoted(&self.columns[c].name)).collect();
        names.join(", ")
    }

    pub fn all_columns(&self) -> String {
        self.list(&(0..self.columns.len()).collect::<Vec<_>>())
    }
}

/// An identifier in SQL, whatever it contains.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn text_of_the_fixture() {
        let text = fixture::ddl().text();
        for part in [
            "CREATE TABLE \"customer\" (\n  \"id\" TEXT,\n  \"name\" TEXT,\n  \"credit\" DECIMAL(18,4),\n  \
             \"_batch_id\" INTEGER,\n  \"_source_file\" TEXT,\n  \"_sequence\" TEXT,\n  \
             \"_sequence_version\" INTEGER,\n  \"_ingested_at\" TEXT,\n  PRIMARY KEY (\"id\")\n);\n",
            "FOREIGN KEY (\"order_id\", \"box_no\") REFERENCES \"box\" (\"order_id\", \"no\")",
            "FOREIGN KEY (\"packed_id\") REFERENCES \"packed\" (\"id\")",
            "CREATE UNIQUE INDEX \"packed.id\" ON \"packed\" (\"id\");",
            "CREATE INDEX \"line.customer_id\" ON \"line\" (\"customer_id\");",
            // `no` alone is not unique: only an index.
            "CREATE INDEX \"box.no\" ON \"box\" (\"no\");",
            "CREATE VIEW \"orders\" AS\nSELECT",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
        assert!(!text.contains("REFERENCES \"box\" (\"no\")"), "{text}");
        assert!(!text.contains("\"packed.order_id"), "the key begins with it\n{text}");
        rusqlite::Connection::open_in_memory().unwrap().execute_batch(&text).unwrap();
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
