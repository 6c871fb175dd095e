//! Key index changes as Arrow IPC files in `<table>/_key_index/`.
//!
//! The underscore makes Delta readers and their vacuum pass the folder by. A file is immutable and is named, with
//! its checksum, by the decision record.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Int64Array, RecordBatch, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type, UInt64Type};
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::disk::Disk;
use crate::batch::{Entry, EventOrder};
use crate::error::{Error, IoContext, Result, refused};

/// Version of the layout, kept in the file's own metadata.
const FORMAT: &str = "1";
/// Entries of a record batch: a file is read and written in parts of this size.
pub const ROWS: usize = 32_768;

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

fn record_batch(entries: &[(u128, Entry)]) -> Result<RecordBatch> {
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
    RecordBatch::try_new(schema(), columns).map_err(bug)
}

/// `entries`, sorted by owner, as the bytes of one file.
pub fn encode(entries: &[(u128, Entry)]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut parts = entries.chunks(ROWS).map(<[_]>::to_vec);
    encode_to(&mut bytes, &mut || parts.next().unwrap_or_default())?;
    Ok(bytes)
}

/// Entries to write, a few thousand at a time; none at the end.
pub type Parts<'a> = &'a mut dyn FnMut() -> Vec<(u128, Entry)>;

fn encode_to(to: &mut dyn Write, next: Parts<'_>) -> Result<usize> {
    let mut entries = 0;
    let mut writer = FileWriter::try_new(to, &schema()).map_err(bug)?;
    loop {
        let part = next();
        if part.is_empty() {
            writer.finish().map_err(bug)?;
            return Ok(entries);
        }
        entries += part.len();
        writer.write(&record_batch(&part)?).map_err(bug)?;
    }
}

/// Writes a file as its entries come, synced; the directory is the caller's to sync.
pub fn write(disk: &dyn Disk, path: &Path, next: Parts<'_>) -> Result<IndexFile> {
    let (mut done, mut hash, mut bytes) = (Ok(0), Xxh3::new(), 0);
    let filled = disk.write_with(path, &mut |to| {
        let mut counted = Counted { to, hash: &mut hash, bytes: &mut bytes, failed: None };
        done = encode_to(&mut counted, &mut *next);
        counted.failed.map_or(Ok(()), Err)
    });
    filled.at("writing", path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(IndexFile { name, bytes, checksum: format!("{:032x}", hash.digest128()), entries: done? as u64 })
}

/// Hashes and counts what passes. Keeps the error that Arrow would wrap.
struct Counted<'a> {
    to: &'a mut dyn Write,
    hash: &'a mut Xxh3,
    bytes: &'a mut u64,
    failed: Option<io::Error>,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(e) = self.to.write_all(bytes) {
            let kind = e.kind();
            self.failed = Some(e);
            return Err(kind.into());
        }
        self.hash.update(bytes);
        *self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn bug(e: arrow::error::ArrowError) -> Error {
    Error::Bug(format!("writing an index file: {e}"))
}

/// The entries of a file, a few thousand at a time.
pub struct Entries {
    reader: FileReader<BufReader<File>>,
    path: PathBuf,
}

/// Holds a file of the folder `dir` against its checksum.
pub fn check(dir: &Path, file: &IndexFile) -> Result<()> {
    let path = dir.join(&file.name);
    if checksum_of(&open(&path)?).at("reading", &path)? != file.checksum {
        return Err(damaged(&path, "is damaged (its checksum does not match)"));
    }
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(damaged(path, "is missing")),
        other => other.at("opening", path),
    }
}

impl Entries {
    /// Opens a file of the folder `dir` after holding it against its checksum.
    pub fn open(dir: &Path, file: &IndexFile) -> Result<Entries> {
        check(dir, file)?;
        Entries::open_checked(dir, file)
    }

    /// Opens a file that [`check`] found sound.
    pub fn open_checked(dir: &Path, file: &IndexFile) -> Result<Entries> {
        let path = dir.join(&file.name);
        let opened = open(&path)?;
        let reader = FileReader::try_new(BufReader::with_capacity(1 << 18, opened), None)
            .map_err(|e| unreadable(&path, &e))?;
        if reader.schema() != schema() {
            return Err(unreadable(&path, &"it has another layout; another version of millrace wrote it"));
        }
        Ok(Entries { reader, path })
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        self.reader.next().transpose().map_err(|e| unreadable(&self.path, &e))
    }

