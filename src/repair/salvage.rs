//! What can be saved from damaged tables: which inputs are gone, and the rows that only the tables still have.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};

use crate::batch::{Counts, EventOrder, FileRange, Fingerprint, OwnerRows, Plan, TableRows};
use crate::cell::content_of;
use crate::commit::Paths;
use crate::error::{Error, Result};
use crate::key::owner_of;
use crate::merge;
use crate::origin;
use crate::pipeline::model::Pipeline;
use crate::root::defs;
use crate::run::Session;
use crate::system;
use crate::tables::table::{LiveFile, live_files};
use crate::tables::{Disk, TableDef, parquet::LiveRows};

/// What the old tables still tell.
pub struct Salvage {
    /// Ledger rows whose file is gone or has other content now.
    gone: Vec<FileRange>,
    /// Per pipeline table: its rows, or why they cannot be read. Empty if no input is gone.
    rows: Vec<Result<RecordBatch, String>>,
    ledger: Result<(), String>,
}

impl Salvage {
    pub fn of(
        paths: &Paths,
        pipeline: &Pipeline,
        disk: Arc<dyn Disk>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Salvage> {
        let kernel = super::kernel(disk, paths)?;
        let read = |def: &TableDef| read_table(&kernel, def).map_err(|e| e.to_string());
        let mut defs = defs(pipeline, paths);
        let files = defs.pop().ok_or_else(|| Error::Bug("no ledger".into()))?;
        let ledger =
            read(&files).and_then(|rows| system::read_files(&rows).ok_or("it is not a ledger".to_owned()));
        let gone = match &ledger {
            Ok(ranges) => gone(ranges, &pipeline.source.path),
            Err(why) => {
                say(&format!("the ledger cannot be read: {why}"));
                Vec::new()
            }
        };
        let mut rows = Vec::new();
        if ledger.is_err() || !gone.is_empty() {
            say(&format!(
                "{} inputs are gone or changed: their rows are taken from the old tables",
                gone.len()
            ));
            rows = defs[..pipeline.tables.len()].iter().map(read).collect();
        }
        Ok(Salvage { gone, rows, ledger: ledger.map(|_| ()) })
    }

    /// Puts the saved rows into the new, empty tables. Returns what cannot be known; nothing: nothing was needed.
    pub fn seed(self, session: &mut Session, aside: &Path) -> Result<Vec<String>> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut unknown = vec![
            "events that said nothing new, and line sets that became empty, whose files are gone: an older event \
             that comes late could win against them"
                .to_owned(),
        ];
        if let Err(why) = &self.ledger {
            unknown.push(format!("which files were taken ({why}): every file that is there is read again"));
        }
        let pipeline = session.root.pipeline.clone();
        let batch = session.root.next_batch;
        let now = session.root.clock.now_micros();
        let mut sources = Sources::default();
        let mut plans = Vec::new();
        for (at, rows) in self.rows.into_iter().enumerate() {
            let table = &pipeline.tables[at];
            let rows = rows.unwrap_or_else(|why| {
                unknown.push(format!("the rows of {} ({why}); see {}", table.name, aside.display()));
                RecordBatch::new_empty(origin::with_origin(&table.schema(), &pipeline.event))
            });
            let rows = owned_rows(&rows, table, pipeline.event.sequence.len(), &mut sources)?;
            let mut plan = merge::plan(
                &session.root.states[at].index,
                rows,
                crate::root::file_id(batch)?,
                Counts::default(),
            )?;
            if let Some(append) = &mut plan.append {
                append.rows = origin::add(append, &pipeline.event, &sources.files, batch, now)?;
            }
            plans.push(plan);
        }
        plans.push(Plan::default());
        session.seed(&plans, &self.gone, batch, now)?;
        Ok(unknown)
    }
}

/// Every live row of a table as its newest version has it, foreign commits included.
fn read_table(kernel: &crate::tables::Kernel, def: &TableDef) -> Result<RecordBatch> {
    let opened = kernel.open(&def.dir)?;
    let mut batches = Vec::new();
    for LiveFile { action, deleted, .. } in live_files(&opened) {
        for batch in LiveRows::open(&def.dir.join(&action.path), deleted)? {
            let rows = batch?.rows;
            let columns: Vec<usize> =
                def.schema.fields().iter().filter_map(|f| rows.schema().index_of(f.name()).ok()).collect();
            let rows = rows.project(&columns).map_err(|e| Error::Corrupt(e.to_string()))?;
            let rows = RecordBatch::try_new(def.schema.clone(), cast(&rows, def)?)
                .map_err(|e| Error::Corrupt(format!("{}: {e}", action.path)))?;
            batches.push(rows);
        }
    }
    concat_batches(&def.schema, &batches).map_err(|e| Error::Corrupt(e.to_string()))
}

/// Other writers spell types their own way (large strings, views, other time zones' names).
fn cast(rows: &RecordBatch, def: &TableDef) -> Result<Vec<ArrayRef>> {
    rows.columns()
        .iter()
        .zip(def.schema.fields())
        .map(|(c, f)| arrow::compute::cast(c, f.data_type()).map_err(|e| Error::Corrupt(e.to_string())))
        .collect()
}

