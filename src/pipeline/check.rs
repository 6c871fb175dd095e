//! The rules that a pipeline must keep: names, keys, types, masks, references, and nothing that needs itself.

use super::bind::{Bound, BoundSource, lookup_needs};
use super::file::{ColumnFile, File, PartFile, SourceFile, TableFile};
use super::model::{Base, Mask, Type};
use super::order;
use super::problem::{At, Problems, Span, quoted};

type Kinds = [Vec<Option<Type>>];

pub(super) fn check(p: &mut Problems, file: &File, tables: &[Bound], kinds: &Kinds) {
    names(p, file);
    event(p, file);
    lookup_circle(p, file, tables);
    for (i, (typed, bound)) in file.tables.iter().zip(tables).enumerate() {
        let check = Check { file, typed, bound, kinds, own: kinds.get(i).map_or(&[], Vec::as_slice) };
        check.all(p);
    }
}

fn names(p: &mut Problems, file: &File) {
    if !file.name.value.is_empty() || file.name.span != (0..0) {
        name(p, "pipeline name", &file.name);
    }
    for table in &file.tables {
        name(p, "table name", &table.name);
        table.columns.iter().for_each(|c| name(p, "column name", &c.name));
        same_but_for_case(p, "columns", table.columns.iter().map(|c| &c.name));
    }
    file.views.iter().for_each(|(view, _)| name(p, "view name", view));
    same_but_for_case(p, "tables", file.tables.iter().map(|t| &t.name));
    same_but_for_case(p, "views", file.views.iter().map(|(view, _)| view));
    for (view, _) in &file.views {
        if file.tables.iter().any(|t| t.name.value.eq_ignore_ascii_case(&view.value)) {
            p.add(&view.span, format!("view {} has the name of a table", quoted(&view.value)));
        }
    }
}

fn name(p: &mut Problems, what: &str, name: &At<String>) {
    let text = name.value.as_str();
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let problem = match text.chars().next() {
        Some('_') => "begins with _, which is reserved for millrace's own",
        Some('a'..='z') if text.chars().all(rest) && text.len() <= 63 => return,
        Some('a'..='z') if text.chars().all(rest) => "is longer than 63 characters",
        _ => "must be lower-case letters, digits and _, and begin with a letter",
    };
    p.add(&name.span, format!("{what} {} {problem}", quoted(text)));
}

/// SQLite and many readers of Delta take such names for one.
fn same_but_for_case<'f>(p: &mut Problems, what: &str, names: impl Iterator<Item = &'f At<String>>) {
    let mut seen = std::collections::BTreeMap::new();
    for name in names {
        if let Some(earlier) = seen.insert(name.value.to_lowercase(), &name.value) {
            let (a, b) = (quoted(earlier), quoted(&name.value));
            p.add(&name.span, format!("{what} {a} and {b} differ only by case"));
        }
    }
}

fn event(p: &mut Problems, file: &File) {
    for part in file.event_key.iter().flatten() {
        from_event(p, part);
        if let Some(span) = &part.optional {
            p.add(span, "a part of the event's key cannot be optional: without it nobody owns the event");
        }
        if !matches!(part.kind, None | Some(Type::Text | Type::Int64)) {
            p.add(&part.span, "a part of the event's key is text or int64");
        }
    }
    for part in file.sequence.iter().flatten() {
        from_event(p, part);
        if !matches!(part.kind, Some(Type::Timestamp | Type::Int64)) {
            p.add(&part.span, "a part of the sequence needs type = \"timestamp\" or \"int64\"");
        }
    }
    if let Some(third) = file.sequence.as_ref().and_then(|s| s.get(2)) {
        p.add(&third.span, "a sequence has one or two parts");
    }
}

fn from_event(p: &mut Problems, part: &PartFile) {
    if part.path.value.base != Base::Event {
        p.add(&part.path.span, "the event's key and sequence are read from the event: begin with $");
    }
}

fn lookup_circle(p: &mut Problems, file: &File, tables: &[Bound]) {
    let Some(circle) = order::circle(&lookup_needs(tables)) else { return };
    let names = circle.iter().filter_map(|&t| Some(file.tables.get(t)?.name.value.as_str()));
    let names: Vec<&str> = names.collect();
    let (Some(first), Some(second)) = (circle.first().and_then(|&t| tables.get(t)), circle.get(1)) else {
        return;
    };
    if let Some(lookup) = first.lookups().find(|l| l.table == *second) {
        p.add(&lookup.span, format!("lookups go in a circle: {}", names.join(" -> ")));
    }
}

struct Check<'a> {
    file: &'a File,
    typed: &'a TableFile,
    bound: &'a Bound,
    kinds: &'a Kinds,
    /// This table's.
    own: &'a [Option<Type>],
}

