//! Checks events whole and states their claims: the hot path, once for every event that was ever read.

use super::explain::Problem;
use super::plan::{Flattener, PartPlan, TablePlan};
use super::rows::{Row, Rows, resolve_duplicates};
use super::scope::{Scope, mask, start, weigh};
use super::value::{Misfit, View};
use crate::batch::{Bad, Chunk, Claim, Claims, Document, EventOrder, EventRef, Sequence, ValueId};
use crate::cell::Cell;
use crate::key::{parts_hash, write_part};
use crate::pipeline::model::Mask;

/// What a chunk's events state.
#[derive(Debug, Default)]
pub struct Checked {
    pub claims: Claims,
    /// Documents that do not fit the pipeline: index in the chunk, and why.
    pub bad: Vec<(u32, Bad)>,
    /// By document: what its rows take in all tables together, in bytes, if every claim wins.
    pub bytes: Vec<u64>,
}

/// What the rows of one event in one table may take, in bytes. Values of the event are repeated in each of its
/// rows, so a small document could otherwise ask for any amount of memory.
const EVENT_TABLE_BYTES: u64 = 256 << 20;

/// Events of which it is worth having room for the claims of dimensions beforehand, and for how many at most: a chunk of
/// tiny ones may claim nothing.
const MANY: usize = 16;
const MOST: usize = 1024;

/// Problems remembered of one event; further ones are counted.
const PROBLEMS: usize = 100;

impl Flattener {
    /// Checks every document of the chunk whole, and states the claims of those that fit. Those that don't fit
    /// become `Bad`, naming the columns and values that do not fit; those beyond the number that a file may have in
    /// quarantine are only counted, so they get no reason.
    pub fn check(&self, chunk: &Chunk, chunk_index: u32) -> Checked {
        let mut checker = Checker::new(self, chunk);
        for (index, document) in (0..).zip(&chunk.documents) {
            checker.document(document, EventRef { chunk: chunk_index, document: index });
        }
        checker.out
    }
}

/// Puts the claims of several chunks together.
pub fn gather(parts: impl IntoIterator<Item = Claims>) -> Claims {
    let mut parts = parts.into_iter();
    let mut all = parts.next().unwrap_or_default();
    for part in parts {
        all.valid += part.valid;
        all.tables.resize_with(all.tables.len().max(part.tables.len()), Vec::new);
        all.duplicates.resize(all.duplicates.len().max(part.duplicates.len()), 0);
        all.tables.iter_mut().zip(part.tables).for_each(|(table, more)| table.extend(more));
        all.duplicates.iter_mut().zip(part.duplicates).for_each(|(sum, more)| *sum += more);
    }
    all
}

/// What all tables share while one document is checked.
struct Event<'c> {
    view: View<'c>,
    root: ValueId,
    key: Vec<Cell<'c>>,
    /// Hash of the key: who owns what the event says in tables that do not mask it.
    owner: u128,
    parts: Vec<u8>,
    text: Vec<u8>,
    problems: Vec<Problem>,
    /// Problems beyond those remembered.
    more: u64,
}

struct Checker<'f, 'c> {
    flattener: &'f Flattener,
    event: Event<'c>,
    tables: Vec<TableCheck<'f, 'c>>,
    out: Checked,
}

/// The check of one table, with room that is used again from event to event.
struct TableCheck<'f, 'c> {
    index: usize,
    plan: &'f TablePlan,
    scope: Scope<'f, 'c>,
    rows: Rows,
    /// (owner, element) of what the event at hand claims here.
    claims: Vec<(u128, u32)>,
    duplicates: u64,
}

impl<'f, 'c> Checker<'f, 'c> {
    fn new(flattener: &'f Flattener, chunk: &'c Chunk) -> Self {
        let view = View::new(chunk);
        let tables: Vec<_> = (flattener.tables.iter().enumerate())
            .map(|(i, plan)| TableCheck::new(i, plan, Scope::new(flattener, plan, view)))
            .collect();
        let mut out = Checked::default();
        // An owned table gets one claim of every event; of many events, a dimension mostly gets about as many.
        let events = chunk.documents.len();
        let often = if events < MANY { 0 } else { events.min(MOST) };
        let claims = tables.iter().map(|t| if t.plan.owner.is_some() { events } else { often });
        out.claims.tables = claims.map(Vec::with_capacity).collect();
        out.claims.duplicates.resize(tables.len(), 0);
        let (parts, text) = (Vec::new(), Vec::new());
        let event =
            Event { view, root: 0, key: Vec::new(), owner: 0, parts, text, problems: Vec::new(), more: 0 };
        Checker { flattener, event, tables, out }
    }

