//! The nouns that pass between steps: files, documents, events, claims, rows, plans, counts.
//!
//! Plain data: nothing here does I/O or knows a clock. A step takes some of these and returns others, so two
//! steps never need to import each other.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;

// ------------------------------------------------------------------------------------------------ discover

/// What the file system says about a file. Equal to the ledger's = seen, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fingerprint {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the epoch; may lie in the future or before 1970.
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    pub inode: u64,
}

/// Where reading of a file goes on: all zero for a new file. Offsets are bytes of the *decompressed* text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resume {
    pub offset: u64,
    /// Lines (`\n`) before `offset`, so that positions in quarantine stay true.
    pub line: u64,
    /// Elements of the top-level array before `offset`; meaningful when `in_array`.
    pub element: u64,
    /// `offset` lies inside a top-level array.
    pub in_array: bool,
}

/// A complete file that `discover` hands over: something to read, not a path to open again.
#[derive(Debug)]
pub struct Input {
    /// Path relative to the source folder, `/` between parts. Bytes that are not UTF-8 appear as `\xHH`, a
    /// backslash as `\\`, so that two names never look alike.
    pub name: Arc<str>,
    pub path: PathBuf,
    pub file: File,
    /// By `fstat` on `file` when it was opened.
    pub fingerprint: Fingerprint,
    pub resume: Resume,
    /// The ledger knew this path with other content.
    pub changed: bool,
}

/// A file that could not be read. It never enters the ledger: it is tried again, and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub name: Arc<str>,
    pub reason: String,
}

/// The part of a file that one batch decoded: one row of the ledger.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileRange {
    pub name: Arc<str>,
    pub fingerprint: Fingerprint,
    /// Decompressed bytes `[start.offset, end.offset)` were decoded.
    pub start: Resume,
    pub end: Resume,
    /// The file is done with this range.
    pub last: bool,
    /// xxh3-128 of the bytes that were decoded in this range; where it was cut short afterwards because its rows take
    /// too much memory, of its documents' hashes.
    pub content_hash: u128,
    pub changed: bool,
    pub events: u64,
    pub quarantined: u64,
    /// Object members that a later member of the same name replaced.
    pub duplicate_keys: u64,
}

// -------------------------------------------------------------------------------------------------- decode

/// Index of a [`Value`] in its chunk.
pub type ValueId = u32;
pub const NONE: ValueId = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not in the document.
    Absent,
    Null,
    /// `start..end` spans `true` or `false`.
    Bool,
    /// `start..end` spans the number's source text.
    Number,
    /// `start..end` spans the text between the quotes, still escaped if `escaped`.
    String,
    /// `start` is the id of the first slot; slot `i` belongs to `Shape` field `i`.
    Object,
    /// `start` is the id of the first element or [`NONE`], further ones follow by `next`; `end` is their number.
    Array,
}

/// One projected JSON value. Values that no column asks for are checked by the parser and leave no trace.
#[derive(Debug, Clone, Copy)]
pub struct Value {
    pub kind: Kind,
    /// String only: the text has escapes.
    pub escaped: bool,
    pub start: u32,
    pub end: u32,
    /// Next element of the same array, or [`NONE`].
    pub next: ValueId,
}

/// One well-formed document: an event that has yet to be checked against the pipeline.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    pub root: ValueId,
    /// The document's text in `Chunk::text`, outer white space trimmed.
    pub start: u32,
    pub end: u32,
    /// xxh3-128 of that text: the event's own hash.
    pub hash: u128,
    pub position: Position,
    /// Object members that a later member of the same name replaced.
    pub duplicate_keys: u32,
}

/// Where in a file a document begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Bytes from the beginning of the decompressed file.
    pub offset: u64,
    /// Counted from 1.
    pub line: u64,
    /// Index in a top-level array, counted from 0.
    pub element: Option<u64>,
}

/// Something that could not be taken: a row of quarantine.
#[derive(Debug, Clone, PartialEq)]
pub struct Bad {
    pub position: Position,
    pub reason: String,
    /// Where the text stands in `Chunk::text`, when it is there.
    pub span: Option<(u32, u32)>,
    /// The text is a whole, well-formed document, so masks can be applied to it.
    pub parsed: bool,
}

/// Some complete documents of one file, decoded.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Index into the batch's list of files.
    pub file: u32,
    pub text: Vec<u8>,
    pub values: Vec<Value>,
    pub documents: Vec<Document>,
    pub bad: Vec<Bad>,
}

