//! One number for everything that decides what the tables contain.
//!
//! Roots remember it, so its text may never change for a pipeline that did not: a test freezes it.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_128;

use super::model::{Base, Column, ColumnSource, Mask, Path, Pipeline, Shape, Step, Table, TableKind};

/// xxh3-128 of the canonical text. Comments, limits, source, mirror, references, the order of tables in the file
/// and the way a path is spelt are not in it; the order of columns is.
pub(super) fn fingerprint(pipeline: &Pipeline) -> u128 {
    xxh3_128(canonical(pipeline).as_bytes())
}

/// A line a fact. Every name carries its length, so no two pipelines share a text.
fn canonical(pipeline: &Pipeline) -> String {
    let mut out = Text { out: "millrace pipeline 1\n".to_owned(), pipeline };
    out.line("name", &[&pipeline.name]);
    let parts = [("key", &pipeline.event.key), ("sequence", &pipeline.event.sequence)];
    for (word, part) in parts.iter().flat_map(|(word, parts)| parts.iter().map(move |p| (word, p))) {
        let optional = if part.optional { "optional" } else { "required" };
        out.line(word, &[&out.path(0, &part.path), &part.kind.to_string(), optional]);
    }
    let mut tables: Vec<&Table> = pipeline.tables.iter().collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    tables.iter().for_each(|table| out.table(table));
    out.out
}

struct Text<'p> {
    out: String,
    pipeline: &'p Pipeline,
}

impl Text<'_> {
    fn line(&mut self, word: &str, fields: &[&str]) {
        self.out.push_str(word);
        for field in fields {
            // Writing to a String cannot fail.
            let _ = write!(self.out, " {}:{field}", field.len());
        }
        self.out.push('\n');
    }

    fn table(&mut self, table: &Table) {
        self.line("table", &[&table.name]);
        let mut elements = vec![0];
        for level in &table.each {
            let from = elements.last().copied().unwrap_or_default();
            let shape = &self.pipeline.shape;
            let (names, array) = walk(shape, from, &level.steps);
            elements.push(array.and_then(|a| shape.nodes.get(a as usize)?.element).unwrap_or_default());
            self.line("each", &[&names]);
        }
        self.columns("key", table, &table.key);
        if let TableKind::Owned { owner } = &table.kind {
            self.columns("owner", table, owner);
        }
        table.columns.iter().for_each(|column| self.column(table, column, &elements));
    }

    fn columns(&mut self, word: &str, table: &Table, columns: &[usize]) {
        let names: Vec<&str> = columns.iter().map(|&c| column_name(table, c)).collect();
        self.line(word, &names);
    }

    fn column(&mut self, table: &Table, column: &Column, elements: &[u32]) {
        let mask = match column.mask {
            None => "plain",
            Some(Mask::Sha256) => "sha256",
            Some(Mask::Redact) => "redact",
            Some(Mask::Drop) => "drop",
        };
        let on_error = if column.null_on_error { "null" } else { "quarantine" };
        self.line("column", &[&column.name, &column.kind.to_string(), mask, on_error]);
        match &column.source {
            ColumnSource::Path { path, kind } => {
                let up = match path.base {
                    Base::Event => elements.len(),
                    Base::Element => 1,
                    Base::Parent => 2,
                };
                let node = elements.len().checked_sub(up).and_then(|i| elements.get(i));
                let text = self.path(node.copied().unwrap_or_default(), path);
                self.line("path", &[&text, &kind.to_string()]);
            }
            ColumnSource::Hash(columns) => self.columns("hash", table, columns),
            ColumnSource::Lookup(lookup) => {
                let Some(other) = self.pipeline.tables.get(lookup.table) else { return };
                self.line("lookup", &[&other.name, column_name(other, lookup.take)]);
                for (theirs, ours) in &lookup.matches {
                    self.line("match", &[column_name(other, *theirs), column_name(table, *ours)]);
                }
            }
        }
    }

    fn path(&self, from: u32, path: &Path) -> String {
        let base = match path.base {
            Base::Event => "$",
            Base::Element => "@",
            Base::Parent => "^",
        };
        format!("{base}{}", walk(&self.pipeline.shape, from, &path.steps).0)
    }
}

fn column_name(table: &Table, column: usize) -> &str {
    table.columns.get(column).map_or("", |c| &c.name)
}

/// The steps in one spelling, and the node they lead to.
fn walk(shape: &Shape, from: u32, steps: &[Step]) -> (String, Option<u32>) {
    let mut text = String::new();
    let mut node = Some(from);
    for step in steps {
        let here = node.and_then(|n| shape.nodes.get(n as usize));
        node = match step {
            Step::Field(slot) => here.and_then(|n| n.fields.get(*slot as usize)).map(|(name, child)| {
                let _ = write!(text, ".{}:{name}", name.len());
                *child
            }),
            Step::Index(index) => {
                let _ = write!(text, "[{index}]");
                here.and_then(|n| n.element)
            }
        };
    }
    (text, node)
}