    /// `None` at the end.
    pub fn next_rows(&mut self) -> Result<Option<Vec<(u128, Entry)>>> {
        let Some(batch) = self.next_batch()? else { return Ok(None) };
        let rows = Rows::new(&batch);
        Ok(Some((0..batch.num_rows()).map(|row| (rows.owner(row), rows.entry(row))).collect()))
    }

    /// The entries from the first of `owner` or a later one on.
    pub fn from(mut self, owner: u128) -> Result<Cursor> {
        let first = self.first_batch(owner)?;
        self.seek(first)?;
        let mut cursor = Cursor { batch: self.next_batch()?, at: 0, entries: self };
        if let Some(before) = owner.checked_sub(1) {
            cursor.each_up_to(before, |_, _| {})?;
        }
        Ok(cursor)
    }

    /// The last record batch that begins before `owner`, or the first one of all.
    fn first_batch(&mut self, owner: u128) -> Result<usize> {
        let (mut low, mut high) = (0, self.reader.num_batches());
        while owner > 0 && high - low > 1 {
            let middle = low.midpoint(high);
            self.seek(middle)?;
            let begins = self.next_batch()?.map(|batch| Rows::new(&batch).owner(0));
            if begins.is_some_and(|begins| begins < owner) { low = middle } else { high = middle }
        }
        Ok(low)
    }

    fn seek(&mut self, batch: usize) -> Result<()> {
        if batch >= self.reader.num_batches() {
            return Ok(());
        }
        self.reader.set_index(batch).map_err(|e| unreadable(&self.path, &e))
    }
}

/// Entries of a file that are taken range by range.
pub struct Cursor {
    entries: Entries,
    batch: Option<RecordBatch>,
    at: usize,
}

impl Cursor {
    /// Hands over all that are left up to those of `owner`.
    pub fn each_up_to(&mut self, owner: u128, mut take: impl FnMut(u128, Entry)) -> Result<()> {
        while let Some(batch) = &self.batch {
            let rows = Rows::new(batch);
            while self.at < batch.num_rows() {
                let next = rows.owner(self.at);
                if next > owner {
                    return Ok(());
                }
                take(next, rows.entry(self.at));
                self.at += 1;
            }
            (self.batch, self.at) = (self.entries.next_batch()?, 0);
        }
        Ok(())
    }
}

fn unreadable(path: &Path, e: &dyn std::fmt::Display) -> Error {
    match refused(e) {
        Some(source) => Error::io("reading", path, source),
        None => damaged(path, &format!("cannot be read ({e})")),
    }
}

fn damaged(path: &Path, how: &str) -> Error {
    Error::Corrupt(format!("the key index file {} {how}; run `millrace repair`", path.display()))
}

/// [`checksum`] of what can be read from here on.
pub fn checksum_of(mut file: &File) -> io::Result<String> {
    let (mut hash, mut buffer) = (Xxh3::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:032x}", hash.digest128())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// The columns of a record batch, asked once for their type and not for every row.
struct Rows<'a> {
    owner: &'a FixedSizeBinaryArray,
    sequence: &'a Int64Array,
    version: &'a Int64Array,
    event: &'a FixedSizeBinaryArray,
    content: &'a UInt64Array,
    file: &'a UInt32Array,
    first: &'a UInt32Array,
    count: &'a UInt32Array,
}

impl<'a> Rows<'a> {
    fn new(batch: &'a RecordBatch) -> Self {
        Rows {
            owner: batch.column(0).as_fixed_size_binary(),
            sequence: batch.column(1).as_primitive::<Int64Type>(),
            version: batch.column(2).as_primitive::<Int64Type>(),
            event: batch.column(3).as_fixed_size_binary(),
            content: batch.column(4).as_primitive::<UInt64Type>(),
            file: batch.column(5).as_primitive::<UInt32Type>(),
            first: batch.column(6).as_primitive::<UInt32Type>(),
            count: batch.column(7).as_primitive::<UInt32Type>(),
        }
    }

    fn owner(&self, row: usize) -> u128 {
        hash(self.owner, row)
    }

    fn entry(&self, row: usize) -> Entry {
        let sequence = [self.sequence.value(row), self.version.value(row)];
        Entry {
            order: EventOrder { sequence, hash: hash(self.event, row) },
            content: self.content.value(row),
            file: self.file.value(row),
            first: self.first.value(row),
            count: self.count.value(row),
        }
    }
}