    fn document(&mut self, document: &Document, name: EventRef) {
        self.event.begin(document.root);
        self.event.read_key(&self.flattener.key);
        let sequence = self.event.read_sequence(&self.flattener.sequence);
        let bytes = self.tables.iter_mut().map(|table| table.check(&mut self.event));
        let bytes = bytes.fold(0, u64::saturating_add);
        self.out.bytes.push(bytes);
        if self.event.problems.is_empty() {
            self.accept(EventOrder { sequence, hash: document.hash }, name);
        } else {
            self.refuse(document, name.document);
        }
    }

    fn accept(&mut self, order: EventOrder, event: EventRef) {
        let claims = &mut self.out.claims;
        claims.valid += 1;
        for (table, sum) in self.tables.iter().zip(&mut claims.duplicates) {
            *sum += table.duplicates;
        }
        for (table, all) in self.tables.iter().zip(&mut claims.tables) {
            all.extend(table.claims.iter().map(|(owner, element)| Claim {
                owner: *owner,
                order,
                event,
                element: *element,
                twins: table.duplicates > 0,
            }));
        }
    }

    fn refuse(&mut self, document: &Document, index: u32) {
        let Event { view, root, problems, more, .. } = &self.event;
        let told = (self.out.bad.len() as u64) < self.flattener.told;
        let reason = match told {
            true => self.flattener.explain(*view, *root, problems, *more),
            false => "does not fit the pipeline".into(),
        };
        let bad = Bad {
            position: document.position,
            reason,
            span: Some((document.start, document.end)),
            parsed: true,
        };
        self.out.bad.push((index, bad));
    }
}

impl<'c> Event<'c> {
    fn begin(&mut self, root: ValueId) {
        self.root = root;
        self.key.clear();
        self.problems.clear();
        self.more = 0;
    }

    fn report(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// A part that is missing or does not fit is null, and a problem.
    fn read_key(&mut self, parts: &[PartPlan]) {
        for (i, part) in parts.iter().enumerate() {
            let cell = self.part(part).unwrap_or(Cell::Null);
            if cell.is_null() {
                self.report(Problem::Key(i));
            }
            self.key.push(cell);
        }
        self.owner = owner_hash(&self.key, std::iter::repeat(None), &mut self.parts, &mut self.text);
    }

    /// Who owns what the event says in this table.
    fn owner_in(&mut self, plan: &TablePlan, owner: &[usize]) -> u128 {
        if !plan.masks_owner {
            return self.owner;
        }
        let masks = owner.iter().map(|c| plan.columns.get(*c).and_then(|c| c.mask));
        owner_hash(&self.key, masks, &mut self.parts, &mut self.text)
    }

    fn read_sequence(&mut self, parts: &[PartPlan]) -> Sequence {
        let mut sequence = Sequence::default();
        for (i, (part, value)) in parts.iter().zip(&mut sequence).enumerate() {
            match self.part(part) {
                Ok(Cell::Int(n) | Cell::Timestamp(n)) => *value = n,
                Ok(Cell::Null) if part.optional => *value = i64::MIN,
                _ => self.report(Problem::Sequence(i)),
            }
        }
        sequence
    }

    fn part(&self, part: &PartPlan) -> Result<Cell<'c>, Misfit> {
        let value = self.view.resolve(self.root, &part.steps)?;
        value.map_or(Ok(Cell::Null), |v| self.view.fit(v, part.kind))
    }
}

impl<'f, 'c> TableCheck<'f, 'c> {
    fn new(index: usize, plan: &'f TablePlan, scope: Scope<'f, 'c>) -> Self {
        TableCheck { index, plan, scope, rows: Rows::default(), claims: Vec::new(), duplicates: 0 }
    }

    /// Returns what the rows take, in bytes.
    fn check(&mut self, event: &mut Event<'c>) -> u64 {
        self.claims.clear();
        self.duplicates = 0;
        let (view, table) = (event.view, self.index);
        self.rows.find(view, self.plan, event.root, |n| event.report(Problem::NoArray(table, n)));
        let bytes = if self.rows.rows.is_empty() { 0 } else { self.check_rows(event) };
        if let Some(owner) = &self.plan.owner {
            self.claims.clear();
            let owner = event.owner_in(self.plan, owner);
            self.claims.push((owner, 0));
        }
        bytes
    }

