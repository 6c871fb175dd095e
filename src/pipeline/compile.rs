//! From the checked file to the compiled pipeline: paths to slots, names to indices, tables in commit order.

use super::bind::{self, Bound, BoundSource};
use super::check;
use super::file::{ColumnFile, File, PartFile, SourceFile, TableFile};
use super::fingerprint::fingerprint;
use super::model::{
    Base, Column, ColumnSource, Event, Level, Lookup, Part, Path, Pipeline, Reference, Table, TableKind,
    Type, View,
};
use super::order;
use super::path::{RawPath, Segment};
use super::problem::{At, Problems};
use super::shape::{Places, Who};

/// Checks and compiles. The result means something only if `p` is still empty.
pub(super) fn compile(p: &mut Problems, mut file: File) -> Pipeline {
    let facts = commit_order(&mut file);
    let bound = bind::bind(p, &file);
    let kinds = bind::kinds(&file, &bound);
    check::check(p, &file, &bound, &kinds);
    let mut places = Places::new();
    let event = event(p, &mut places, &file);
    let mut tables = Vec::with_capacity(bound.len());
    for (i, (typed, bound)) in file.tables.iter().zip(&bound).enumerate() {
        let kinds = kinds.get(i).map_or(&[][..], Vec::as_slice);
        let mut table = table(p, &mut places, typed, bound, kinds);
        table.fact = facts.get(i) == Some(&true);
        owner_reads_event_key(p, typed, bound, &table, &event, file.event_key.is_some());
        tables.push(table);
    }
    let mut pipeline = Pipeline {
        name: file.name.value,
        source: file.source,
        limits: file.limits,
        event,
        tables,
        views: file.views.into_iter().map(|(name, sql)| View { name: name.value, sql }).collect(),
        shape: places.finish(),
        quarantine_raw: file.quarantine_raw,
        mirror: file.mirror,
        history_commits: file.history_commits,
        fingerprint: 0,
    };
    pipeline.fingerprint = fingerprint(&pipeline);
    pipeline
}

/// Puts the tables into commit order and says which are facts. What is referred to comes first, so that a reader
/// between two commits finds the rows that a row points to; where references run in a circle, file order decides.
fn commit_order(file: &mut File) -> Vec<bool> {
    let index = |name: &str| file.tables.iter().position(|t| t.name.value == name);
    let needs: Vec<Vec<usize>> =
        file.tables.iter().map(|t| t.refers_to().filter_map(&index).collect()).collect();
    let rank = |i: usize, table: &TableFile| match &table.owner {
        None => 0,
        Some(_) if needs.iter().enumerate().any(|(other, n)| other != i && n.contains(&i)) => 1,
        Some(_) => 2,
    };
    let ranks: Vec<u8> = file.tables.iter().enumerate().map(|(i, t)| rank(i, t)).collect();
    // Only what shares a rank constrains: a dimension that refers to an owned table still goes first.
    let same_rank = |(i, n): (usize, &Vec<usize>)| {
        n.iter().copied().filter(|&o| o != i && ranks[o] == ranks[i]).collect()
    };
    let inner: Vec<Vec<usize>> = needs.iter().enumerate().map(same_rank).collect();
    let mut order = order::best_effort(&inner);
    order.sort_by_key(|&i| ranks[i]);
    let mut tables: Vec<Option<TableFile>> = file.tables.drain(..).map(Some).collect();
    file.tables = order.iter().filter_map(|&i| tables[i].take()).collect();
    order.iter().map(|&i| ranks[i] == 2).collect()
}

impl TableFile {
    fn refers_to(&self) -> impl Iterator<Item = &str> {
        let own = self.columns.iter().filter_map(|c| c.reference.as_ref());
        own.chain(&self.references).map(|r| r.table.value.as_str())
    }
}

fn event(p: &mut Problems, places: &mut Places, file: &File) -> Event {
    let mut parts = |parts: &Option<Vec<PartFile>>, label: &str| {
        let part = |part: &PartFile| Part {
            path: root_path(p, places, &part.path, label),
            kind: part.kind.unwrap_or(Type::Text),
            optional: part.optional.is_some(),
        };
        parts.iter().flatten().map(part).collect()
    };
    Event {
        key: parts(&file.event_key, "the event's key"),
        sequence: parts(&file.sequence, "the event's sequence"),
    }
}

fn root_path(p: &mut Problems, places: &mut Places, path: &At<RawPath>, label: &str) -> Path {
    place(p, places, path, Base::Event, 0, label)
}

fn place(
    p: &mut Problems,
    places: &mut Places,
    path: &At<RawPath>,
    base: Base,
    node: u32,
    label: &str,
) -> Path {
    let who = who(label, path);
    let (end, steps) = places.walk(p, node, &path.value.segments, &who);
    places.value(p, end, &who);
    Path { base, steps, text: path.value.text.clone() }
}

