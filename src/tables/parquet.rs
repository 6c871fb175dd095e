//! Parquet files of a table: rows to bytes, bytes to the rows that are still alive.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use roaring::RoaringTreemap;

use crate::cell::{Cell, content_hash};
use crate::error::{Error, IoContext, Result, refused};

/// Rows per batch when reading, and what their text may take: a column of a batch holds at most 2 GiB.
const READ_ROWS: usize = 8192;
const READ_BYTES: u64 = 64 << 20;

const CREATED_BY: &str = concat!("millrace ", env!("CARGO_PKG_VERSION"));

/// Rows, and bytes of them, for which dictionaries and compressors cost more than they save: a third of what staging a
/// batch of some events took. Compaction soon makes a larger file of such small ones.
const FEW_ROWS: usize = 64;
const FEW_BYTES: usize = 64 << 10;

pub fn encode(rows: &RecordBatch) -> Result<Vec<u8>> {
    if is_small(rows) {
        return encode_plain(std::slice::from_ref(rows), false);
    }
    let mut encoder = Encoder::new(&rows.schema());
    encoder.write(rows)?;
    encoder.finish()
}

fn is_small(rows: &RecordBatch) -> bool {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX);
    let all = || rows.columns().iter().map(bytes).fold(0, usize::saturating_add);
    rows.num_rows() <= FEW_ROWS && all() <= FEW_BYTES
}

/// A file of a few rows that is opened far more often than read through: what only helps in large ones is left out.
pub fn encode_small(rows: &[RecordBatch]) -> Result<Vec<u8>> {
    encode_plain(rows, true)
}

/// `bare`: without Arrow's own copy of the schema.
fn encode_plain(rows: &[RecordBatch], bare: bool) -> Result<Vec<u8>> {
    let first = rows.first().ok_or_else(|| Error::Bug("a Parquet file of nothing".into()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_created_by(CREATED_BY.to_owned())
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(bare);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), first.schema(), options).map_err(bug)?;
    rows.iter().try_for_each(|rows| writer.write(rows)).map_err(bug)?;
    writer.into_inner().map_err(bug)
}

/// One file in the making.
pub struct Encoder {
    schema: SchemaRef,
    /// Since the first rows, which say how to write the columns.
    writer: Option<ArrowWriter<Vec<u8>>>,
}

impl Encoder {
    pub fn new(schema: &SchemaRef) -> Self {
        Encoder { schema: schema.clone(), writer: None }
    }

    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(writer(&self.schema, rows)?),
        };
        writer.write(rows).map_err(bug)
    }

    pub fn finish(self) -> Result<Vec<u8>> {
        let writer = match self.writer {
            Some(writer) => writer,
            None => writer(&self.schema, &RecordBatch::new_empty(self.schema.clone()))?,
        };
        writer.into_inner().map_err(bug)
    }
}

fn writer(schema: &SchemaRef, rows: &RecordBatch) -> Result<ArrowWriter<Vec<u8>>> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(bug)?))
        .set_created_by(CREATED_BY.to_owned());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if mostly_distinct(column) {
            let path = ColumnPath::new(vec![field.name().clone()]);
            properties = properties.set_column_dictionary_enabled(path, false);
        }
    }
    ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties.build())).map_err(bug)
}

/// Rows that are looked at to see whether a column's values repeat.
const SAMPLE: usize = 128;

/// Nearly every value is another one, as in keys: a dictionary would hold them all, and their numbers beside them.
fn mostly_distinct(column: &dyn Array) -> bool {
    let step = column.len() / SAMPLE;
    if step == 0 {
        return false;
    }
    let mut seen = HashSet::with_capacity(SAMPLE);
    let mut bytes = Vec::new();
    for row in (0..SAMPLE).map(|i| i * step) {
        bytes.clear();
        Cell::read(column, row).encode(&mut bytes);
        seen.insert(content_hash(&bytes));
    }
    seen.len() > SAMPLE - SAMPLE / 16
}

fn bug(e: parquet::errors::ParquetError) -> Error {
    Error::Bug(format!("writing Parquet: {e}"))
}

/// The rows of a data file that are alive, in file order, with the position of each batch's first physical row
/// and the mask that was applied to it.
pub struct LiveRows {
    reader: ParquetRecordBatchReader,
    deleted: RoaringTreemap,
    at: u64,
    path: std::path::PathBuf,
}

