//! The tables that Millrace keeps about itself: `_files`, the ledger, and `_quarantine`.
//!
//! They are Delta tables like the others and commit with the batch, so they can never tell another story.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};

use crate::batch::{EventOrder, FileRange, Fingerprint, OwnerRows, Position, Resume, TableRows};
use crate::error::{Error, Result};
use crate::key::OwnerHash;

pub const FILES: &str = "_files";
pub const QUARANTINE: &str = "_quarantine";

pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>()))
}

/// One row per file, range and batch.
pub fn files_schema() -> SchemaRef {
    use DataType::{Boolean, Int64, Utf8};
    schema(&[
        ("file", Utf8),
        ("size", Int64),
        ("mtime_ns", Int64),
        ("ctime_ns", Int64),
        ("inode", Int64),
        ("content_hash", Utf8),
        ("range_start", Int64),
        ("range_end", Int64),
        ("end_line", Int64),
        ("end_element", Int64),
        ("end_in_array", Boolean),
        ("last", Boolean),
        ("changed", Boolean),
        ("events", Int64),
        ("quarantined", Int64),
        ("duplicate_keys", Int64),
        ("_batch_id", Int64),
        ("_ingested_at", timestamp()),
    ])
}

pub fn files_rows(files: &[FileRange], batch: u64, now_micros: i64) -> Result<RecordBatch> {
    let long = |f: &dyn Fn(&FileRange) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(files.iter().map(|r| f(r) as i64)))
    };
    let flag = |f: fn(&FileRange) -> bool| -> ArrayRef {
        Arc::new(BooleanArray::from(files.iter().map(f).collect::<Vec<_>>()))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(files.iter().map(|r| &*r.name))),
        long(&|r| r.fingerprint.size),
        long(&|r| r.fingerprint.mtime_ns as u64),
        long(&|r| r.fingerprint.ctime_ns as u64),
        long(&|r| r.fingerprint.inode),
        Arc::new(StringArray::from_iter_values(files.iter().map(|r| format!("{:032x}", r.content_hash)))),
        long(&|r| r.start.offset),
        long(&|r| r.end.offset),
        long(&|r| r.end.line),
        long(&|r| r.end.element),
        flag(|r| r.end.in_array),
        flag(|r| r.last),
        flag(|r| r.changed),
        long(&|r| r.events),
        long(&|r| r.quarantined),
        long(&|r| r.duplicate_keys),
        long(&|_| batch),
        Arc::new(TimestampMicrosecondArray::from(vec![now_micros; files.len()]).with_timezone("UTC")),
    ];
    RecordBatch::try_new(files_schema(), columns).map_err(|e| Error::Bug(format!("ledger rows: {e}")))
}

/// Reads ledger rows back: each range with the batch that committed it.
///
/// `None` where the rows are not a ledger's.
pub fn read_files(rows: &RecordBatch) -> Option<Vec<(u64, FileRange)>> {
    let text = |name: &str| rows.column_by_name(name)?.as_string_opt::<i32>();
    let long = |name: &str| rows.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let flag = |name: &str| rows.column_by_name(name)?.as_boolean_opt();
    let (names, hashes) = (text("file")?, text("content_hash")?);
    let columns = [
        "size",
        "mtime_ns",
        "ctime_ns",
        "inode",
        "range_start",
        "range_end",
        "end_line",
        "end_element",
        "events",
        "quarantined",
        "duplicate_keys",
        "_batch_id",
    ];
    let longs: Vec<&Int64Array> = columns.iter().map(|c| long(c)).collect::<Option<_>>()?;
    let (in_array, last, changed) = (flag("end_in_array")?, flag("last")?, flag("changed")?);
    let read = |row: usize| {
        let at = |column: usize| longs[column].value(row);
        let end = Resume {
            offset: at(5) as u64,
            line: at(6) as u64,
            element: at(7) as u64,
            in_array: in_array.value(row),
        };
        let range = FileRange {
            name: names.value(row).into(),
            fingerprint: Fingerprint {
                size: at(0) as u64,
                mtime_ns: at(1),
                ctime_ns: at(2),
                inode: at(3) as u64,
            },
            start: Resume { offset: at(4) as u64, ..Resume::default() },
            end,
            last: last.value(row),
            content_hash: u128::from_str_radix(hashes.value(row), 16).ok()?,
            changed: changed.value(row),
            events: at(8) as u64,
            quarantined: at(9) as u64,
            duplicate_keys: at(10) as u64,
        };
        Some((at(11) as u64, range))
    };
    (0..rows.num_rows()).map(read).collect()
}

