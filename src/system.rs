//! The tables that Millrace keeps about itself: `_files`, the ledger, and `_quarantine`.
//!
//! They are Delta tables like the others and commit with the batch, so they can never tell another story.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};

use crate::batch::{EventOrder, FileRange, Fingerprint, KeyPart, OwnerRows, Position, Resume, TableRows};
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
    /// xxh3-128 of the rejected text, where it was at hand.
    pub hash: Option<u128>,
    pub text: Option<String>,
    /// `Some(n)`: not one document but the rest of the file's bad ones, `n` of them, from the position on.
    pub rest: Option<u64>,
}

impl Rejected {
    /// What stands for `documents` bad documents that are not told one by one, as the first `most` of the file are.
    pub fn rest(file: u32, from: Position, documents: u64, most: u64) -> Self {
        let offset = from.offset;
        let reason = format!(
            "{documents} more from byte {offset} on: of one file the first {most} are told one by one"
        );
        Rejected { file, position: from, reason, hash: None, text: None, rest: Some(documents) }
    }
}

/// How far quarantine is with a file of which only ranges were read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Documents that have a row of their own.
    pub told: u64,
    /// Where the rest begins, and how many they are.
    pub rest: Option<(Position, u64)>,
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
        ("byte_offset", Int64),
        ("reason_id", Int64),
        ("line", Int64),
        ("element", Int64),
        ("reason", Utf8),
        ("text", Utf8),
        ("content_hash", Utf8),
        ("documents", Int64),
    ])
}

/// Columns that identify a row of the ledger: file, range start, batch.
pub const FILES_KEY: [usize; 3] = [0, 6, 16];
/// Columns that identify a row of quarantine: file, byte offset, and a hash of the reason, because two things can be
/// wrong at one place. Nothing in it depends on how a file was cut into ranges.
pub const QUARANTINE_KEY: [usize; 3] = [0, 1, 2];
/// Instead of the reason's hash, where a row stands for the rest of a file: its reason changes as that grows.
const REST_ID: i64 = 0;

/// What identifies a row of quarantine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuarantineKey {
    pub file: Arc<str>,
    pub byte_offset: i64,
    pub reason_id: i64,
}

impl QuarantineKey {
    fn of(range: &FileRange, rejected: &Rejected) -> Self {
        QuarantineKey {
            file: range.name.clone(),
            byte_offset: rejected.position.offset as i64,
            reason_id: match rejected.rest {
                Some(_) => REST_ID,
                None => (xxhash_rust::xxh3::xxh3_64(rejected.reason.as_bytes()) >> 1) as i64,
            },
        }
    }

    /// As [`crate::key::owner_of`] finds it in the rows.
    fn owner(&self) -> u128 {
        let mut hash = OwnerHash::new();
        hash.part(self.file.as_bytes());
        hash.part(self.byte_offset.to_string().as_bytes());
        hash.part(self.reason_id.to_string().as_bytes());
        hash.finish()
    }

    fn parts(&self) -> Vec<KeyPart> {
        vec![
            KeyPart::Text(self.file.to_string()),
            KeyPart::Int(self.byte_offset),
            KeyPart::Int(self.reason_id),
        ]
    }
}

/// The keys of quarantine rows whose file `wanted` names.
///
/// `None` where the rows are not quarantine's.
pub fn read_quarantine_keys(rows: &RecordBatch, wanted: &dyn Fn(&str) -> bool) -> Option<Vec<QuarantineKey>> {
    let files = rows.column_by_name("file")?.as_string_opt::<i32>()?;
    let long = |name: &str| rows.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let (offsets, reasons) = (long("byte_offset")?, long("reason_id")?);
    let key = |row: usize| QuarantineKey {
        file: files.value(row).into(),
        byte_offset: offsets.value(row),
        reason_id: reasons.value(row),
    };
    Some((0..rows.num_rows()).filter(|row| wanted(files.value(*row))).map(key).collect())
}

