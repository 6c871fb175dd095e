//! The pipeline as flatten runs it: which columns to compute, check or skip, once an event or once a row.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::mask::{MaskTree, base};
use super::twigs::{Leaf, Twigs};
use crate::batch::Chunk;
use crate::pipeline::model::{Base, Column, ColumnSource, Event, Mask, Part, Pipeline, Step, Table, Type};

/// Flattens events by one pipeline. Made once; shared by threads.
#[derive(Debug)]
pub struct Flattener {
    pub(super) key: Vec<PartPlan>,
    pub(super) sequence: Vec<PartPlan>,
    pub(super) tables: Vec<TablePlan>,
    pub(super) masks: MaskTree,
    /// Of one file, documents in quarantine that are told one by one.
    pub(super) told: u64,
}

/// A part of the event's key or sequence.
#[derive(Debug)]
pub(super) struct PartPlan {
    pub steps: Vec<Step>,
    pub kind: Type,
    pub optional: bool,
    pub text: Arc<str>,
    /// Some column masks this value: messages must not show it.
    pub hidden: bool,
}

#[derive(Debug)]
pub(super) struct TablePlan {
    pub name: String,
    /// Owned tables: the columns that hold the event's key, part by part.
    pub owner: Option<Vec<usize>>,
    /// One of those is masked: the owner's hash is another one than that of the event's key as it stands.
    pub masks_owner: bool,
    pub key: Vec<usize>,
    /// The columns of the key that tell the rows of one event apart: all, but for those that hold the event's own key.
    pub twin: Vec<usize>,
    pub levels: Vec<Vec<Step>>,
    pub each_text: String,
    pub columns: Vec<ColumnPlan>,
    pub schema: SchemaRef,
    /// What a row's key is computed from, the key itself included.
    pub needed: Split,
    /// Path columns besides those: only whether they fit matters until the row is built.
    pub checked: Split,
    pub all: Split,
}

/// Columns to compute. Those of the event are the same in all its rows.
#[derive(Debug, Default)]
pub(super) struct Split {
    pub event: Columns,
    pub row: Columns,
}

#[derive(Debug, Default)]
pub(super) struct Columns {
    /// All of them.
    pub list: Vec<usize>,
    pub paths: Twigs,
    /// Those made of others, each behind what it is made of; after the paths.
    pub made: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct ColumnPlan {
    pub name: String,
    pub source: Source,
    pub mask: Option<Mask>,
    pub null_on_error: bool,
    pub hidden: bool,
}

#[derive(Debug)]
pub(super) enum Source {
    Path { base: Base, steps: Vec<Step>, kind: Type, text: Arc<str> },
    Hash(Vec<usize>),
    Lookup(LookupPlan),
}

#[derive(Debug)]
pub(super) struct LookupPlan {
    pub table: usize,
    /// Columns that must be equal, pair by pair.
    pub ours: Vec<usize>,
    pub theirs: Vec<usize>,
    pub take: usize,
    /// What `theirs` and `take` are computed from, in the other table.
    pub needed: Split,
}

impl Flattener {
    /// See [`MaskTree::masked_text`].
    pub fn masked_text(&self, chunk: &Chunk, document: u32, cap: usize) -> String {
        self.masks.masked_text(chunk, document, cap)
    }