fn hash(column: &FixedSizeBinaryArray, row: usize) -> u128 {
    u128::from_be_bytes(column.value(row).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;

    fn all(dir: &Path, file: &IndexFile) -> Result<Vec<(u128, Entry)>> {
        let mut entries = Entries::open(dir, file)?;
        let mut all = Vec::new();
        while let Some(rows) = entries.next_rows()? {
            all.extend(rows);
        }
        Ok(all)
    }

    #[test]
    fn entries_survive_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let order = EventOrder { sequence: [i64::MIN, -3], hash: u128::MAX - 1 };
        let entry = Entry { order, content: u64::MAX, file: 7, first: 3, count: 0 };
        let entries = vec![(1, entry), (u128::MAX, Entry { count: 9, ..entry })];
        let bytes = encode(&entries).unwrap();
        let file = describe("x".into(), &bytes, 2);
        let write = |bytes: &[u8]| std::fs::write(dir.path().join("x"), bytes).unwrap();
        assert!(matches!(all(dir.path(), &file), Err(Error::Corrupt(_))));
        write(&bytes);
        assert_eq!(all(dir.path(), &file).unwrap(), entries);
        for cut in 0..bytes.len() {
            write(&bytes[..cut]);
            assert!(matches!(all(dir.path(), &file), Err(Error::Corrupt(_))), "cut at {cut}");
        }
        write(b"not an index file");
        assert!(matches!(
            all(dir.path(), &describe("x".into(), b"not an index file", 0)),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn a_streamed_file_is_the_encoded_one() {
        let dir = tempfile::tempdir().unwrap();
        let order = EventOrder { sequence: [1, 2], hash: 3 };
        let entry = Entry { order, content: 4, file: 5, first: 6, count: 7 };
        let entries: Vec<_> = (0..ROWS as u128 + 10).map(|owner| (owner, entry)).collect();
        let mut parts = entries.chunks(ROWS).map(<[_]>::to_vec);
        let path = dir.path().join("x");
        let file = write(&crate::tables::LocalDisk, &path, &mut || parts.next().unwrap_or_default()).unwrap();
        let bytes = encode(&entries).unwrap();
        assert_eq!(file, describe("x".into(), &bytes, entries.len()));
        assert!(std::fs::read(path).unwrap() == bytes);
        assert!(all(dir.path(), &file).unwrap() == entries);
    }

    #[test]
    fn a_range_of_owners_is_found_wherever_batches_begin() {
        let dir = tempfile::tempdir().unwrap();
        let order = EventOrder { sequence: [1, 2], hash: 3 };
        let entry = Entry { order, content: 4, file: 5, first: 6, count: 7 };
        let rows = 3 * ROWS as u128 + 10;
        let entries: Vec<_> = (1..=rows).map(|n| (2 * n, entry)).collect();
        let bytes = encode(&entries).unwrap();
        std::fs::write(dir.path().join("x"), &bytes).unwrap();
        let file = describe("x".into(), &bytes, entries.len());
        let some = |owners: RangeInclusive<u128>| {
            let mut some = Vec::new();
            let opened = Entries::open_checked(dir.path(), &file).unwrap();
            let mut cursor = opened.from(*owners.start()).unwrap();
            let middle = owners.start().midpoint(*owners.end()).max(*owners.start());
            cursor.each_up_to(middle, |owner, _| some.push(owner)).unwrap();
            assert!(some.iter().all(|owner| *owner <= middle));
            cursor.each_up_to(*owners.end(), |owner, _| some.push(owner)).unwrap();
            some
        };
        let begins = |batch: u128| 2 * (batch * ROWS as u128 + 1);
        let points = [0, 1, 2, 3, begins(1) - 1, begins(1), begins(1) + 1, begins(2), begins(3), 2 * rows];
        for from in points {
            for until in points.into_iter().filter(|until| *until >= from).chain([2 * rows + 5, u128::MAX]) {
                let expected: Vec<u128> =
                    (1..=rows).map(|n| n * 2).filter(|n| (from..=until).contains(n)).collect();
                assert!(some(from..=until) == expected, "{from} to {until}");
            }
        }
        let none = encode(&[]).unwrap();
        std::fs::write(dir.path().join("x"), none).unwrap();
        assert_eq!(some(5..=9), Vec::<u128>::new());
    }
}
