//! Names to indices: which column, which table is meant.

use super::file::{File, ReferenceFile, SourceFile, TableFile};
use super::model::{Mask, Type};
use super::order;
use super::problem::{At, Problems, Span, quoted, unknown};

/// A table whose names are resolved. What names nothing has been told and is left out.
#[derive(Debug)]
pub(super) struct Bound {
    pub key: Vec<At<usize>>,
    pub owner: Option<Vec<At<usize>>>,
    pub sources: Vec<BoundSource>,
    pub references: Vec<BoundReference>,
}

#[derive(Debug)]
pub(super) enum BoundSource {
    Path,
    Hash(Vec<At<usize>>),
    Lookup(BoundLookup),
    Unknown,
}

#[derive(Debug)]
pub(super) struct BoundLookup {
    pub span: Span,
    pub table: usize,
    /// (their column, our column)
    pub matches: Vec<(usize, At<usize>)>,
    pub take: usize,
}

#[derive(Debug)]
pub(super) struct BoundReference {
    pub span: Span,
    pub table: usize,
    /// (our column, their column)
    pub columns: Vec<(usize, usize)>,
    /// The column that carries it in the compiled table: its own, or of several the last that carries none.
    pub home: usize,
}

pub(super) fn bind(p: &mut Problems, file: &File) -> Vec<Bound> {
    (0..file.tables.len()).filter_map(|i| Some(table(p, file, i, file.tables.get(i)?))).collect()
}

fn table(p: &mut Problems, file: &File, index: usize, table: &TableFile) -> Bound {
    let sources = table.columns.iter().map(|c| source(p, file, index, &c.source)).collect();
    Bound {
        key: columns(p, table, &table.key),
        owner: table.owner.as_ref().map(|names| columns(p, table, names)),
        sources,
        references: references(p, file, table),
    }
}

fn source(p: &mut Problems, file: &File, index: usize, source: &SourceFile) -> BoundSource {
    let Some(table) = file.tables.get(index) else { return BoundSource::Unknown };
    match source {
        SourceFile::Path { .. } => BoundSource::Path,
        SourceFile::Hash(names) => BoundSource::Hash(columns(p, table, names)),
        SourceFile::Lookup { table: other, matches, take } => {
            lookup(p, file, index, other, matches, take).map_or(BoundSource::Unknown, BoundSource::Lookup)
        }
        SourceFile::Unread => BoundSource::Unknown,
    }
}

fn lookup(
    p: &mut Problems,
    file: &File,
    index: usize,
    other: &At<String>,
    pairs: &[(At<String>, At<String>)],
    take: &At<String>,
) -> Option<BoundLookup> {
    let (ours, target) = (file.tables.get(index)?, find_table(p, file, other)?);
    if target == index {
        p.add(&other.span, "a lookup goes to another table, not to its own");
        return None;
    }
    let theirs = file.tables.get(target)?;
    let pair = |(t, o): &(At<String>, At<String>)| (column(p, theirs, t), column(p, ours, o));
    let found: Vec<_> = pairs.iter().map(pair).collect();
    let matches = found.into_iter().filter_map(|(t, o)| Some((t?.value, o?))).collect();
    let take = column(p, theirs, take)?.value;
    Some(BoundLookup { span: other.span.clone(), table: target, matches, take })
}

fn find_table(p: &mut Problems, file: &File, name: &At<String>) -> Option<usize> {
    let found = file.tables.iter().position(|t| t.name.value == name.value);
    if found.is_none() {
        let names = file.tables.iter().map(|t| t.name.value.as_str());
        p.add(&name.span, unknown("unknown table", &name.value, names));
    }
    found
}

fn column(p: &mut Problems, table: &TableFile, name: &At<String>) -> Option<At<usize>> {
    let found = table.columns.iter().position(|c| c.name.value == name.value);
    if found.is_none() {
        let names = table.columns.iter().map(|c| c.name.value.as_str());
        let what = format!("table {} has no column", quoted(&table.name.value));
        p.add(&name.span, unknown(&what, &name.value, names));
    }
    found.map(|i| At::new(i, name.span.clone()))
}