    pub fn new(pipeline: &Pipeline) -> Self {
        let masks = MaskTree::new(pipeline);
        let part = |p: &Part| PartPlan::new(p, &masks);
        let Event { key, sequence } = &pipeline.event;
        Flattener {
            key: key.iter().map(part).collect(),
            sequence: sequence.iter().map(part).collect(),
            tables: pipeline.tables.iter().map(|t| TablePlan::new(pipeline, t, &masks)).collect(),
            masks,
            told: pipeline.limits.quarantine_documents,
        }
    }
}

impl PartPlan {
    fn new(part: &Part, masks: &MaskTree) -> Self {
        PartPlan {
            steps: part.path.steps.clone(),
            kind: part.kind,
            optional: part.optional,
            text: part.path.text.clone(),
            hidden: masks.hides(&[], &part.path),
        }
    }
}

impl TablePlan {
    fn new(pipeline: &Pipeline, table: &Table, masks: &MaskTree) -> Self {
        let columns: Vec<ColumnPlan> =
            table.columns.iter().map(|c| ColumnPlan::new(pipeline, table, c, masks)).collect();
        let needed = closure(table, &table.key);
        let is_path =
            |c: &&usize| matches!(columns.get(**c), Some(ColumnPlan { source: Source::Path { .. }, .. }));
        let checked = table.order.iter().filter(|c| !needed.contains(c)).filter(is_path).copied().collect();
        let checked = Split::new(table, checked);
        let owner = table.kind.is_owned().then(|| table.owner_columns().to_vec());
        let of_event = |c: &&usize| owner.as_ref().is_some_and(|owner| owner.contains(c));
        TablePlan {
            name: table.name.clone(),
            masks_owner: owner.iter().flatten().any(|c| columns.get(*c).is_some_and(|c| c.mask.is_some())),
            twin: table.key.iter().filter(|c| !of_event(c)).copied().collect(),
            owner,
            key: table.key.clone(),
            levels: table.each.iter().map(|l| l.steps.clone()).collect(),
            each_text: table.each_text.clone(),
            schema: table.schema(),
            needed: Split::new(table, needed),
            checked,
            all: Split::new(table, table.order.clone()),
            columns,
        }
    }
}

impl TablePlan {
    pub fn is_path(&self, column: usize) -> bool {
        matches!(self.columns.get(column), Some(ColumnPlan { source: Source::Path { .. }, .. }))
    }
}

impl ColumnPlan {
    fn new(pipeline: &Pipeline, table: &Table, column: &Column, masks: &MaskTree) -> Self {
        let source = match &column.source {
            ColumnSource::Path { path, kind } => Source::Path {
                base: base(table.each.len(), path),
                steps: path.steps.clone(),
                kind: *kind,
                text: path.text.clone(),
            },
            ColumnSource::Hash(parts) => Source::Hash(parts.clone()),
            ColumnSource::Lookup(lookup) => {
                let (theirs, ours): (Vec<_>, Vec<_>) = lookup.matches.iter().copied().unzip();
                let needed = pipeline.tables.get(lookup.table).map(|other| {
                    let wanted: Vec<usize> = theirs.iter().copied().chain([lookup.take]).collect();
                    Split::new(other, closure(other, &wanted))
                });
                let needed = needed.unwrap_or_default();
                Source::Lookup(LookupPlan { table: lookup.table, ours, theirs, take: lookup.take, needed })
            }
        };
        let hidden =
            matches!(&column.source, ColumnSource::Path { path, .. } if masks.hides(&table.each, path));
        ColumnPlan {
            name: column.name.clone(),
            source,
            mask: column.mask,
            null_on_error: column.null_on_error,
            hidden,
        }
    }
}

impl Split {
    fn new(table: &Table, columns: Vec<usize>) -> Self {
        let (event, row) = columns.into_iter().partition(|c| of_event(table, *c));
        Split { event: Columns::new(table, event), row: Columns::new(table, row) }
    }
}

impl Columns {
    fn new(table: &Table, list: Vec<usize>) -> Self {
        let path = |c: &usize| {
            let column = table.columns.get(*c)?;
            let ColumnSource::Path { path, kind } = &column.source else { return None };
            let leaf =
                Leaf { column: *c, kind: *kind, mask: column.mask, null_on_error: column.null_on_error };
            Some((base(table.each.len(), path), path.steps.as_slice(), leaf))
        };
        let made = list.iter().filter(|c| path(c).is_none()).copied().collect();
        Columns { paths: Twigs::new(list.iter().filter_map(path)), made, list }
    }
}

fn inputs(table: &Table, column: usize) -> Vec<usize> {
    match table.columns.get(column).map(|c| &c.source) {
        Some(ColumnSource::Hash(parts)) => parts.clone(),
        Some(ColumnSource::Lookup(lookup)) => lookup.matches.iter().map(|(_, ours)| *ours).collect(),
        Some(ColumnSource::Path { .. }) | None => Vec::new(),
    }
}

/// `wanted` and everything they are computed from, in the table's order.
fn closure(table: &Table, wanted: &[usize]) -> Vec<usize> {
    let mut marked = wanted.to_vec();
    for column in table.order.iter().rev() {
        if marked.contains(column) {
            marked.extend(inputs(table, *column));
        }
    }
    table.order.iter().copied().filter(|c| marked.contains(c)).collect()
}

/// The column is the same in every row of an event.
fn of_event(table: &Table, column: usize) -> bool {
    // A column's inputs stand before it in the order, so walking the order once settles all.
    let mut varying = Vec::new();
    for c in &table.order {
        let varies = match table.columns.get(*c).map(|c| &c.source) {
            Some(ColumnSource::Path { path, .. }) => base(table.each.len(), path) != Base::Event,
            _ => inputs(table, *c).iter().any(|i| varying.contains(i)),
        };
        if varies {
            varying.push(*c);
        }
    }
    !varying.contains(&column)
}
