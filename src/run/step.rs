//! One batch from decoded events to visible rows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use crate::batch::{Counts, FileRange, Plan, Unread};
use crate::error::{Error, Result};
use crate::fault;
use crate::flatten::Flattener;
use crate::merge::{self, Winners};
use crate::origin;
use crate::report::{BatchReport, REJECTIONS, Rejection, Timing};
use crate::root::{Root, file_id};
use crate::system::{self, Rejected};
use crate::threads;

use super::Session;
use super::ahead::Stock;
use super::cap::{Capped, Rest, cap};

/// What reading ahead made of some files: the batch before anything of the tables was asked.
#[derive(Debug, Default)]
pub struct Intake {
    pub files: Vec<FileRange>,
    pub stock: Stock,
    /// File by file, in the order of each file; of one file at most as many as are told one by one.
    pub rejected: Vec<Rejected>,
    /// What is beyond that, for each file that has it.
    pub rest: Vec<Rest>,
    pub unread: Vec<Unread>,
    /// Files whose range was cut short: to be taken up again where it ended.
    pub cut: Vec<Arc<str>>,
    pub bytes: u64,
    /// Milliseconds it took to read, decode and check.
    pub read_ms: f64,
}

impl Session {
    /// merge -> stage -> commit -> mirror -> report. On an error the batch did not happen, or the next start
    /// finds out.
    pub fn run_batch(&mut self, intake: Intake) -> Result<BatchReport> {
        self.begin_batch(intake)?;
        self.end_batch().ok_or_else(|| Error::Bug("a batch without a report".into()))
    }

    /// As [`Session::run_batch`], but the mirror is left at work. Returns the report of the batch before, once that is
    /// in the mirror: [`Session::end_batch`] gives this one's.
    pub fn begin_batch(&mut self, mut intake: Intake) -> Result<Option<BatchReport>> {
        let stock = std::mem::take(&mut intake.stock);
        let begin = Instant::now();
        let now = self.root.clock.now_micros();
        let batch = self.root.next_batch;
        let capped = cap(&self.root, &self.tallies, &intake, self.root.pipeline.limits.quarantine_documents)?;
        let (root, flattener, intake) = (&self.root, &self.flattener, &intake);
        let plans =
            Planner { root, flattener, intake, stock: &stock, capped: &capped, batch, now }.plans()?;
        // Rows hold all that they need: the next but one may be read.
        drop(stock);
        let ledger = system::files_rows(&intake.files, batch, now)?;
        let merged = ms(begin);
        fault::point("batch.merged");
        let done = self.root.commit_batch(&plans, ledger.clone())?;
        fault::point("batch.committed");
        self.ledger.apply(batch, &intake.files);
        capped.into_tallies(&mut self.tallies, intake);
        self.keep_checkpoint(&intake.files);
        fault::point("batch.kept");
        let mut timing = Timing {
            read: intake.read_ms,
            merge: merged,
            stage: done.staged.as_secs_f64() * 1e3,
            commit: done.committed.as_secs_f64() * 1e3,
            mirror: 0.0,
            total: intake.read_ms + ms(begin),
        };
        let before = self.end_batch();
        let mirrored = Instant::now();
        if let Some(mirror) = &mut self.mirror {
            self.notes.extend(mirror.begin(&self.root, &plans, &ledger));
            // Making a mirror level that was behind is done by now.
            timing.mirror = ms(mirrored);
            timing.total += timing.mirror;
        }
        self.underway = Some(self.report(intake, &plans, batch, now, timing));
        Ok(before)
    }

    fn report(&self, intake: &Intake, plans: &[Plan], batch: u64, now: i64, ms: Timing) -> BatchReport {
        let tables = self.root.states.iter().zip(plans);
        let of_pipeline = tables.take(self.root.pipeline.tables.len());
        BatchReport {
            batch,
            at: now,
            files: intake.files.iter().filter(|f| f.last).count() as u64,
            changed: intake.files.iter().filter(|f| f.changed && f.last).count() as u64,
            bytes: intake.bytes,
            events: intake.files.iter().map(|f| f.events).sum(),
            quarantined: intake.rejected.len() as u64 + intake.rest.iter().map(|r| r.documents).sum::<u64>(),
            duplicate_keys: intake.files.iter().map(|f| f.duplicate_keys).sum(),
            tables: of_pipeline.map(|(s, p)| (s.table.def.name.clone(), p.counts)).collect(),
            rejected: intake.rejected.iter().take(REJECTIONS).map(|r| rejection(intake, r)).collect(),
            ms,
        }
    }
}

fn rejection(intake: &Intake, rejected: &Rejected) -> Rejection {
    Rejection {
        file: intake.files[rejected.file as usize].name.to_string(),
        line: rejected.position.line,
        byte_offset: rejected.position.offset,
        element: rejected.position.element,
        reason: rejected.reason.clone(),
    }
}

/// What planning needs; shared by its threads.
struct Planner<'a> {
    root: &'a Root,
    flattener: &'a Flattener,
    intake: &'a Intake,
    stock: &'a Stock,
    capped: &'a Capped<'a>,
    batch: u64,
    now: i64,
}

impl Planner<'_> {
    /// The plan of every keyed table, several at a time. The text of the batch stays in memory until the last one is
    /// done, so the largest come first.
    fn plans(&self) -> Result<Vec<Plan>> {
        let tables = &self.root.pipeline.tables;
        let claims = |at: &usize| self.stock.claims.tables[*at].len();
        let all = (0..tables.len()).collect();
        let winners = threads::each_by_size(usize::MAX, all, claims, |at| Ok((at, self.winners(at))))?;
        let cells = |(at, winners): &(usize, Winners)| winners.claims.len() * tables[*at].columns.len();
        let mut plans =
            threads::each_by_size(usize::MAX, winners, cells, |(at, winners)| self.table(at, &winners))?;
        plans.push(self.quarantine()?);
        Ok(plans)
    }

    fn winners(&self, at: usize) -> Winners {
        merge::choose(&self.root.states[at].index, &self.stock.claims.tables[at])
    }

    fn table(&self, at: usize, winners: &Winners) -> Result<Plan> {
        let index = &self.root.states[at].index;
        let counts = winners.counts(self.stock.claims.duplicates[at]);
        let rows = self.flattener.build(at, &self.stock.chunks, &winners.claims)?;
        let mut plan = merge::plan(index, rows, file_id(self.batch)?, counts)?;
        if let Some(append) = &mut plan.append {
            let event = &self.root.pipeline.event;
            append.rows = origin::add(append, event, &self.intake.files, self.batch, self.now)?;
        }
        Ok(plan)
    }

    /// Reading a file again replaces what was wrong in it.
    fn quarantine(&self) -> Result<Plan> {
        let state = &self.root.states[self.root.quarantine()];
        let index = &state.index;
        let again = |f: &&FileRange| f.changed && f.start.offset == 0;
        let names: HashSet<&str> = self.intake.files.iter().filter(again).map(|f| &*f.name).collect();
        let old =
            if names.is_empty() { Vec::new() } else { self.root.quarantined(&|n| names.contains(n))? };
        let rows = system::quarantine_rows(&self.intake.files, self.capped.rows(), &old, self.batch)?;
        let mut plan = merge::plan(index, rows, file_id(self.batch)?, Counts::default())?;
        if let Some(append) = &mut plan.append {
            append.rows = system::quarantine_origin(&append.rows, self.batch, self.now)?;
        }
        Ok(plan)
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