    fn check_rows(&mut self, event: &mut Event<'c>) -> u64 {
        let plan = self.plan;
        let of_event = Row { element: event.root, parent: event.root };
        let whole = self.scope.begin(event.view, event.root, &plan.needed.event);
        if !whole {
            self.report_misfits(event, &plan.needed.event.list, None);
        }
        let leaves = plan.checked.event.paths.weigh(event.view, |base| start(base, event.root, of_event));
        let own = leaves.unwrap_or_else(|| self.weigh_all(event, &plan.checked.event.list, of_event, None));
        let shared = own + self.computed(&plan.needed.event.list) + 8 * plan.columns.len() as u64;
        let mut bytes = 0u64;
        for ordinal in 0..self.rows.rows.len() {
            bytes = bytes.saturating_add(shared).saturating_add(self.check_row(event, ordinal));
        }
        if bytes > EVENT_TABLE_BYTES {
            event.report(Problem::TooLarge(self.index, bytes));
        }
        self.duplicates = resolve_duplicates(&mut self.claims);
        bytes
    }

    /// Bytes of text in the row's own columns.
    fn check_row(&mut self, event: &mut Event<'c>, ordinal: usize) -> u64 {
        let plan = self.plan;
        let (Some(row), Ok(place)) = (self.rows.rows.get(ordinal).copied(), u32::try_from(ordinal)) else {
            return 0;
        };
        if !self.scope.fill(&plan.needed.row, row) {
            self.report_misfits(event, &plan.needed.row.list, Some(place));
        }
        // Of an owned set's only row it is enough that it has a key: it has no twin.
        let alone = plan.owner.is_some() && self.rows.rows.len() == 1;
        let key = if alone { self.scope.has_key().then_some(0) } else { self.scope.key() };
        match key {
            Some(key) => self.claims.push((key, place)),
            None if plan.owner.is_some() => self.report_no_key(event, place),
            None => {}
        }
        let leaves = plan.checked.row.paths.weigh(event.view, |base| start(base, event.root, row));
        let own = leaves.unwrap_or_else(|| self.weigh_all(event, &plan.checked.row.list, row, Some(place)));
        own + self.computed(&plan.needed.row.list)
    }

    /// Checks columns that no key needs one by one, and tells of each that does not fit; the bytes of text in the others.
    fn weigh_all(&self, event: &mut Event<'c>, columns: &[usize], row: Row, place: Option<u32>) -> u64 {
        let mut bytes = 0;
        for &column in columns {
            let plan = &self.plan.columns[column];
            match weigh(event.view, plan, event.root, row) {
                Ok(n) => bytes += n,
                Err(_) if plan.null_on_error => {}
                Err(_) => event.report(Problem::Value { table: self.index, row: place, column }),
            }
        }
        bytes
    }

    fn computed(&self, columns: &[usize]) -> u64 {
        let length = |c: &usize| match self.scope.cells.get(*c) {
            Some(Cell::Text(t)) => t.len() as u64,
            _ => 0,
        };
        columns.iter().map(length).sum()
    }

    fn report_misfits(&self, event: &mut Event<'c>, columns: &[usize], place: Option<u32>) {
        for &column in columns.iter().filter(|c| self.scope.misfits[**c] && self.plan.is_path(**c)) {
            event.report(Problem::Value { table: self.index, row: place, column });
        }
    }

    /// A key column of an owned row is null. Where the event's own key is missing, or the value does not fit, that
    /// has been said.
    fn report_no_key(&self, event: &mut Event<'c>, place: u32) {
        let owner = self.plan.owner.as_deref().unwrap_or_default();
        for &column in self.plan.key.iter().filter(|c| !owner.contains(c)) {
            if self.scope.cells[column].is_null() && !self.scope.misfits[column] {
                event.report(Problem::NoKey { table: self.index, row: place, column });
            }
        }
    }
}

/// Hash of the event's key as columns with these masks store it.
fn owner_hash(
    key: &[Cell<'_>],
    masks: impl Iterator<Item = Option<Mask>>,
    parts: &mut Vec<u8>,
    text: &mut Vec<u8>,
) -> u128 {
    parts.clear();
    for (cell, of_column) in key.iter().zip(masks) {
        match of_column {
            None => cell.text(text).into_iter().for_each(|t| write_part(parts, t)),
            masked => {
                let stored = mask(masked, cell.clone(), text);
                stored.text(text).into_iter().for_each(|t| write_part(parts, t));
            }
        }
    }
    parts_hash(parts)
}