/// Ledger rows that the source folder can no longer give: the file is missing, or is not what it was when it was
/// taken. An older content of a file that changed is gone too.
fn gone(ranges: &[(u64, FileRange)], source: &Path) -> Vec<FileRange> {
    let now = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        let m = std::fs::metadata(source.join(name)).ok()?;
        Some(Fingerprint {
            size: m.size(),
            mtime_ns: m.mtime().checked_mul(1_000_000_000)?.checked_add(m.mtime_nsec())?,
            ctime_ns: m.ctime().checked_mul(1_000_000_000)?.checked_add(m.ctime_nsec())?,
            inode: m.ino(),
        })
    };
    let mut seen: HashMap<Arc<str>, Option<Fingerprint>> = HashMap::new();
    let mut gone: Vec<FileRange> = Vec::new();
    let mut contents: HashSet<(u128, u64)> = HashSet::new();
    for (_, range) in ranges {
        let found = *seen.entry(range.name.clone()).or_insert_with(|| now(&range.name));
        if found == Some(range.fingerprint) {
            contents.insert((range.content_hash, range.start.offset));
        }
    }
    for (_, range) in ranges {
        // The same bytes under another name, or taken again later, are not lost.
        if !contents.contains(&(range.content_hash, range.start.offset)) {
            gone.push(range.clone());
        }
    }
    gone
}

/// The distinct `_source_file`s of the saved rows, as a batch's files.
#[derive(Default)]
struct Sources {
    files: Vec<FileRange>,
    at: HashMap<String, u32>,
}

impl Sources {
    fn of(&mut self, name: &str) -> u32 {
        if let Some(at) = self.at.get(name) {
            return *at;
        }
        let at = self.files.len() as u32;
        self.files.push(FileRange { name: name.into(), ..FileRange::default() });
        self.at.insert(name.to_owned(), at);
        at
    }
}

/// Groups saved rows by owner. Where a foreign writer left an owner's rows of two events, the newer ones stay; of
/// two rows with one key, the last.
fn owned_rows(
    rows: &RecordBatch,
    table: &crate::pipeline::model::Table,
    parts: usize,
    sources: &mut Sources,
) -> Result<TableRows> {
    let pick = |columns: &[usize]| columns.iter().map(|&c| rows.column(c).clone()).collect::<Vec<ArrayRef>>();
    let (owners, keys) = (pick(table.owner_columns()), pick(&table.key));
    let mut grouped: HashMap<u128, Vec<usize>> = HashMap::new();
    let mut order = Vec::new();
    for row in 0..rows.num_rows() {
        let hash = owner_of(&owners, row);
        let group = grouped.entry(hash).or_default();
        if group.is_empty() {
            order.push(hash);
        }
        group.push(row);
    }
    let names = rows.column_by_name(origin::FILE).and_then(|c| c.as_string_opt::<i32>());
    let (mut indices, mut out): (Vec<u32>, Vec<OwnerRows>) = Default::default();
    for hash in order {
        let group = &grouped[&hash];
        let newest = group.iter().map(|r| sequence(rows, *r, parts)).max().unwrap_or_default();
        let mut seen = HashSet::new();
        let mut kept: Vec<usize> =
            group.iter().copied().filter(|r| sequence(rows, *r, parts) == newest).collect();
        kept.reverse();
        kept.retain(|r| seen.insert(owner_of(&keys, *r)));
        kept.reverse();
        let file = kept.first().and_then(|r| names.map(|n| n.value(*r))).unwrap_or_default();
        out.push(OwnerRows {
            owner: hash,
            order: EventOrder { sequence: newest, hash: 0 },
            file: sources.of(file),
            content: 0,
            first: indices.len() as u32,
            count: kept.len() as u32,
            key: Vec::new(),
        });
        indices.extend(kept.into_iter().map(|r| r as u32));
    }
    let user: Vec<usize> = (0..table.columns.len()).collect();
    let rows = rows
        .project(&user)
        .and_then(|user| take_record_batch(&user, &UInt32Array::from(indices)))
        .map_err(|e| Error::Bug(format!("saving rows: {e}")))?;
    for owner in &mut out {
        owner.content = content_of(rows.columns(), owner.first as usize, owner.count as usize);
    }
    Ok(TableRows { rows, owners: out })
}

fn sequence(rows: &RecordBatch, row: usize, parts: usize) -> [i64; 2] {
    let part = |name: &str| {
        let column = rows.column_by_name(name)?;
        if column.is_null(row) {
            return None;
        }
        match column.data_type() {
            DataType::Timestamp(_, _) => {
                Some(column.as_primitive_opt::<TimestampMicrosecondType>()?.value(row))
            }
            _ => Some(column.as_primitive_opt::<Int64Type>()?.value(row)),
        }
    };
    let second = if parts < 2 { 0 } else { part(origin::VERSION).unwrap_or(i64::MIN) };
    [part(origin::SEQUENCE).unwrap_or(i64::MIN), second]
}
