//! Keeps the mirror level with the tables: batch by batch while it can, from the tables when it is behind.

use std::path::Path;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use crate::batch::Plan;
use crate::error::{Error, Result};
use crate::fault;
use crate::ledger::Mark;
use crate::mirror::{Mirror, Outcome, State};
use crate::root::Root;

use super::beside::{Beside, Ended};
use super::contents::{catch_up, changes, rebuild, system_tables, table_ref};

/// The mirror and how far it is. A mirror that cannot be opened or cannot take a batch (another program writes to it,
/// its disk is full) stops nothing: it stays behind, and is brought level as soon as that works.
pub struct Kept {
    beside: Beside,
    state: State,
    /// Not open: there is nothing yet, or the file went and could not be made again yet.
    lost: bool,
    /// The last try to bring it level failed: when, and what that took.
    failed: Option<Tried>,
    /// When it was last filled because of what somebody else did to it, and what that took.
    refilled: Option<Tried>,
    /// The last try to complete it failed.
    incomplete: Option<Tried>,
    /// It was in the making when it was last at rest.
    making: bool,
    /// Batches come one after the other.
    many: bool,
    /// What was said about its being behind, so that it is said once.
    told: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Tried {
    at: Instant,
    took: Duration,
}

impl Tried {
    fn now(took: Duration) -> Tried {
        Tried { at: Instant::now(), took }
    }

    /// Trying takes a small part of the time, however long it takes.
    fn is_recent(&self, share: u32) -> bool {
        self.at.elapsed() < self.took * share
    }
}

/// The indexes first: as long as nobody sees it, that needs no log. It is shown without them rather than not at all.
fn complete(mirror: &mut Mirror, batch: u64, pause: &AtomicBool) -> Result<Outcome> {
    let made = mirror.index(batch, pause);
    let failed = made.is_err();
    if !mirror.is_hidden() || !(failed || matches!(made, Ok(Outcome::Done)) && !mirror.lacks_indexes()) {
        return made;
    }
    match mirror.show()? {
        Outcome::Done if failed => made,
        shown => Ok(shown),
    }
}

/// How long another writer is waited for: at first, and while the mirror is behind because of one.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(100));

impl Kept {
    /// Opens the mirror and brings it level. Returns what there is to say about it.
    ///
    /// # Errors
    /// `Config` if a view of the pipeline does not work, `Corrupt` if the tables are damaged where the mirror has to be
    /// filled from them. Whatever is wrong with the mirror stops nothing.
    pub fn open(root: &Root, database: &Path) -> Result<(Kept, Vec<String>)> {
        let mirror = Mirror::closed(database, &root.pipeline, &system_tables(), root.identity.root_id())?;
        let mut kept = Kept {
            beside: Beside::new(mirror),
            state: State::Fresh,
            lost: true,
            failed: None,
            refilled: None,
            incomplete: None,
            making: false,
            many: false,
            told: None,
        };
        let mut notes = Vec::new();
        let begin = Instant::now();
        let done = kept.restore(root, &mut notes).and_then(|()| kept.hold_against(root, &mut notes));
        if let Err(e @ Error::Corrupt(_)) = done {
            // The tables are: the mirror's own damage is mended.
            return Err(e);
        }
        kept.note_end(begin.elapsed(), done, root, &mut notes);
        if kept.mirror().was_hidden_long() {
            notes.extend(kept.leave(root));
        }
        Ok((kept, notes))
    }

    /// It is not level with the tables.
    pub fn is_behind(&self) -> bool {
        self.failed.is_some()
    }

    /// It is in the making, and nothing keeps it from being shown soon.
    pub fn is_in_the_making(&self) -> bool {
        let stuck = self.lost || self.failed.is_some() || self.incomplete.is_some();
        !stuck && if self.beside.would_wait() { self.making } else { self.mirror().is_hidden() }
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.beside.mirror()
    }

    /// Begins to apply a batch that was just committed; [`Kept::settle`] waits for it. The one before must have been
    /// settled.
    pub fn begin(&mut self, root: &Root, plans: &[Plan], ledger: &RecordBatch) -> Vec<String> {
        let batch = root.record.batch;
        if self.lost || self.failed.is_some() || self.state != State::Level(batch - 1) {
            return self.make_level(root);
        }
        self.follow(root);
        let (changes, many) = (changes(root, plans, ledger), self.many);
        self.beside.begin(batch, move |mirror, _| {
            if many {
                mirror.expect_many();
            }
            let outcome = mirror.apply(batch, &changes)?;
            if outcome == Outcome::Done
                && mirror.is_hidden()
                && (!many || mirror.was_hidden_long())
                && let Ok(lost @ Outcome::Lost(_)) = mirror.show()
            {
                return Ok(lost);
            }
            // It is level, shown or not.
            Ok(outcome)
        });
        Vec::new()
    }