/// Adds to `tally` what the rows say of `file`.
///
/// `None` where the rows are not quarantine's.
pub fn add_to_tally(rows: &RecordBatch, file: &str, tally: &mut Tally) -> Option<()> {
    let files = rows.column_by_name("file")?.as_string_opt::<i32>()?;
    let long = |name: &str| rows.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let (offsets, reasons, lines) = (long("byte_offset")?, long("reason_id")?, long("line")?);
    let (elements, documents) = (long("element")?, long("documents")?);
    for row in (0..rows.num_rows()).filter(|row| files.value(*row) == file) {
        if reasons.value(row) != REST_ID {
            tally.told += 1;
            continue;
        }
        let from = Position {
            offset: offsets.value(row) as u64,
            line: lines.value(row) as u64,
            element: (!elements.is_null(row)).then(|| elements.value(row) as u64),
        };
        tally.rest = Some((from, documents.value(row) as u64));
    }
    Some(())
}

/// The batch's quarantine rows, and an empty set for each of `old` that is not wrong any more: the rows of files that
/// are read again from their beginning.
pub fn quarantine_rows<'a>(
    files: &[FileRange],
    rejected: impl Iterator<Item = &'a Rejected>,
    old: &[QuarantineKey],
    batch: u64,
) -> Result<TableRows> {
    // One row a key: what is wrong twice in the same way is told once.
    let keyed: BTreeMap<QuarantineKey, &Rejected> =
        rejected.map(|r| (QuarantineKey::of(&files[r.file as usize], r), r)).collect();
    let mut owners: Vec<OwnerRows> =
        keyed.iter().enumerate().map(|(row, (key, r))| stated(key, r, row as u32, batch)).collect();
    owners.extend(old.iter().filter(|key| !keyed.contains_key(key)).map(|key| cleared(key, batch)));
    let hex = |r: &&Rejected| r.hash.map(|h| format!("{h:032x}"));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(keyed.keys().map(|k| &*k.file))),
        Arc::new(Int64Array::from_iter_values(keyed.keys().map(|k| k.byte_offset))),
        Arc::new(Int64Array::from_iter_values(keyed.keys().map(|k| k.reason_id))),
        Arc::new(Int64Array::from_iter_values(keyed.values().map(|r| r.position.line as i64))),
        Arc::new(Int64Array::from_iter(keyed.values().map(|r| r.position.element.map(|e| e as i64)))),
        Arc::new(StringArray::from_iter_values(keyed.values().map(|r| &r.reason))),
        Arc::new(StringArray::from_iter(keyed.values().map(|r| r.text.as_deref()))),
        Arc::new(StringArray::from_iter(keyed.values().map(hex))),
        Arc::new(Int64Array::from_iter_values(keyed.values().map(|r| r.rest.unwrap_or(1) as i64))),
    ];
    let rows = RecordBatch::try_new(quarantine_columns(), columns)
        .map_err(|e| Error::Bug(format!("quarantine rows: {e}")))?;
    Ok(TableRows { rows, owners })
}

fn stated(key: &QuarantineKey, rejected: &Rejected, row: u32, batch: u64) -> OwnerRows {
    let Rejected { position, text, hash, rest, .. } = rejected;
    let content = format!("{}/{:?}/{text:?}/{hash:?}/{rest:?}", position.line, position.element);
    OwnerRows {
        owner: key.owner(),
        // The last reading wins: batches are numbered in the order of reading.
        order: EventOrder { sequence: [batch as i64, 0], hash: 0 },
        file: rejected.file,
        content: xxhash_rust::xxh3::xxh3_64(content.as_bytes()),
        first: row,
        count: 1,
        key: Vec::new(),
    }
}

fn cleared(key: &QuarantineKey, batch: u64) -> OwnerRows {
    let order = EventOrder { sequence: [batch as i64, 0], hash: 0 };
    OwnerRows { owner: key.owner(), order, file: 0, content: 0, first: 0, count: 0, key: key.parts() }
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
