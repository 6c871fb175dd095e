//! Computes the columns of one table for the rows of one event at a time.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::plan::{ColumnPlan, Columns, Flattener, LookupPlan, Source, TablePlan};
use super::rows::{Row, Rows, resolve_duplicates};
use super::value::{Misfit, View};
use crate::batch::ValueId;
use crate::cell::Cell;
use crate::key::{StoredHash, hex_into, parts_hash, write_part};
use crate::pipeline::model::{Base, Mask};

pub struct Scope<'f, 'c> {
    flattener: &'f Flattener,
    table: &'f TablePlan,
    view: View<'c>,
    root: ValueId,
    /// By column; meaningful for those that were computed.
    pub cells: Vec<Cell<'c>>,
    /// By column: the value does not fit (the cell is null then), or an input of it does not.
    pub misfits: Vec<bool>,
    /// By column: what its lookup searches, made when first asked for.
    indexes: Vec<Option<Index<'f, 'c>>>,
    text: Vec<u8>,
    parts: Vec<u8>,
    hash: StoredHash,
}

impl<'f, 'c> Scope<'f, 'c> {
    pub fn new(flattener: &'f Flattener, table: &'f TablePlan, view: View<'c>) -> Self {
        let width = table.columns.len();
        Scope {
            flattener,
            table,
            view,
            root: 0,
            cells: vec![Cell::Null; width],
            misfits: vec![false; width],
            indexes: std::iter::repeat_with(|| None).take(width).collect(),
            text: Vec::new(),
            parts: Vec::new(),
            hash: StoredHash::new(),
        }
    }

    /// Turns to another event and computes the columns that all its rows share. True if all fit.
    pub fn begin(&mut self, view: View<'c>, root: ValueId, columns: &Columns) -> bool {
        self.view = view;
        self.root = root;
        self.indexes.iter_mut().flatten().for_each(|index| index.is_made = false);
        self.fill(columns, Row { element: root, parent: root })
    }

    /// Computes `columns`. True if all fit.
    pub fn fill(&mut self, columns: &Columns, row: Row) -> bool {
        let mut clean = true;
        let (view, root) = (self.view, self.root);
        let (cells, misfits, buf) = (&mut self.cells, &mut self.misfits, &mut self.text);
        let from = |base| start(base, root, row);
        columns.paths.each(view, from, |leaf, found| {
            let fits = leaf.put(view, found, &mut cells[leaf.column], buf);
            misfits[leaf.column] = !fits;
            clean &= fits;
        });
        for &c in &columns.made {
            let cell = self.make(c);
            clean &= cell.is_some();
            self.misfits[c] = cell.is_none();
            self.cells[c] = cell.unwrap_or(Cell::Null);
        }
        clean
    }

    /// Hash of what tells the row from others of its event, from columns that were computed; of a dimension that is its
    /// whole key. `None` if a part is null.
    pub fn key(&mut self) -> Option<u128> {
        let table = self.table;
        self.hash_of(&table.twin)
    }

    /// No part of the key is null.
    pub fn has_key(&self) -> bool {
        self.table.key.iter().all(|c| !self.cells[*c].is_null())
    }

    /// Of an event's rows those that remain once the ones without a key and earlier duplicates are gone: (hash of
    /// the key, ordinal). The event's own columns were computed by `begin`.
    pub fn survivors(&mut self, rows: &[Row]) -> Vec<(u128, u32)> {
        let table = self.table;
        let mut keys = Vec::with_capacity(rows.len());
        for (ordinal, row) in (0..).zip(rows) {
            self.fill(&table.needed.row, *row);
            keys.extend(self.key().map(|key| (key, ordinal)));
        }
        resolve_duplicates(&mut keys);
        keys
    }

    fn hash_of(&mut self, columns: &[usize]) -> Option<u128> {
        self.parts.clear();
        for &c in columns {
            write_part(&mut self.parts, self.cells[c].text(&mut self.text)?);
        }
        Some(parts_hash(&self.parts))
    }

    /// A column that is made of others; `None` if one of them does not fit.
    fn make(&mut self, column: usize) -> Option<Cell<'c>> {
        let table = self.table;
        let plan = table.columns.get(column)?;
        let (cell, inputs) = match &plan.source {
            Source::Path { .. } => return None,
            Source::Hash(parts) => (self.hash(parts), parts),
            Source::Lookup(lookup) => (self.lookup(column, lookup), &lookup.ours),
        };
        let whole = !inputs.iter().any(|p| self.misfits[*p]);
        whole.then(|| mask(plan.mask, cell, &mut self.text))
    }

    fn hash(&mut self, parts: &[usize]) -> Cell<'c> {
        for &p in parts {
            self.hash.part(self.cells[p].text(&mut self.text));
        }
        self.hash.finish().map_or(Cell::Null, Cell::Hash)
    }

    fn lookup(&mut self, column: usize, lookup: &LookupPlan) -> Cell<'c> {
        let Some(wanted) = self.hash_of(&lookup.ours) else {
            return Cell::Null;
        };
        let (flattener, view, root) = (self.flattener, self.view, self.root);
        let Some(other) = flattener.tables.get(lookup.table) else { return Cell::Null };
        let index = self.indexes[column].get_or_insert_with(|| Index::new(flattener, other));
        if !index.is_made {
            index.make(view, root, lookup);
        }
        index.find(wanted)
    }
}