impl Chunk {
    pub fn duplicate_keys(&self) -> u64 {
        self.documents.iter().map(|d| u64::from(d.duplicate_keys)).sum()
    }
}

// ------------------------------------------------------------------------------------------------- flatten

/// Which event is newer: compared part by part; a missing part is `i64::MIN`, the lowest. A timestamp part is
/// microseconds since the epoch. Pipelines have one or two parts; an unused one is 0.
pub type Sequence = [i64; 2];

/// The total order of events, for every table alike. (The position inside the document decides between two rows
/// of one event and is settled before rows compete.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventOrder {
    pub sequence: Sequence,
    pub hash: u128,
}

/// Names a document of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventRef {
    pub chunk: u32,
    pub document: u32,
}

/// A statement about one owner in one table: "by this event, the owner's rows are these".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Hash of the owner's key (see [`crate::key`]).
    pub owner: u128,
    pub order: EventOrder,
    pub event: EventRef,
    /// Dimensions: which element the row comes from (ordinal among the table's elements in this event).
    /// Owned tables: 0; the claim is about the whole set.
    pub element: u32,
    /// Some rows of the event have one key, of which the last stays. (It is hardly ever so, and the check knows.)
    pub twins: bool,
}

/// What the valid events of a batch state, table by table (index = table of the pipeline).
/// Two rows of one event with one key are already one claim; how many went is in `duplicates`.
#[derive(Debug, Default)]
pub struct Claims {
    pub tables: Vec<Vec<Claim>>,
    pub duplicates: Vec<u64>,
    /// Events that fit the pipeline.
    pub valid: u64,
}

/// A typed key value, where the row itself is gone and only its key can name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyPart {
    Text(String),
    Int(i64),
}

/// One owner's rows among the rows built for a table.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnerRows {
    pub owner: u128,
    pub order: EventOrder,
    /// Index into the batch's list of files: becomes `_source_file`.
    pub file: u32,
    /// Hash of the rows' values, without the `_` columns. Only ever says "no change", never who is newer.
    pub content: u64,
    /// First row in `TableRows::rows`, and how many; the rows of one owner stand together.
    pub first: u32,
    pub count: u32,
    /// The owner's key, only where `count` is 0 and the rows cannot tell it.
    pub key: Vec<KeyPart>,
}

/// Rows of one table: the pipeline's columns in order, without the `_` columns.
#[derive(Debug, Clone)]
pub struct TableRows {
    pub rows: RecordBatch,
    pub owners: Vec<OwnerRows>,
}

// --------------------------------------------------------------------------------------------------- merge

/// Names a data file of a table: the id of the batch that wrote it (a batch writes at most one file a table).
pub type FileId = u32;

/// What the key index knows about an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub order: EventOrder,
    pub content: u64,
    /// The file with the rows; for an empty set, the batch that emptied it.
    pub file: FileId,
    pub first: u32,
    pub count: u32,
}

/// A run of rows to mark as deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    pub file: FileId,
    pub first: u32,
    pub count: u32,
}

/// Everything `stage` has to make true for one table. What it knows of merging ends here.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Rows for the new file, grouped by owner; `None` when nothing is appended.
    pub append: Option<TableRows>,
    pub delete: Vec<Deletion>,
    /// New state of every owner that moved, in the order of `owner`.
    pub index: Vec<(u128, Entry)>,
    /// The first rows, in `append`, of the owners that had rows before.
    pub replaced: Vec<u32>,
    /// Keys of owners whose set became empty: the mirror cannot learn them from rows.
    pub emptied: Vec<Vec<KeyPart>>,
    pub counts: Counts,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.append.is_none() && self.delete.is_empty() && self.index.is_empty()
    }

    /// The table's rows change (an index entry that only moves on changes none).
    pub fn changes_rows(&self) -> bool {
        self.append.is_some() || !self.delete.is_empty()
    }
}

/// Rows of a batch, per table. Of an owned set that went from a to b rows, min(a, b) are updated and the surplus
/// inserted or deleted; an identical set is unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
    pub unchanged: u64,
    /// Claims older than what the table has.
    pub stale: u64,
    /// Claims of the very event that the table has.
    pub repeated: u64,
    /// Rows of one event whose key a later row of the same event has too.
    pub duplicate: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, o: Self) {
        self.inserted += o.inserted;
        self.updated += o.updated;
        self.deleted += o.deleted;
        self.unchanged += o.unchanged;
        self.stale += o.stale;
        self.repeated += o.repeated;
        self.duplicate += o.duplicate;
    }
}