fn who(label: &str, path: &At<RawPath>) -> Who {
    Who { label: format!("{label} ({})", path.value.text).into(), span: path.span.clone() }
}

fn table(
    p: &mut Problems,
    places: &mut Places,
    typed: &TableFile,
    bound: &Bound,
    kinds: &[Option<Type>],
) -> Table {
    let (each, elements) = levels(p, places, typed);
    let mut columns: Vec<Column> = Vec::with_capacity(typed.columns.len());
    for (i, (column, source)) in typed.columns.iter().zip(&bound.sources).enumerate() {
        let label = format!("{}.{}", typed.name.value, column.name.value);
        columns.push(Column {
            name: column.name.value.clone(),
            kind: kinds.get(i).copied().flatten().unwrap_or(Type::Text),
            source: column_source(p, places, column, source, &elements, &label),
            mask: column.mask,
            null_on_error: column.null_on_error,
            reference: None,
        });
    }
    for reference in &bound.references {
        if let Some(column) = columns.get_mut(reference.home) {
            column.reference = Some(Reference { table: reference.table, columns: reference.columns.clone() });
        }
    }
    let owner = bound.owner.as_ref().map(|o| indices(o));
    Table {
        name: typed.name.value.clone(),
        kind: owner.map_or(TableKind::Dimension, |owner| TableKind::Owned { owner }),
        key: indices(&bound.key),
        each,
        each_text: typed.each.as_ref().map_or_else(|| "$".to_owned(), |e| e.value.text.to_string()),
        columns,
        order: order::topological(&bound.column_needs()),
        fact: false,
    }
}

fn indices(columns: &[At<usize>]) -> Vec<usize> {
    columns.iter().map(|c| c.value).collect()
}

/// The levels of `each`, and the shape node of each level's element.
fn levels(p: &mut Problems, places: &mut Places, typed: &TableFile) -> (Vec<Level>, Vec<u32>) {
    let Some(each) = &typed.each else { return Default::default() };
    let who = who(&format!("{}.each", typed.name.value), each);
    let (mut levels, mut elements, mut node) = (Vec::new(), Vec::new(), 0);
    for segments in each.value.segments.split_inclusive(|s| *s == Segment::Each) {
        let (element, steps) = places.walk(p, node, segments, &who);
        levels.push(Level { steps });
        elements.push(element);
        node = element;
    }
    (levels, elements)
}

fn column_source(
    p: &mut Problems,
    places: &mut Places,
    column: &ColumnFile,
    source: &BoundSource,
    elements: &[u32],
    label: &str,
) -> ColumnSource {
    match (source, &column.source) {
        (BoundSource::Path, SourceFile::Path { path, kind }) => {
            let (base, node) = base(path.value.base, elements);
            ColumnSource::Path { path: place(p, places, path, base, node, label), kind: *kind }
        }
        (BoundSource::Lookup(l), _) => ColumnSource::Lookup(Lookup {
            table: l.table,
            matches: l.matches.iter().map(|(theirs, ours)| (*theirs, ours.value)).collect(),
            take: l.take,
        }),
        (BoundSource::Hash(columns), _) => ColumnSource::Hash(indices(columns)),
        // A mistake that has been told; nobody sees what stands here.
        _ => ColumnSource::Hash(Vec::new()),
    }
}

/// `@` and `^` that mean the event become `$`, so that nobody downstream has to know when they do.
fn base(base: Base, elements: &[u32]) -> (Base, u32) {
    let up = match base {
        Base::Event => return (Base::Event, 0),
        Base::Element => 1,
        Base::Parent => 2,
    };
    let node = elements.len().checked_sub(up).and_then(|i| elements.get(i));
    node.map_or((Base::Event, 0), |node| (base, *node))
}

/// What names the owner in a row must be what names it in the event: same places, same types.
fn owner_reads_event_key(
    p: &mut Problems,
    typed: &TableFile,
    bound: &Bound,
    table: &Table,
    event: &Event,
    key_known: bool,
) {
    let Some(owner) = bound.owner.as_ref().filter(|_| key_known) else { return };
    // Unequal lengths and unknown columns have been told already, and would shift the parts.
    let told = typed.owner.as_ref().is_none_or(|o| o.len() != owner.len()) || owner.len() != event.key.len();
    for (column, part) in owner.iter().zip(&event.key).filter(|_| !told) {
        let Some(source) = table.columns.get(column.value) else { continue };
        let same = matches!(&source.source, ColumnSource::Path { path, kind }
            if path.base == Base::Event && path.steps == part.path.steps && *kind == part.kind);
        if !same && !matches!(bound.sources.get(column.value), Some(BoundSource::Unknown)) {
            let (name, text, kind) = (&source.name, &part.path.text, part.kind);
            p.add(
                &column.span,
                format!("owner column {name:?} must read the event's key: {text}, as {kind}"),
            );
        }
    }
}
