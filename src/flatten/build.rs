//! Builds the rows of the claims that won, table by table.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};

use super::columns::{ColumnBuilder, builders};
use super::plan::{Flattener, PartPlan, TablePlan};
use super::rows::{Row, Rows};
use super::scope::{Scope, mask};
use super::value::View;
use crate::batch::{Chunk, Claim, EventRef, KeyPart, OwnerRows, TableRows, ValueId};
use crate::cell::{Cell, content_hash};
use crate::error::{Error, Result};

impl Flattener {
    /// Builds the rows of the winning claims of one table, in the order given; the rows of one claim stand
    /// together. `chunks` are those that the claims were stated for, by their index.
    ///
    /// # Errors
    /// `Config` if a column would pass 2 GiB of text; else only bugs: claims of other chunks or events.
    pub fn build(&self, table: usize, chunks: &[Chunk], winners: &[Claim]) -> Result<TableRows> {
        let plan = self.tables.get(table).ok_or_else(|| Error::Bug(format!("there is no table {table}")))?;
        let mut builder = Builder::new(self, plan, chunks, winners.len())?;
        if plan.owner.is_some() {
            for claim in winners {
                builder.owned(claim)?;
            }
        } else {
            let places = builder.places(winners)?;
            for (claim, row) in winners.iter().zip(places) {
                builder.dimension(claim, row)?;
            }
        }
        builder.finish()
    }
}

struct Builder<'f, 'c> {
    flattener: &'f Flattener,
    plan: &'f TablePlan,
    chunks: &'c [Chunk],
    scope: Scope<'f, 'c>,
    /// The event whose own columns `scope` holds.
    event: Option<EventRef>,
    rows: Rows,
    columns: Vec<ColumnBuilder>,
    owners: Vec<OwnerRows>,
    built: u32,
    /// The rows of the claim at hand, encoded for their content hash.
    encoded: Vec<u8>,
}

fn bug(what: &str, event: EventRef) -> Error {
    Error::Bug(format!("{what} (document {} of chunk {})", event.document, event.chunk))
}

impl<'f, 'c> Builder<'f, 'c> {
    fn new(
        flattener: &'f Flattener,
        plan: &'f TablePlan,
        chunks: &'c [Chunk],
        claims: usize,
    ) -> Result<Self> {
        Ok(Builder {
            flattener,
            plan,
            chunks,
            scope: Scope::new(flattener, plan, View::EMPTY),
            event: None,
            rows: Rows::default(),
            columns: builders(&plan.schema, claims)?,
            owners: Vec::with_capacity(claims),
            built: 0,
            encoded: Vec::new(),
        })
    }

    fn locate(&self, event: EventRef) -> Result<(&'c Chunk, View<'c>, ValueId)> {
        let chunk = self.chunks.get(event.chunk as usize);
        let found =
            chunk.and_then(|c| Some((c, View::new(c), c.documents.get(event.document as usize)?.root)));
        found.ok_or_else(|| bug("a claim names an event that is not there", event))
    }

    fn owned(&mut self, claim: &Claim) -> Result<()> {
        let (chunk, view, root) = self.turn_to(claim.event)?;
        self.rows.find(view, self.plan, root, |_| {});
        let rows = std::mem::take(&mut self.rows);
        let first = self.built;
        if claim.twins {
            for (_, ordinal) in self.scope.survivors(&rows.rows) {
                if let Some(row) = rows.rows.get(ordinal as usize) {
                    self.append(claim.event, *row)?;
                }
            }
        } else {
            rows.rows.iter().try_for_each(|row| self.append(claim.event, *row))?;
        }
        self.rows = rows;
        let key = if first == self.built { self.event_key(view, root) } else { Vec::new() };
        self.close(claim, chunk.file, first, key);
        Ok(())
    }