impl Check<'_> {
    fn all(&self, p: &mut Problems) {
        self.each(p);
        self.key(p);
        self.owner(p);
        self.column_circle(p);
        self.needed_as_stored(p);
        self.lookups(p);
        self.references(p);
    }

    fn kind(&self, column: usize) -> Option<Type> {
        self.own.get(column).copied().flatten()
    }

    fn name(&self, column: usize) -> &str {
        self.typed.columns.get(column).map_or("", |c| &c.name.value)
    }

    fn mask(&self, column: usize) -> Option<Mask> {
        self.typed.columns.get(column).and_then(|c| c.mask)
    }

    fn each(&self, p: &mut Problems) {
        use super::path::Segment;
        let Some(each) = &self.typed.each else { return };
        if each.value.base != Base::Event {
            p.add(&each.span, "\"each\" begins with $, the event");
        }
        if !matches!(each.value.segments.last(), None | Some(Segment::Each)) {
            p.add(&each.span, "\"each\" ends with [*]: one row for each element of that array");
        }
    }

    fn key(&self, p: &mut Problems) {
        for column in &self.bound.key {
            if let Some(kind) = self.kind(column.value).filter(|k| !matches!(k, Type::Text | Type::Int64)) {
                let name = self.name(column.value);
                p.add(&column.span, format!("key column {name:?} is {kind}; a key is text or int64"));
            }
            self.hidden(p, column.value, &column.span, "a key");
        }
    }

    /// Redacted or dropped, all values look the same: rows that differ would be taken for one.
    fn hidden(&self, p: &mut Problems, column: usize, span: &Span, what: &str) {
        if let Some(why) = levelled(self.mask(column)) {
            p.add(span, format!("{what} cannot use {:?}: {why}", self.name(column)));
        }
    }

    fn owner(&self, p: &mut Problems) {
        let (Some(owner), Some(typed)) = (&self.bound.owner, &self.typed.owner) else { return };
        for column in owner.iter().filter(|o| self.bound.key.iter().all(|k| k.value != o.value)) {
            let name = self.name(column.value);
            p.add(&column.span, format!("owner column {name:?} must be part of the table's key"));
        }
        let Some(event) = self.file.event_key.as_ref().map(Vec::len) else { return };
        if let Some(last) = typed.last().filter(|_| typed.len() != event) {
            let n = typed.len();
            p.add(
                &last.span,
                format!("\"owner\" holds the event's key part by part: {event} in [event], {n} here"),
            );
        }
    }

    fn column_circle(&self, p: &mut Problems) {
        let Some(circle) = order::circle(&self.bound.column_needs()) else { return };
        let names: Vec<&str> = circle.iter().map(|&c| self.name(c)).collect();
        if let Some(first) = circle.first().and_then(|&c| self.typed.columns.get(c)) {
            p.add(&first.name.span, format!("column needs itself: {}", names.join(" -> ")));
        }
    }

    fn needed_as_stored(&self, p: &mut Problems) {
        for source in &self.bound.sources {
            match source {
                BoundSource::Hash(columns) => {
                    columns.iter().for_each(|c| self.hidden(p, c.value, &c.span, "a hash"));
                }
                BoundSource::Lookup(l) => {
                    l.matches.iter().for_each(|(_, c)| self.hidden(p, c.value, &c.span, "a lookup"));
                }
                BoundSource::Path | BoundSource::Unknown => {}
            }
        }
    }

    fn lookups(&self, p: &mut Problems) {
        for lookup in self.bound.lookups() {
            for (theirs, ours) in &lookup.matches {
                self.other_hidden(p, &ours.span, "a lookup", lookup.table, *theirs);
                self.same_kind(p, &ours.span, "a lookup ties", ours.value, lookup.table, *theirs);
            }
        }
    }

    fn references(&self, p: &mut Problems) {
        for reference in &self.bound.references {
            for (ours, theirs) in &reference.columns {
                self.other_hidden(p, &reference.span, "a reference", reference.table, *theirs);
                self.same_kind(p, &reference.span, "a reference ties", *ours, reference.table, *theirs);
            }
        }
    }

    /// Masked so in the table that is searched, no value of ours ever meets one of theirs.
    fn other_hidden(&self, p: &mut Problems, span: &Span, what: &str, table: usize, theirs: usize) {
        let Some(other) = self.file.tables.get(table) else { return };
        let Some(column) = other.columns.get(theirs) else { return };
        if let Some(why) = levelled(column.mask) {
            p.add(span, format!("{what} cannot use {}.{}: {why}", other.name.value, column.name.value));
        }
    }

    fn same_kind(&self, p: &mut Problems, span: &Span, what: &str, ours: usize, table: usize, theirs: usize) {
        let their_kind = self.kinds.get(table).and_then(|t| t.get(theirs)).copied().flatten();
        let (Some(a), Some(b)) = (self.kind(ours), their_kind) else { return };
        let Some(other) = self.file.tables.get(table) else { return };
        let Some(column) = other.columns.get(theirs) else { return };
        let pair = format!("{what} {:?} to {}.{}", self.name(ours), other.name.value, column.name.value);
        if a != b {
            p.add(span, format!("{pair}: their types differ ({a}, {b})"));
        } else if digests_differ(&self.typed.columns, ours, &other.columns, theirs) {
            p.add(span, format!("{pair}: one is stored as SHA-256, the other is not, so they never meet"));
        }
    }
}

/// Why the values of a column with this mask cannot be told apart, if so.
fn levelled(mask: Option<Mask>) -> Option<String> {
    let mask = match mask? {
        Mask::Redact => "redact",
        Mask::Drop => "drop",
        Mask::Sha256 => return None,
    };
    Some(format!("by mask = {mask:?} all its values look the same; use sha256"))
}

/// Of two columns read by paths (no other has a mask), one is stored as its SHA-256 and the other is not.
fn digests_differ(a: &[ColumnFile], i: usize, b: &[ColumnFile], j: usize) -> bool {
    let digest = |columns: &[ColumnFile], i: usize| {
        let column = columns.get(i)?;
        matches!(column.source, SourceFile::Path { .. }).then_some(column.mask == Some(Mask::Sha256))
    };
    matches!((digest(a, i), digest(b, j)), (Some(a), Some(b)) if a != b)
}