/// A quarantined document with its text as it may be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// Index into the batch's files.
    pub file: u32,
    pub position: Position,
    pub reason: String,
    pub text: Option<String>,
}

pub fn quarantine_schema() -> SchemaRef {
    let mut fields: Vec<Field> = quarantine_columns().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new("_batch_id", DataType::Int64, true));
    fields.push(Field::new("_ingested_at", timestamp(), true));
    Arc::new(Schema::new(fields))
}

fn quarantine_columns() -> SchemaRef {
    use DataType::{Int64, Utf8};
    schema(&[
        ("file", Utf8),
        ("content_hash", Utf8),
        ("range_start", Int64),
        ("byte_offset", Int64),
        ("line", Int64),
        ("element", Int64),
        ("reason", Utf8),
        ("text", Utf8),
    ])
}

/// Columns that identify a row of the ledger: file, range start, batch.
pub const FILES_KEY: [usize; 3] = [0, 6, 16];
/// Columns that identify a row of quarantine: what was read, and the byte offset in it.
pub const QUARANTINE_KEY: [usize; 4] = [0, 1, 2, 3];
/// Columns that name the owner of quarantine rows: what was read, so that reading it again replaces them.
pub const QUARANTINE_OWNER: [usize; 3] = [0, 1, 2];

/// The batch's quarantine rows: one owner per range that was read, an empty set where all of it was good.
pub fn quarantine_rows(files: &[FileRange], rejected: &[Rejected], batch: u64) -> Result<TableRows> {
    let mut sorted: Vec<&Rejected> = rejected.iter().collect();
    sorted.sort_by_key(|r| (r.file, r.position.offset, r.position.element));
    let owners = owners(files, &sorted, batch);
    let of = |r: &&Rejected| &files[r.file as usize];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(sorted.iter().map(|r| &*of(r).name))),
        Arc::new(StringArray::from_iter_values(
            sorted.iter().map(|r| format!("{:032x}", of(r).content_hash)),
        )),
        Arc::new(Int64Array::from_iter_values(sorted.iter().map(|r| of(r).start.offset as i64))),
        Arc::new(Int64Array::from_iter_values(sorted.iter().map(|r| r.position.offset as i64))),
        Arc::new(Int64Array::from_iter_values(sorted.iter().map(|r| r.position.line as i64))),
        Arc::new(Int64Array::from_iter(sorted.iter().map(|r| r.position.element.map(|e| e as i64)))),
        Arc::new(StringArray::from_iter_values(sorted.iter().map(|r| &r.reason))),
        Arc::new(StringArray::from_iter(sorted.iter().map(|r| r.text.as_deref()))),
    ];
    let rows = RecordBatch::try_new(quarantine_columns(), columns)
        .map_err(|e| Error::Bug(format!("quarantine rows: {e}")))?;
    Ok(TableRows { rows, owners })
}

/// Adds the `_` columns to new quarantine rows.
pub fn quarantine_origin(rows: &RecordBatch, batch: u64, now_micros: i64) -> Result<RecordBatch> {
    let count = rows.num_rows();
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![batch as i64; count])));
    columns.push(Arc::new(TimestampMicrosecondArray::from(vec![now_micros; count]).with_timezone("UTC")));
    RecordBatch::try_new(quarantine_schema(), columns)
        .map_err(|e| Error::Bug(format!("quarantine rows: {e}")))
}

fn owners(files: &[FileRange], sorted: &[&Rejected], batch: u64) -> Vec<OwnerRows> {
    let mut at = 0;
    let mut owners = Vec::new();
    for (file, range) in files.iter().enumerate() {
        let first = at;
        let mut content = xxhash_rust::xxh3::Xxh3::new();
        while let Some(r) = sorted.get(at).filter(|r| r.file as usize == file) {
            content.update(format!("{:?}{:?}{:?}", r.position, r.reason, r.text).as_bytes());
            at += 1;
        }
        owners.push(OwnerRows {
            owner: quarantine_owner(range),
            // The last reading wins: batches are numbered in the order of reading.
            order: EventOrder { sequence: [batch as i64, file as i64], hash: 0 },
            file: file as u32,
            content: content.digest(),
            first: first as u32,
            count: (at - first) as u32,
            key: Vec::new(),
        });
    }
    owners
}

fn quarantine_owner(range: &FileRange) -> u128 {
    let mut hash = OwnerHash::new();
    hash.part(range.name.as_bytes());
    hash.part(format!("{:032x}", range.content_hash).as_bytes());
    hash.part(range.start.offset.to_string().as_bytes());
    hash.finish()
}
