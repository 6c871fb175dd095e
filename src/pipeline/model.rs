//! The compiled pipeline: what every step works with. Nothing downstream checks an option again.
//!
//! Made by `compile` from a checked file; immutable afterwards.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// A pipeline, ready to run.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// `[a-z_][a-z0-9_]*`; also the mirror's file name.
    pub name: String,
    pub source: Source,
    pub limits: Limits,
    pub event: Event,
    /// In commit order: dimensions, then owned tables that others refer to, then facts. Within each of the three
    /// what is referred to comes first, then file order.
    pub tables: Vec<Table>,
    /// Of the mirror, for people: no step looks into them, and the fingerprint leaves them out.
    pub views: Vec<View>,
    /// What `decode` keeps of a document.
    pub shape: Shape,
    /// `quarantine_raw`: text that cannot be parsed is kept (else its position and hash only).
    pub quarantine_raw: bool,
    /// `mirror.sqlite`: on unless the file or the command line says no.
    pub mirror: bool,
    /// `history.commits`: older versions of a table stay readable for a while, but no more than so many of them.
    pub history_commits: Option<u64>,
    /// Of everything that decides what the tables contain: names, keys, columns, types, paths, masks, event key
    /// and sequence; not limits, not the source folder. A root made with another fingerprint is refused.
    pub fingerprint: u128,
}

#[derive(Debug, Clone)]
pub struct Source {
    /// As written; relative to the working directory (`-C`).
    pub path: PathBuf,
    /// Unmodified for this long = complete. Milliseconds.
    pub settle_ms: u64,
    /// A batch is cut at whichever comes first.
    pub batch_files: usize,
    pub batch_bytes: u64,
}

/// A view of the mirror, in its own SQL: the one place where a question about the data may be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub name: String,
    /// One `SELECT` over the pipeline's tables, without a closing semicolon.
    pub sql: String,
}

/// Bounds on hostile input, all configurable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nesting of one document.
    pub depth: usize,
    /// Bytes of one document, decompressed.
    pub document_bytes: u64,
    /// Decompressed bytes of one compressed file.
    pub file_bytes: u64,
    /// Decompressed bytes over compressed bytes, looked at beyond the first 16 MiB.
    pub ratio: u64,
    /// Bytes of text kept per quarantined document.
    pub quarantine_text_bytes: usize,
    /// Bad documents of one file that get a row each; the rest share one.
    pub quarantine_documents: u64,
}

#[derive(Debug, Clone)]
pub struct Event {
    /// The parts of the event's key, with `$` paths. Types: text or int64.
    pub key: Vec<Part>,
    /// One or two parts, timestamp or int64. A missing optional part is the lowest.
    pub sequence: Vec<Part>,
}

#[derive(Debug, Clone)]
pub struct Part {
    pub path: Path,
    pub kind: Type,
    pub optional: bool,
}

#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    pub kind: TableKind,
    /// Columns that identify a row. For an owned table the owner's columns are among them.
    pub key: Vec<usize>,
    /// One step per `[*]` of `each`, outermost first; empty = one row an event.
    pub each: Vec<Level>,
    /// `each` as written, for messages.
    pub each_text: String,
    pub columns: Vec<Column>,
    /// The order in which columns are computed: what another column or table needs comes first.
    pub order: Vec<usize>,
    /// Owned and nobody refers to it: committed last.
    pub fact: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableKind {
    /// The newest event replaces the whole set of rows. The columns hold the event's key, part by part.
    Owned { owner: Vec<usize> },
    /// One row a key; the newest statement about the key wins.
    Dimension,
}

impl TableKind {
    pub fn is_owned(&self) -> bool {
        matches!(self, TableKind::Owned { .. })
    }
}

/// From the element of the enclosing level (or the event) to the array whose elements make rows.
#[derive(Debug, Clone)]
pub struct Level {
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    /// What is stored. A `sha256` or `redact` mask makes it text whatever the source is.
    pub kind: Type,
    pub source: ColumnSource,
    pub mask: Option<Mask>,
    /// A value that does not fit becomes null instead of quarantining the event.
    pub null_on_error: bool,
    /// Declared for the eye and for the mirror: other table, pairs of (our column, their column).
    pub reference: Option<Reference>,
}

#[derive(Debug, Clone)]
pub enum ColumnSource {
    /// `kind` is what the value must fit before masking.
    Path { path: Path, kind: Type },
    /// SHA-256 of other columns of the same row, as stored (see [`crate::key::StoredHash`]).
    Hash(Vec<usize>),
    /// Among this event's rows of `table`, after duplicates are resolved, the first in document order whose
    /// columns match; its column `take`, or null.
    Lookup(Lookup),
}

#[derive(Debug, Clone)]
pub struct Lookup {
    pub table: usize,
    /// (their column, our column); may be empty: the first row.
    pub matches: Vec<(usize, usize)>,
    pub take: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub table: usize,
    /// (our column, their column)
    pub columns: Vec<(usize, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Hex SHA-256 of the text.
    Sha256,
    /// `***` wherever there is a value.
    Redact,
    /// Never stored: always null.
    Drop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    Text,
    Int64,
    Float64,
    Bool,
    Date,
    /// UTC, microseconds.
    Timestamp,
    Decimal {
        precision: u8,
        scale: i8,
    },
}

/// A compiled path: where it starts and which slots it follows.
#[derive(Debug, Clone)]
pub struct Path {
    pub base: Base,
    pub steps: Vec<Step>,
    /// As written, for messages.
    pub text: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// `$`
    Event,
    /// `@`: the element that the row comes from; the event where `each` has no level.
    Element,
    /// `^`: the element of the enclosing level; the event where there is none.
    Parent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Slot of an object's shape.
    Field(u32),
    /// Element of an array.
    Index(u32),
}

/// The union of all paths: a tree of what to keep of a document. Node 0 is the event.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    pub nodes: Vec<ShapeNode>,
}

#[derive(Debug, Clone, Default)]
pub struct ShapeNode {
    /// Member name (unescaped) and its node; the position is the slot.
    pub fields: Vec<(Box<str>, u32)>,
    /// Elements, if some path goes into an array here.
    pub element: Option<u32>,
    /// Some column wants this value itself.
    pub scalar: bool,
}

impl Type {
    pub fn arrow(self) -> DataType {
        match self {
            Type::Text => DataType::Utf8,
            Type::Int64 => DataType::Int64,
            Type::Float64 => DataType::Float64,
            Type::Bool => DataType::Boolean,
            Type::Date => DataType::Date32,
            Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Type::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
        }
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Type::Text => f.write_str("text"),
            Type::Int64 => f.write_str("int64"),
            Type::Float64 => f.write_str("float64"),
            Type::Bool => f.write_str("bool"),
            Type::Date => f.write_str("date"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
        }
    }
}

impl Table {
    /// The pipeline's columns, without the `_` columns. All nullable: non-null adds a Delta feature.
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> =
            self.columns.iter().map(|c| Field::new(&c.name, c.kind.arrow(), true)).collect();
        Arc::new(Schema::new(fields))
    }

    /// The columns whose values name an owner: the event's key for owned tables, the row's key for dimensions.
    pub fn owner_columns(&self) -> &[usize] {
        match &self.kind {
            TableKind::Owned { owner } => owner,
            TableKind::Dimension => &self.key,
        }
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }
}