    /// Many batches come, or have come: see [`Mirror::expect_many`], and a mirror in the making is shown when they are in.
    pub fn expect_many(&mut self, many: bool) {
        self.many = many;
    }

    /// Begins what was put off while many batches came, if anything was: indexes are made, and a mirror in the making is
    /// shown. An end that is asked for before is waited for no longer than one index takes. Nothing else may be under way.
    pub fn complete(&mut self, root: &Root) {
        let batch = root.record.batch;
        if self.may_complete(batch) {
            self.beside.begin(batch, move |mirror, pause| complete(mirror, batch, pause));
        }
    }

    /// Does all of it.
    pub fn finish(&mut self, root: &Root) -> Vec<String> {
        let batch = root.record.batch;
        let (mut notes, _) = self.settle(root);
        // It is the last try, however recent the one before.
        self.incomplete = None;
        if self.may_complete(batch) {
            let begin = Instant::now();
            let outcome = complete(&mut self.mirror(), batch, &AtomicBool::new(false));
            self.beside.end(Ended { batch, outcome, took: begin.elapsed() });
            notes.extend(self.settle(root).0);
        }
        notes
    }

    /// Does of it what cannot be left to the next start: that makes indexes that are missing and brings level what is behind,
    /// but knows of no mirror in the making.
    pub fn leave(&mut self, root: &Root) -> Vec<String> {
        let (mut notes, _) = self.settle(root);
        if !self.lost && self.state != State::Fresh && self.mirror().is_hidden() {
            match self.mirror().show() {
                Ok(Outcome::Lost(why)) => notes.push(format!("{why}; the next start makes it")),
                Ok(_) => {}
                Err(e) => notes.push(format!("the next start makes the mirror: {e}")),
            }
        }
        notes
    }

    fn may_complete(&self, batch: u64) -> bool {
        let level = !self.lost && self.failed.is_none() && self.state == State::Level(batch);
        let mirror = || self.mirror();
        level
            && !self.incomplete.is_some_and(|tried| tried.is_recent(10))
            && (mirror().lacks_indexes() || mirror().is_hidden())
    }

    /// Asking for it would have to wait.
    pub fn is_at_work(&self) -> bool {
        self.beside.would_wait()
    }

    /// Waits for the batch that was begun last. What there is to say, and how long it took.
    pub fn settle(&mut self, root: &Root) -> (Vec<String>, Duration) {
        let mut notes = Vec::new();
        let Some(Ended { batch, outcome, took }) = self.beside.collect() else {
            return (notes, Duration::ZERO);
        };
        let begin = Instant::now();
        let making = self.mirror().is_hidden();
        self.making = making;
        let was_level = self.state == State::Level(batch);
        let done = match outcome {
            Ok(Outcome::Lost(how)) => {
                notes.push(format!("{how}; it is made again from the tables"));
                self.restore(root, &mut notes)
            }
            Ok(_) => {
                self.state = State::Level(batch);
                Ok(())
            }
            // It is level all the same.
            Err(e) if was_level => {
                notes.push(format!("the mirror is completed later: {e}"));
                self.incomplete = Some(Tried { at: begin, took: took.max(Duration::from_secs(1)) });
                return (notes, took);
            }
            Err(e) => Err(e),
        };
        let took = took + begin.elapsed();
        self.note_end(took, done, root, &mut notes);
        (notes, took)
    }

    /// A compaction changes no rows: the mirror only takes note of its batch. What was begun must have been settled.
    pub fn pass(&mut self, root: &Root) -> Vec<String> {
        let batch = root.record.batch;
        if self.lost || self.failed.is_some() || self.state != State::Level(batch - 1) {
            return self.make_level(root);
        }
        self.follow(root);
        let begin = Instant::now();
        let outcome = self.mirror().apply(batch, &[]);
        self.beside.end(Ended { batch, outcome, took: begin.elapsed() });
        self.settle(root).0
    }

    /// Between batches: brings a mirror level that was deleted, replaced or changed, or could not take a batch.
    pub fn mend(&mut self, root: &Root) -> Vec<String> {
        let mut notes = Vec::new();
        let begin = Instant::now();
        let present = !self.lost && self.mirror().present();
        let done = if present {
            self.bring_level(root, &mut notes).and_then(|()| self.refill(root, &mut notes))
        } else {
            if !self.lost {
                notes.push("the mirror was deleted or replaced; it is made again from the tables".into());
            }
            self.restore(root, &mut notes)
        };
        self.note_end(begin.elapsed(), done, root, &mut notes);
        notes
    }

