//! Key index changes as Arrow IPC files in `<table>/_key_index/`.
//!
//! The underscore makes Delta readers and their vacuum pass the folder by. A file is immutable and is named, with
//! its checksum, by the decision record.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeBinaryBuilder, Int64Array, RecordBatch, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type, UInt64Type};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use serde::{Deserialize, Serialize};

use crate::batch::{Entry, EventOrder};
use crate::error::{Error, Result};

/// Version of the layout, kept in the file's own metadata.
const FORMAT: &str = "1";

/// How the decision record names an index file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFile {
    pub name: String,
    pub bytes: u64,
    /// xxh3-128 of the file, hex.
    pub checksum: String,
    pub entries: u64,
}

pub fn describe(name: String, bytes: &[u8], entries: usize) -> IndexFile {
    IndexFile { name, bytes: bytes.len() as u64, checksum: checksum(bytes), entries: entries as u64 }
}

pub fn checksum(bytes: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
}

fn schema() -> SchemaRef {
    let hash = || DataType::FixedSizeBinary(16);
    let fields = vec![
        Field::new("owner", hash(), false),
        Field::new("sequence", DataType::Int64, false),
        Field::new("sequence_version", DataType::Int64, false),
        Field::new("event", hash(), false),
        Field::new("content", DataType::UInt64, false),
        Field::new("file", DataType::UInt32, false),
        Field::new("first", DataType::UInt32, false),
        Field::new("count", DataType::UInt32, false),
    ];
    let metadata = [("millrace.index".to_owned(), FORMAT.to_owned())].into();
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

fn hashes(values: impl ExactSizeIterator<Item = u128>) -> Result<ArrayRef> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(values.len(), 16);
    for value in values {
        builder.append_value(value.to_be_bytes()).map_err(bug)?;
    }
    Ok(Arc::new(builder.finish()))
}

/// `entries` as the bytes of one file.
pub fn encode(entries: &[(u128, Entry)]) -> Result<Vec<u8>> {
    let long = |f: fn(&Entry) -> i64| Int64Array::from_iter_values(entries.iter().map(|(_, e)| f(e)));
    let int = |f: fn(&Entry) -> u32| UInt32Array::from_iter_values(entries.iter().map(|(_, e)| f(e)));
    let columns: Vec<ArrayRef> = vec![
        hashes(entries.iter().map(|(owner, _)| *owner))?,
        Arc::new(long(|e| e.order.sequence[0])),
        Arc::new(long(|e| e.order.sequence[1])),
        hashes(entries.iter().map(|(_, e)| e.order.hash))?,
        Arc::new(UInt64Array::from_iter_values(entries.iter().map(|(_, e)| e.content))),
        Arc::new(int(|e| e.file)),
        Arc::new(int(|e| e.first)),
        Arc::new(int(|e| e.count)),
    ];
    let rows = RecordBatch::try_new(schema(), columns).map_err(bug)?;
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &schema()).map_err(bug)?;
    writer.write(&rows).and_then(|()| writer.finish()).map_err(bug)?;
    drop(writer);
    Ok(bytes)
}

fn bug(e: arrow::error::ArrowError) -> Error {
    Error::Bug(format!("writing an index file: {e}"))
}

/// The entries of a file whose checksum was found right.
pub fn decode(bytes: &[u8]) -> Result<Vec<(u128, Entry)>, String> {
    let reader = FileReader::try_new(Cursor::new(bytes), None).map_err(|e| e.to_string())?;
    if reader.schema() != schema() {
        return Err("it has another layout; it was written by another version of millrace".into());
    }
    let mut entries = Vec::new();
    for batch in reader {
        read_batch(&batch.map_err(|e| e.to_string())?, &mut entries);
    }
    Ok(entries)
}

fn read_batch(rows: &RecordBatch, entries: &mut Vec<(u128, Entry)>) {
    let hash = |column: usize, row: usize| {
        let bytes = rows.column(column).as_fixed_size_binary().value(row);
        u128::from_be_bytes(bytes.try_into().unwrap_or_default())
    };
    let (seq, version) =
        (rows.column(1).as_primitive::<Int64Type>(), rows.column(2).as_primitive::<Int64Type>());
    let content = rows.column(4).as_primitive::<UInt64Type>();
    let int = |column: usize| rows.column(column).as_primitive::<UInt32Type>();
    let (file, first, count) = (int(5), int(6), int(7));
    entries.reserve(rows.num_rows());
    for row in 0..rows.num_rows() {
        let order = EventOrder { sequence: [seq.value(row), version.value(row)], hash: hash(3, row) };
        let entry = Entry {
            order,
            content: content.value(row),
            file: file.value(row),
            first: first.value(row),
            count: count.value(row),
        };
        entries.push((hash(0, row), entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_and_damage_is_told() {
        let order = EventOrder { sequence: [i64::MIN, -3], hash: u128::MAX - 1 };
        let entry = Entry { order, content: u64::MAX, file: 7, first: 3, count: 0 };
        let bytes = encode(&[(1, entry), (u128::MAX, Entry { count: 9, ..entry })]).unwrap();
        assert_eq!(decode(&bytes).unwrap(), vec![(1, entry), (u128::MAX, Entry { count: 9, ..entry })]);
        assert!(decode(&bytes[..bytes.len() - 9]).is_err());
        assert!(decode(b"").is_err());
    }
}