/// Some live rows and where they stand in the file.
pub struct LiveBatch {
    pub rows: RecordBatch,
    /// Physical position of each row.
    pub positions: Vec<u32>,
}

impl LiveRows {
    pub fn open(path: &Path, deleted: RoaringTreemap) -> Result<Self> {
        let file = File::open(path).at("opening", path)?;
        // Arrow's own copy of the schema is left alone: the columns say as much, and damaged it makes Arrow panic.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
            .and_then(|b| {
                let rows = rows_at_once(b.metadata());
                b.with_batch_size(rows).build()
            })
            .map_err(|e| damaged(path, &e))?;
        Ok(LiveRows { reader, deleted, at: 0, path: path.to_path_buf() })
    }
}

/// By the row group with the longest rows. A dictionary may have folded a long text that every row repeats, so the
/// size before encoding counts.
fn rows_at_once(metadata: &ParquetMetaData) -> usize {
    let longest = metadata.row_groups().iter().map(|group| {
        let text =
            |c: &ColumnChunkMetaData| c.unencoded_byte_array_data_bytes().unwrap_or(c.uncompressed_size());
        let bytes: u64 = group.columns().iter().map(|c| text(c).max(0) as u64).sum();
        bytes / (group.num_rows().max(1) as u64)
    });
    let rows = READ_BYTES / longest.max().unwrap_or(0).max(1);
    usize::try_from(rows).unwrap_or(READ_ROWS).clamp(1, READ_ROWS)
}

impl Iterator for LiveRows {
    type Item = Result<LiveBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.reader.next()? {
            Ok(batch) => batch,
            Err(e) => return Some(Err(damaged(&self.path, &e))),
        };
        let from = self.at;
        self.at += batch.num_rows() as u64;
        let alive: Vec<bool> = (from..self.at).map(|row| !self.deleted.contains(row)).collect();
        let positions = (from..self.at).zip(&alive).filter(|(_, a)| **a).map(|(row, _)| row as u32).collect();
        let rows =
            filter_record_batch(&batch, &BooleanArray::from(alive)).map_err(|e| damaged(&self.path, &e));
        Some(rows.map(|rows| LiveBatch { rows, positions }))
    }
}

fn damaged(path: &Path, e: &dyn std::fmt::Display) -> Error {
    if let Some(source) = refused(e) {
        return Error::io("reading", path, source);
    }
    Error::Corrupt(format!("{} is damaged ({e}); run `millrace repair`", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn rows(texts: &[&str]) -> RecordBatch {
        let fields = vec![Field::new("n", DataType::Int64, true), Field::new("text", DataType::Utf8, true)];
        let numbers: Int64Array = (0..texts.len() as i64).map(|n| (n % 3 > 0).then_some(n)).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(StringArray::from(texts.to_vec()))];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    /// Whether the file is compressed, after reading back what was written.
    fn is_compressed(rows: &RecordBatch) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), encode(rows).unwrap()).unwrap();
        let read: Vec<RecordBatch> =
            LiveRows::open(file.path(), RoaringTreemap::new()).unwrap().map(|b| b.unwrap().rows).collect();
        let read = arrow::compute::concat_batches(&rows.schema(), &read).unwrap();
        assert_eq!(&read, rows);
        let open = File::open(file.path()).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(open).unwrap();
        let columns: Vec<&ColumnChunkMetaData> =
            builder.metadata().row_groups().iter().flat_map(|group| group.columns()).collect();
        let plain = |c: &&ColumnChunkMetaData| c.compression() == Compression::UNCOMPRESSED;
        assert!(columns.iter().all(plain) || !columns.iter().any(plain));
        assert!(columns.iter().all(|c| !plain(c) || c.dictionary_page_offset().is_none()));
        !columns.iter().all(plain)
    }

    #[test]
    fn only_a_few_short_rows_stay_as_they_are() {
        assert!(!is_compressed(&rows(&["a"])));
        assert!(!is_compressed(&rows(&["ab"; FEW_ROWS])));
        assert!(is_compressed(&rows(&["ab"; FEW_ROWS + 1])));
        assert!(is_compressed(&rows(&["a", &"b".repeat(FEW_BYTES)])));
        // A slice is as small as what it shows.
        let many = rows(&["ab"; 1_000]);
        assert!(!is_compressed(&many.slice(3, 2)));
    }
}