    /// For a mirror that is behind when a batch comes.
    fn make_level(&mut self, root: &Root) -> Vec<String> {
        let mut notes = Vec::new();
        // Batches must not wait, one after the other, for a mirror that cannot be written to.
        if self.failed.is_some_and(|tried| tried.is_recent(10)) {
            return notes;
        }
        let begin = Instant::now();
        let done =
            if self.lost { self.restore(root, &mut notes) } else { self.bring_level(root, &mut notes) };
        self.note_end(begin.elapsed(), done, root, &mut notes);
        notes
    }

    /// Takes note of how trying went; what there is to say about it is said once.
    fn note_end(&mut self, took: Duration, done: Result<()>, root: &Root, notes: &mut Vec<String>) {
        match done {
            Ok(()) => {
                if self.failed.take().is_some() {
                    self.mirror().wait_for_others(PATIENCE.0);
                    notes.push(format!("the mirror is level again, at batch {}", root.record.batch));
                }
                self.told = None;
            }
            Err(e) => {
                self.failed = Some(Tried::now(took));
                self.mirror().wait_for_others(PATIENCE.1);
                let said = e.to_string();
                if self.told.as_ref() != Some(&said) {
                    notes.push(format!(
                        "the mirror is behind, and brought level as soon as that works (the tables go on without \
                         it): {said}"
                    ));
                    self.told = Some(said);
                }
            }
        }
    }

    /// A small mirror that says it is level must have as many rows as the tables: somebody may have deleted some
    /// while nobody was running. (What was changed otherwise is `verify`'s to find.)
    fn hold_against(&mut self, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        for (at, state) in root.states.iter().enumerate() {
            let table = table_ref(root, at);
            if self.mirror().count_if_small(table)?.is_some_and(|rows| rows != state.table.rows_alive()) {
                notes.push(format!(
                    "the mirror has other rows of {} than the table: another program changed it; it is filled again \
                     from the tables",
                    state.table.def.name
                ));
                return self.fill(root, notes);
            }
        }
        Ok(())
    }

    /// Another program wrote to the file while we had it open: what it changed is not known, so everything is
    /// filled again. Not over and over, should it go on writing.
    fn refill(&mut self, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        if !self.mirror().is_touched() || self.refilled.is_some_and(|tried| tried.is_recent(50)) {
            return Ok(());
        }
        notes.push("another program wrote to the mirror; it is filled again from the tables".into());
        self.fill(root, notes)
    }

    fn fill(&mut self, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        let begin = Instant::now();
        self.follow(root);
        let outcome = rebuild(root, &mut self.mirror())?;
        self.refilled = Some(Tried::now(begin.elapsed()));
        self.settled(outcome, root, notes)
    }

    fn restore(&mut self, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        self.restored(notes)?;
        let mark = self.mirror().history().and_then(Mark::from_text);
        if self.state != State::Fresh && !mark.is_some_and(|mark| root.has_mark(&mark)) {
            notes.push(
                "nothing in the tables' log shows that the mirror follows them (they were put back to an older state, \
                 or it is far behind); it is filled again"
                    .into(),
            );
            self.state = State::Fresh;
        }
        self.bring_level(root, notes)
    }

    /// The next that is written makes the mirror one of the tables as they are now.
    fn follow(&mut self, root: &Root) {
        if let Some(mark) = root.decided_mark().or_else(|| root.ledger_mark().ok()) {
            self.mirror().follow(mark.text());
        }
    }

    fn bring_level(&mut self, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        let now = root.record.batch;
        if self.state == State::Level(now) {
            return Ok(());
        }
        self.follow(root);
        let outcome = match self.state {
            State::Level(batch) if batch < now => catch_up(root, &mut self.mirror(), batch)?,
            State::Level(batch) => {
                notes.push(format!("the mirror is at batch {batch}, the tables at {now}: it is made again"));
                rebuild(root, &mut self.mirror())?
            }
            State::Fresh => rebuild(root, &mut self.mirror())?,
        };
        self.settled(outcome, root, notes)
    }

    fn settled(&mut self, outcome: Outcome, root: &Root, notes: &mut Vec<String>) -> Result<()> {
        match outcome {
            Outcome::Done | Outcome::Already => {
                fault::point("level.done");
                self.state = State::Level(root.record.batch);
                Ok(())
            }
            Outcome::Lost(how) => {
                // Twice in a row is no accident: the next batch tries again.
                self.restored(notes)?;
                Err(Error::Busy(how))
            }
        }
    }

    fn restored(&mut self, notes: &mut Vec<String>) -> Result<()> {
        // Until the file is there again nothing can be written to it.
        self.lost = true;
        let (state, more) = self.mirror().restore()?;
        self.lost = false;
        let making = self.mirror().is_hidden();
        self.making = making;
        notes.extend(more);
        self.state = state;
        Ok(())
    }
}