    fn dimension(&mut self, claim: &Claim, row: Row) -> Result<()> {
        let (chunk, ..) = self.turn_to(claim.event)?;
        let first = self.built;
        self.append(claim.event, row)?;
        self.close(claim, chunk.file, first, Vec::new());
        Ok(())
    }

    /// Where each claim's row comes from. Claims are visited event by event, so that an event's elements are
    /// walked once even if `winners` mix them.
    fn places(&mut self, winners: &[Claim]) -> Result<Vec<Row>> {
        let mut order: Vec<usize> = (0..winners.len()).collect();
        order.sort_by_key(|i| winners.get(*i).map(|c| c.event));
        let mut places = vec![Row { element: 0, parent: 0 }; winners.len()];
        let mut event = None;
        for i in order {
            let (Some(claim), Some(place)) = (winners.get(i), places.get_mut(i)) else { continue };
            if event.replace(claim.event) != Some(claim.event) {
                let (_, view, root) = self.locate(claim.event)?;
                self.rows.find(view, self.plan, root, |_| {});
            }
            let row = self.rows.rows.get(claim.element as usize);
            *place = *row.ok_or_else(|| bug("a claim names an element that is not there", claim.event))?;
        }
        Ok(places)
    }

    /// Computes the columns that all rows of the event share.
    fn turn_to(&mut self, event: EventRef) -> Result<(&'c Chunk, View<'c>, ValueId)> {
        let (chunk, view, root) = self.locate(event)?;
        if self.event.replace(event) != Some(event) && !self.scope.begin(view, root, &self.plan.all.event) {
            // Without rows it does not matter that a value which only rows would hold does not fit.
            self.event = None;
        }
        Ok((chunk, view, root))
    }

    fn append(&mut self, event: EventRef, row: Row) -> Result<()> {
        if !self.scope.fill(&self.plan.all.row, row) || self.event.is_none() {
            return Err(bug("an event that does not fit was claimed to", event));
        }
        for (cell, column) in self.scope.cells.iter().zip(&mut self.columns) {
            column.append(cell)?;
            cell.encode(&mut self.encoded);
        }
        self.built = self.built.checked_add(1).ok_or_else(|| bug("too many rows", event))?;
        Ok(())
    }

    fn close(&mut self, claim: &Claim, file: u32, first: u32, key: Vec<KeyPart>) {
        self.owners.push(OwnerRows {
            owner: claim.owner,
            order: claim.order,
            file,
            content: content_hash(&self.encoded),
            first,
            count: self.built - first,
            key,
        });
        self.encoded.clear();
    }

    /// The event's key as the table's columns would hold it.
    fn event_key(&self, view: View<'c>, root: ValueId) -> Vec<KeyPart> {
        let columns = self.plan.owner.as_deref().unwrap_or_default();
        let masks = columns.iter().map(|c| self.plan.columns.get(*c).and_then(|c| c.mask));
        let parts = self.flattener.key.iter().zip(masks);
        parts.map(|(part, m)| key_part(mask(m, read(view, root, part), &mut Vec::new()))).collect()
    }

    fn finish(self) -> Result<TableRows> {
        let columns =
            self.columns.into_iter().map(ColumnBuilder::finish).collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.built as usize));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.plan.schema), columns, &options)
            .map_err(|e| Error::Bug(format!("rows of {}: {e}", self.plan.name)))?;
        Ok(TableRows { rows, owners: self.owners })
    }
}

fn read<'c>(view: View<'c>, root: ValueId, part: &PartPlan) -> Cell<'c> {
    let value = view.resolve(root, &part.steps).ok().flatten();
    value.and_then(|v| view.fit(v, part.kind).ok()).unwrap_or(Cell::Null)
}

fn key_part(cell: Cell<'_>) -> KeyPart {
    let mut buf = Vec::new();
    match cell {
        Cell::Int(n) => KeyPart::Int(n),
        other => {
            let text = other.text(&mut buf).unwrap_or_default();
            KeyPart::Text(String::from_utf8_lossy(text).into_owned())
        }
    }
}