fn columns(p: &mut Problems, table: &TableFile, names: &[At<String>]) -> Vec<At<usize>> {
    names.iter().filter_map(|name| column(p, table, name)).collect()
}

/// The columns' own references first: they have no choice of where to live.
fn references(p: &mut Problems, file: &File, table: &TableFile) -> Vec<BoundReference> {
    let mut taken = vec![false; table.columns.len()];
    let own = table.columns.iter().filter_map(|c| c.reference.as_ref());
    let mut bound = Vec::new();
    for reference in own.chain(&table.references) {
        let Some((target, columns)) = reference_columns(p, file, table, reference) else { continue };
        let free = columns.iter().rev().map(|c| c.0).find(|&c| taken.get(c) == Some(&false));
        let Some(home) = free else {
            p.add(&reference.span, "each of these columns already has a reference");
            continue;
        };
        taken[home] = true;
        bound.push(BoundReference { span: reference.span.clone(), table: target, columns, home });
    }
    bound
}

fn reference_columns(
    p: &mut Problems,
    file: &File,
    table: &TableFile,
    reference: &ReferenceFile,
) -> Option<(usize, Vec<(usize, usize)>)> {
    let ours = columns(p, table, &reference.columns);
    let target = find_table(p, file, &reference.table)?;
    let theirs = columns(p, file.tables.get(target)?, &reference.to);
    if reference.columns.len() != reference.to.len() {
        let (n, m) = (reference.columns.len(), reference.to.len());
        p.add(&reference.span, format!("a reference pairs columns one to one: {n} here, {m} there"));
        return None;
    }
    let all = ours.len() == theirs.len() && ours.len() == reference.columns.len() && !ours.is_empty();
    all.then(|| (target, ours.iter().zip(&theirs).map(|(o, t)| (o.value, t.value)).collect()))
}

/// Per table, the tables that its lookups need.
pub(super) fn lookup_needs(tables: &[Bound]) -> Vec<Vec<usize>> {
    tables.iter().map(|t| t.lookups().map(|l| l.table).collect()).collect()
}

impl Bound {
    pub fn lookups(&self) -> impl Iterator<Item = &BoundLookup> {
        self.sources.iter().filter_map(|s| match s {
            BoundSource::Lookup(lookup) => Some(lookup),
            _ => None,
        })
    }

    /// Per column, the columns of the same row that it needs.
    pub fn column_needs(&self) -> Vec<Vec<usize>> {
        let needs = |source: &BoundSource| match source {
            BoundSource::Hash(columns) => columns.iter().map(|c| c.value).collect(),
            BoundSource::Lookup(lookup) => lookup.matches.iter().map(|m| m.1.value).collect(),
            BoundSource::Path | BoundSource::Unknown => Vec::new(),
        };
        self.sources.iter().map(needs).collect()
    }
}

/// What every column stores, table by table; `None` where a mistake leaves it unknown.
pub(super) fn kinds(file: &File, tables: &[Bound]) -> Vec<Vec<Option<Type>>> {
    let mut kinds: Vec<Vec<Option<Type>>> = tables.iter().map(|t| vec![None; t.sources.len()]).collect();
    for i in order::topological(&lookup_needs(tables)) {
        let (Some(table), Some(typed)) = (tables.get(i), file.tables.get(i)) else { continue };
        let kind = |(source, column): (&BoundSource, &super::file::ColumnFile)| match (source, &column.source)
        {
            (BoundSource::Path, SourceFile::Path { kind, .. }) => Some(stored(*kind, column.mask)),
            (BoundSource::Hash(_), _) => Some(Type::Text),
            (BoundSource::Lookup(l), _) => *kinds.get(l.table)?.get(l.take)?,
            _ => None,
        };
        let row = table.sources.iter().zip(&typed.columns).map(kind).collect();
        if let Some(slot) = kinds.get_mut(i) {
            *slot = row;
        }
    }
    kinds
}

fn stored(kind: Type, mask: Option<Mask>) -> Type {
    match mask {
        Some(Mask::Sha256 | Mask::Redact) => Type::Text,
        Some(Mask::Drop) | None => kind,
    }
}