/// The value of a path column, before its mask.
pub fn fit<'c>(view: View<'c>, plan: &ColumnPlan, root: ValueId, row: Row) -> Result<Cell<'c>, Misfit> {
    let Source::Path { base, steps, kind, .. } = &plan.source else {
        return Ok(Cell::Null);
    };
    let value = view.resolve(start(*base, root, row), steps)?;
    value.map_or(Ok(Cell::Null), |v| view.fit(v, *kind))
}

/// Whether a path column fits: the bytes of text that it would take in the row.
pub fn weigh(view: View<'_>, plan: &ColumnPlan, root: ValueId, row: Row) -> Result<u64, Misfit> {
    let Source::Path { base, steps, kind, .. } = &plan.source else {
        return Ok(0);
    };
    let value = view.resolve(start(*base, root, row), steps)?;
    value.map_or(Ok(0), |v| view.weigh(v, *kind))
}

pub fn start(base: Base, root: ValueId, row: Row) -> ValueId {
    match base {
        Base::Event => root,
        Base::Element => row.element,
        Base::Parent => row.parent,
    }
}

/// What is stored of a value. `buf` is room for its text.
#[inline(always)]
pub fn mask<'c>(mask: Option<Mask>, cell: Cell<'c>, buf: &mut Vec<u8>) -> Cell<'c> {
    match mask {
        None => cell,
        Some(mask) => masked(mask, cell, buf),
    }
}

fn masked<'c>(mask: Mask, cell: Cell<'c>, buf: &mut Vec<u8>) -> Cell<'c> {
    match mask {
        Mask::Drop => Cell::Null,
        Mask::Redact if !cell.is_null() => Cell::Text(Cow::Borrowed(b"***")),
        Mask::Redact => Cell::Null,
        Mask::Sha256 => cell.text(buf).map_or(Cell::Null, |text| {
            let mut hex = vec![0; 64];
            hex_into(&Sha256::digest(text), &mut hex);
            Cell::Text(Cow::Owned(hex))
        }),
    }
}

/// The rows of another table that a lookup searches: by hash of the matching columns, the first of each. Used again
/// from event to event.
struct Index<'f, 'c> {
    scope: Box<Scope<'f, 'c>>,
    rows: Rows,
    found: Vec<(u128, usize)>,
    taken: Vec<Cell<'c>>,
    /// For the event at hand.
    is_made: bool,
}

impl<'f, 'c> Index<'f, 'c> {
    fn new(flattener: &'f Flattener, table: &'f TablePlan) -> Self {
        let scope = Box::new(Scope::new(flattener, table, View::EMPTY));
        Index { scope, rows: Rows::default(), found: Vec::new(), taken: Vec::new(), is_made: false }
    }

    fn make(&mut self, view: View<'c>, root: ValueId, lookup: &LookupPlan) {
        let Index { scope, rows, found, taken, is_made } = self;
        found.clear();
        taken.clear();
        let table = scope.table;
        rows.find(view, table, root, |_| {});
        scope.begin(view, root, &table.needed.event);
        let kept = scope.survivors(&rows.rows);
        scope.fill(&lookup.needed.event, Row { element: root, parent: root });
        for (_, ordinal) in kept {
            let Some(row) = rows.rows.get(ordinal as usize) else { continue };
            scope.fill(&lookup.needed.row, *row);
            if let Some(hash) = scope.hash_of(&lookup.theirs) {
                found.push((hash, taken.len()));
                taken.push(scope.cells[lookup.take].clone());
            }
        }
        found.sort_unstable();
        found.dedup_by_key(|(hash, _)| *hash);
        *is_made = true;
    }

    fn find(&self, wanted: u128) -> Cell<'c> {
        let at = self.found.binary_search_by_key(&wanted, |(hash, _)| *hash);
        at.ok().and_then(|i| self.taken.get(self.found.get(i)?.1)).cloned().unwrap_or(Cell::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_hide_the_canonical_text() {
        let mut buf = Vec::new();
        let money = || Cell::Decimal { unscaled: 15_000, scale: 4 };
        let hex: String = Sha256::digest("1.5000").iter().map(|b| format!("{b:02x}")).collect();
        let text = |t: &str| Cell::Text(Cow::Owned(t.as_bytes().to_vec()));
        assert_eq!(mask(None, money(), &mut buf), money());
        assert_eq!(mask(Some(Mask::Sha256), money(), &mut buf), text(&hex));
        assert_eq!(mask(Some(Mask::Redact), money(), &mut buf), text("***"));
        assert_eq!(mask(Some(Mask::Drop), money(), &mut buf), Cell::Null);
        for m in [Mask::Sha256, Mask::Redact, Mask::Drop] {
            assert_eq!(mask(Some(m), Cell::Null, &mut buf), Cell::Null);
        }
    }
}
